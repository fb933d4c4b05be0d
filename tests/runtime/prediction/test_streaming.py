"""Many images, threads and processes: the same predictions, in constant memory."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.prediction.assertions import logits_of

from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction
from ctonnx.prediction.streaming import workers_for


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_workers_and_batches_change_no_prediction_and_no_order(
    model: Path, noise_scans: list[str], workers: int, batch_size: int | None
) -> None:
    with Predictor(model, workers=workers, threads=2) as predictor:
        records = list(predictor.predict_many(noise_scans, batch_size=batch_size))
        alone = logits_of(predictor, noise_scans)
    assert [record.source for record in records] == noise_scans
    found = [record.logits for record in records if isinstance(record, Prediction)]
    np.testing.assert_allclose(np.stack(found), np.stack(alone), atol=1e-5)


@pytest.mark.parametrize("workers", [1, 3])
def test_model_computes_as_many_batches_at_a_time_as_there_are_workers(
    workers: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    together = threading.Barrier(workers)

    def compute(pixels: NDArray[np.uint8]) -> Outputs:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(timeout=20)  # none goes on before `workers` of them are here
        with lock:
            running -= 1
        return empty_outputs(len(pixels))

    with Predictor(model, workers=workers, threads=3) as predictor:
        monkeypatch.setattr(predictor, "_runner", compute)
        list(predictor.predict_many(grey_images(12), batch_size=1))
    assert most == workers


def test_finished_predictions_come_before_the_callers_own_error(model: Path, noise_scans: list[str]) -> None:
    def given() -> Iterator[str]:
        yield from noise_scans[:6]
        raise OSError("the share is gone")

    with Predictor(model, workers=2, threads=2) as predictor:
        records = predictor.predict_many(given(), batch_size=2)
        assert [next(records).source for _ in range(6)] == noise_scans[:6]
        with pytest.raises(OSError, match="the share is gone"):
            next(records)


@pytest.mark.parametrize(
    ("count", "threads", "expected"), [(1, 2, 1), (15, 2, 1), (16, 2, 2), (16, 1, 1), (10_000, 64, 8), (63, 64, 1)]
)
def test_many_images_go_through_many_workers(count: int, threads: int, expected: int) -> None:
    assert workers_for(count, threads=threads) == expected


def test_record_keeps_no_other_images_arrays_alive(model: Path, noise_scans: list[str]) -> None:
    with Predictor(model) as predictor:
        for record in predictor.predict_many(noise_scans, batch_size=8):
            assert isinstance(record, Prediction)
            assert record.heatmap.base is None
            assert record.logits.base is None


def test_ten_thousand_images_stream_in_flat_memory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("the system does not tell a process's memory in /proc")
    Image.fromarray(np.zeros((256, 256), np.uint8)).save(tmp_path / "scan.png")
    resident: list[int] = []
    with Predictor(model, workers=2) as predictor:
        # The network's own memory is onnxruntime's; what is looked at here is the way to it and from it.
        monkeypatch.setattr(predictor, "_runner", lambda images: empty_outputs(len(images)))
        for number, record in enumerate(predictor.predict_many(str(tmp_path / "scan.png") for _ in range(10_000))):
            assert isinstance(record, Prediction)
            if number % 500 == 499:
                resident.append(int(statm.read_text(encoding="ascii").split()[1]) * 4096)
    assert len(resident) == 20
    assert max(resident) - resident[1] < 8e6  # 10,000 inputs of this model are 123 MB


def test_failure_between_images_does_not_shift_their_rows(model: Path, noise_scans: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    mixed = [str(tmp_path / "bad.png"), noise_scans[0], str(tmp_path / "bad.png"), noise_scans[1]]
    with Predictor(model) as predictor:
        records = list(predictor.predict_many(mixed, batch_size=4))
        alone = logits_of(predictor, noise_scans[:2])
    assert [type(record) for record in records] == [Failure, Prediction, Failure, Prediction]
    for record, logits in zip(records[1::2], alone, strict=True):
        assert isinstance(record, Prediction)
        np.testing.assert_allclose(record.logits, logits, atol=1e-5)


@pytest.mark.parametrize("workers", [1, 3])
def test_watch_gets_images_with_their_predictions(model: Path, noise_scans: list[str], workers: int) -> None:
    seen: dict[str, tuple[tuple[int, int], Prediction]] = {}

    def watch(image: Image.Image) -> Callable[[Prediction], None]:
        return lambda prediction: seen.update({prediction.source: (image.size, prediction)})

    with Predictor(model, workers=workers, threads=2) as predictor:
        for record in predictor.predict_many(["none.png", *noise_scans], batch_size=3, watch=watch):
            if isinstance(record, Prediction):
                assert seen[record.source] == ((90, 70), record)
    assert sorted(seen) == noise_scans


def test_error_of_watch_is_raised(model: Path, noise_scans: list[str]) -> None:
    def watch(image: Image.Image) -> Callable[[Prediction], None]:
        raise OSError("the disk is full")

    with Predictor(model) as predictor, pytest.raises(OSError, match=r"^the disk is full$"):
        list(predictor.predict_many(noise_scans, watch=watch))


def grey_images(count: int) -> Iterator[NDArray[np.uint8]]:
    return (np.full((8, 8), number % 256, np.uint8) for number in range(count))


def empty_outputs(count: int) -> Outputs:
    return Outputs(
        probabilities=np.full((count, 4), 0.25, np.float32),
        logits=np.zeros((count, 4), np.float32),
        heatmap=np.zeros((count, 4, 2, 2), np.float32),
    )
