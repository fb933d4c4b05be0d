"""A predictor in several threads and processes, and the threads of its session."""

import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.prediction.assertions import logits_of

from ctonnx.inference import session
from ctonnx.prediction import predictor as module
from ctonnx.prediction.predictor import Predictor


def test_eight_threads_that_share_a_predictor_get_the_predictions_of_one(model: Path, noise_scans: list[str]) -> None:
    with Predictor(model) as predictor:
        alone = np.stack(logits_of(predictor, noise_scans))
        start = threading.Barrier(8)

        def work(turn: int) -> NDArray[np.float32]:
            start.wait()
            turned = noise_scans[turn:] + noise_scans[:turn]
            return np.roll(np.stack(logits_of(predictor, turned)), turn, axis=0)

        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(work, range(8)):
                np.testing.assert_array_equal(found, alone)


def test_workers_and_onnxruntimes_own_threads_are_as_many_as_there_are_threads(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    original = session.open_session

    def opened(*arguments: Any, **options: Any) -> Any:
        asked.append(options["threads"])
        return original(*arguments, **options)

    monkeypatch.setattr(module, "open_session", opened)
    for threads, workers in ((4, 1), (4, 2), (4, 4), (2, 4)):
        Predictor(model, threads=threads, workers=workers).close()
    assert asked == [4, 3, 1, 1]  # of these one computes in its caller: a worker


def test_workers_are_no_more_than_threads(model: Path) -> None:
    with Predictor(model, threads=2, workers=5) as predictor:
        assert predictor.workers == 2
    with Predictor(model, threads=1, workers=4) as predictor:
        assert predictor.workers == 1


def test_fewer_workers_than_one_are_rejected(model: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected at least 1 worker, found 0$"):
        Predictor(model, workers=0)


def test_predictor_is_pickled_by_its_path_and_settings(
    model: Path, noise_scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    with Predictor(model.name, threads=2, workers=2) as predictor:
        data = pickle.dumps(predictor)
        alone = logits_of(predictor, noise_scans[:2])
    assert len(data) < 1000
    monkeypatch.chdir("/")
    with pickle.loads(data) as copy:  # noqa: S301  # made three lines above
        assert (copy.path, copy.provider, copy.threads, copy.workers) == (model, "cpu", 2, 2)
        assert copy.refusal is None
        np.testing.assert_array_equal(logits_of(copy, noise_scans[:2]), alone)


def test_predictor_goes_to_another_process(model: Path, noise_scans: list[str]) -> None:
    context = multiprocessing.get_context("spawn")
    with Predictor(model, threads=1) as predictor, ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(predictor.predict, noise_scans[0]).result()
        assert found.as_dict() == predictor.predict(noise_scans[0]).as_dict()
