"""The sweep tries what may be best, and keeps what was, if its answers were right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.golden import load_golden
from ctonnx.inference.tuning import read_tuning
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.analysis.best_settings import Doubted, best, keep
from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.predictor import open_network
from ctonnx_bench.cases.contenders import Contender
from ctonnx_bench.cases.sweep import plan_sweep, thread_counts

MINE = Contender("ctonnx INT8", "ctonnx", Path("m.onnx"), "int8", 1)


def test_thread_counts_end_with_all_cores() -> None:
    assert [thread_counts(cores) for cores in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


def test_cases_are_those_that_differ() -> None:
    cases = plan_sweep([MINE], [4], provider="cpu", cores=2)
    assert [(case.title, case.batch_size) for case in cases] == [
        ("ctonnx INT8, threads 1", 4),
        ("ctonnx INT8, threads 2", 4),
        ("ctonnx INT8, threads 2, no spinning", 4),
        ("ctonnx INT8, threads 2, workers 2", 8),
    ]
    assert len({case.name for case in plan_sweep([MINE], [1, 2, 4], provider="cpu", cores=8)}) == 3 * (1 + 3 * 3)
    assert {case.workers for case in plan_sweep([MINE], [1], provider="cuda", cores=8)} == {1}


def test_workers_share_a_batch_and_answer_as_one(model: Path) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels[:4]
    found = open_network(Opening(model=model, provider="cpu", threads=2, workers=2)).answer(pixels)
    with Predictor(model, threads=1) as predictor:
        np.testing.assert_allclose(found.logits, predictor.predict_pixels(pixels).logits, atol=1e-4)


def case(threads: int, workers: int, batch_size: int, milliseconds: float, **other: Any) -> dict[str, Any]:
    figures = {"latency_ms": {"p50": milliseconds}, "images_per_s": batch_size * 1e3 / milliseconds}
    return {
        "title": f"threads {threads}",
        "doubts": [],
        "rounds": [{"samples_s": [milliseconds / 1e3]}, {"samples_s": [milliseconds / 0.9e3]}],
        "threads": threads,
        "workers": workers,
        "batch_size": batch_size,
        "spinning": True,
        "failures": [],
        "figures": figures,
        **other,
    }


CASES = [
    case(1, 1, 1, 20.0),
    case(2, 1, 1, 12.0),
    case(2, 1, 1, 14.0, spinning=False),
    case(2, 1, 1, 1.0, failures=["max |dp| is 1"]),
    case(2, 2, 8, 80.0),
    case(2, 1, 4, 50.0),
]


def test_best_are_the_fastest_with_right_answers() -> None:
    tuning = best(CASES)
    assert tuning is not None
    assert (tuning.one.threads, tuning.one.workers, tuning.one.spinning) == (2, 1, True)
    assert (tuning.many.workers, tuning.many.batch_size, tuning.many.images_per_s) == (2, 4, 100.0)
    assert best([item for item in CASES if item["failures"]]) is None


def test_default_stays_where_another_was_not_better_in_every_round() -> None:
    default, other = case(2, 1, 1, 12.0), case(1, 1, 1, 11.0)
    found = best([default, other])
    assert found is not None
    assert found.one.threads == 1
    other["rounds"][1]["samples_s"] = [0.020]
    found = best([default, other])
    assert found is not None
    assert found.one.threads == 2


def test_doubt_of_the_best_or_of_its_rival_keeps_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"a")
    for doubted in (0, 1):
        cases = [case(2, 1, 1, 12.0), case(1, 1, 1, 11.0), case(2, 1, 1, 30.0, spinning=False, doubts=["far behind"])]
        cases[doubted]["doubts"] = ["busy: others"]
        with pytest.raises(Doubted, match=r"^threads \d, batch 1: busy: others$"):
            best(cases)
        document = {
            "models": [{"file": str(file)}],
            "cases": [{**item, "model": str(file)} for item in cases],
            "settings": {"provider": "cpu"},
        }
        (said,) = keep(document)
        assert said.endswith("busy: others; sweep again on a quiet machine, or for longer")
    assert best([case(2, 1, 1, 12.0), case(2, 1, 1, 30.0, spinning=False, doubts=["behind"]), case(1, 1, 1, 11.0)])
    assert list(tmp_path.iterdir()) == [file]


def test_each_models_best_is_kept_beside_it(tmp_path: Path) -> None:
    models = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for number, file in enumerate(models):
        file.write_bytes(bytes([number]))
    cases = [{**item, "model": str(models[0])} for item in CASES] + [{**CASES[0], "model": str(models[1])}]
    document = {"models": [{"file": str(file)} for file in models], "cases": cases, "settings": {"provider": "cpu"}}
    said = keep(json.loads(json.dumps(document)))
    summary = "best for one image: threads 2, workers 1, batch 1, spinning on, 83.3 images/s; "
    assert said[0] == f"{summary}{tmp_path / 'a.tuned.json'}"
    assert len(said) == 4
    assert read_tuning(models[0], provider="cpu").many.images_per_s == 100.0
    assert read_tuning(models[1], provider="cpu").one.threads == 1


def test_wrong_model_keeps_no_tuning(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"a")
    cases = [{**CASES[3], "model": str(file)}]
    (said,) = keep({"models": [{"file": str(file)}], "cases": cases, "settings": {"provider": "cpu"}})
    assert said.endswith("no right answer was measured for one image")
    assert list(tmp_path.iterdir()) == [file]
