"""The best settings of a sweep are saved if they are right and reliable."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctonnx.inference.tuning import read_tuning
from ctonnx_bench.analysis.best_settings import Unreliable, best, save_best


def case(threads: int, workers: int, batch_size: int, milliseconds: float, **other: Any) -> dict[str, Any]:
    measured = {"latency_ms": {"p50": milliseconds}, "images_per_s": batch_size * 1e3 / milliseconds}
    return {
        "title": f"threads {threads}",
        "doubts": [],
        "rounds": [{"samples_s": [milliseconds / 1e3]}, {"samples_s": [milliseconds / 0.9e3]}],
        "threads": threads,
        "workers": workers,
        "batch_size": batch_size,
        "spinning": True,
        "failures": [],
        "figures": measured,
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


def test_best_are_the_fastest_right_cases() -> None:
    tuning = best(CASES)
    assert tuning is not None
    assert (tuning.one.threads, tuning.one.workers, tuning.one.spinning) == (2, 1, True)
    assert (tuning.many.workers, tuning.many.batch_size, tuning.many.images_per_s) == (2, 4, 100.0)
    assert best([item for item in CASES if item["failures"]]) is None


def test_default_stays_unless_another_was_better_in_every_round() -> None:
    default, other = case(2, 1, 1, 12.0), case(1, 1, 1, 11.0)
    found = best([default, other])
    assert found is not None
    assert found.one.threads == 1
    other["rounds"][1]["samples_s"] = [0.020]
    found = best([default, other])
    assert found is not None
    assert found.one.threads == 2


def test_nothing_is_saved_if_the_best_or_its_rival_is_unreliable(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"a")
    for unreliable in (0, 1):
        cases = [case(2, 1, 1, 12.0), case(1, 1, 1, 11.0), case(2, 1, 1, 30.0, spinning=False, doubts=["far behind"])]
        cases[unreliable]["doubts"] = ["busy: others"]
        with pytest.raises(Unreliable, match=r"^threads \d, batch 1: busy: others$"):
            best(cases)
        document = {
            "models": [{"file": str(file)}],
            "cases": [{**item, "model": str(file)} for item in cases],
            "settings": {"provider": "cpu"},
        }
        (message,) = save_best(document)
        assert message.endswith("busy: others; sweep again on a quiet machine, or for longer")
    assert best([case(2, 1, 1, 12.0), case(2, 1, 1, 30.0, spinning=False, doubts=["behind"]), case(1, 1, 1, 11.0)])
    assert list(tmp_path.iterdir()) == [file]


def test_each_models_best_is_saved_beside_it(tmp_path: Path) -> None:
    models = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for number, file in enumerate(models):
        file.write_bytes(bytes([number]))
    cases = [{**item, "model": str(models[0])} for item in CASES] + [{**CASES[0], "model": str(models[1])}]
    document = {"models": [{"file": str(file)} for file in models], "cases": cases, "settings": {"provider": "cpu"}}
    messages = save_best(json.loads(json.dumps(document)))
    summary = "best for one image: threads 2, workers 1, batch 1, spinning on, 83.3 images/s; "
    assert messages[0] == f"{summary}{tmp_path / 'a.tuned.json'}"
    assert len(messages) == 4
    assert read_tuning(models[0], provider="cpu").many.images_per_s == 100.0
    assert read_tuning(models[1], provider="cpu").one.threads == 1


def test_tuning_of_a_wrong_model_is_not_saved(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"a")
    cases = [{**CASES[3], "model": str(file)}]
    (message,) = save_best({"models": [{"file": str(file)}], "cases": cases, "settings": {"provider": "cpu"}})
    assert message.endswith("no right result was measured for one image")
    assert list(tmp_path.iterdir()) == [file]
