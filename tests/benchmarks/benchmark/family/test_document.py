"""A family is measured in one interleaved run, and each model is compared with the first."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.benchmark.family.conftest import change_spec
from tests.benchmarks.conftest import QUIET

from ctonnx.artifacts.golden import load_golden
from ctonnx.errors import CtonnxError
from ctonnx.parity.intervals import share_interval
from ctonnx.parity.outputs import Outputs
from ctonnx.system.files import json_text
from ctonnx_bench.benchmark.family.document import mark_front, run_family
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.measurement.rounds import Bench, Round

QUICK = Settings(batch_sizes=(1,), duration=0.0, rounds=1, threads=1)


def run(settings: Settings, *labels: str, log: Callable[[str], object] = lambda line: None) -> dict[str, Any]:
    return run_family(settings, labels, command="ctonnx bench --family", log=log)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, family: list[Path]) -> Callable[..., None]:
    """Replaces the processes: each case returns PyTorch's golden outputs, repeated for all images, or its own."""
    golden = load_golden(family[0].with_name("golden.npz")).outputs
    wrong: dict[str, int] = {}
    rounds: dict[str, Round] = {}

    def outputs(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        if others is not None:
            flipped = replace(golden, probabilities=golden.probabilities[:, ::-1].copy())
            return flipped if case.contender.title == "broken" else golden
        images: CheckImages = self._images
        probabilities = np.full((len(images), 4), 0.1, np.float32)
        labels = np.maximum(images.labels, 0)
        probabilities[np.arange(len(labels)), labels] = 0.7
        count = wrong.get(case.contender.title, 0)
        probabilities[:count] = np.roll(probabilities[:count], 1, axis=1)
        heatmap = np.resize(golden.heatmap, (len(labels), *golden.heatmap.shape[1:]))
        return Outputs(probabilities, np.log(probabilities), heatmap)

    def choose(title: str, *, errors: int = 0, milliseconds: float = 10.0) -> None:
        wrong[title] = errors
        rounds[title] = replace(QUIET, samples_s=(milliseconds / 1e3,) * 100)

    monkeypatch.setattr(Bench, "outputs", outputs)
    monkeypatch.setattr(Bench, "round", lambda self, case, seconds: rounds.get(case.contender.title, QUIET))
    return choose


def test_family_is_measured_in_turn_in_processes_of_its_own(family: list[Path]) -> None:
    messages: list[str] = []
    document = run(replace(QUICK, models=tuple(family), rounds=2), "FP32", "learned", "half", log=messages.append)
    assert document["passed"]
    assert [case["contender"] for case in document["cases"]] == ["FP32", "learned", "half"]
    assert [line.split("] ")[1] for line in messages if line.startswith("[")] == [
        f"{title}, batch 1" for title in ("FP32", "learned", "half", "half", "learned", "FP32")
    ]
    for case in document["cases"]:
        assert case["verdict"] == "right"
        assert case["parity"]["agreement"] == 1
        assert case["ms_per_image"] == case["figures"]["latency_ms"]["p50"] > 0
        assert case["bytes"] == Path(case["model"]).stat().st_size
        assert case["times_as_fast"]["than"] == "FP32"
    assert [model["title"] for model in document["models"]] == ["FP32", "learned", "half"]
    assert len({model["checkpoint_sha256"] for model in document["models"]}) == 2
    assert json.loads(json_text(document))["settings"]["names"] == ["FP32", "learned", "half"]


def test_accuracy_is_compared_with_the_first_on_the_test_images(
    faked: Callable[..., None], family: list[Path], phantoms: Path
) -> None:
    faked("FP32", milliseconds=40.0)
    faked("learned", errors=1)
    faked("half", milliseconds=8.0, errors=1)
    document = run(replace(QUICK, models=tuple(family), data=phantoms, batch_sizes=(1, 2)), "FP32", "learned", "half")
    about = document["checked_on"]
    images = about["images"]
    assert (about["split"], about["about"]) == ("test", f"{images} labelled images (test) of {phantoms}")
    first, learned, half = document["cases"][:3]
    assert (first["accuracy"]["value"], learned["accuracy"]["value"]) == (1.0, (images - 1) / images)
    assert (learned["accuracy"]["low"], learned["accuracy"]["high"]) == share_interval(
        (images - 1) / images, about["effective_images"]
    )
    change = half["accuracy"]["change"]
    assert change["difference"] == pytest.approx(-1 / images)
    assert change["low"] < -1 / images < change["high"]
    assert (learned["parity"]["agreement"], first["parity"]["agreement"]) == ((images - 1) / images, 1.0)
    assert half["times_as_fast"] == {"than": "FP32", "value": 5.0, "low": 5.0, "high": 5.0}
    assert document["cases"][5]["ms_per_image"] == 4.0  # two images in 8 ms
    assert [case["on_front"] for case in document["cases"][:3]] == [True, False, True]


def test_model_that_is_wrong_on_its_own_golden_inputs_fails_and_is_not_on_the_front(
    faked: Callable[..., None], family: list[Path]
) -> None:
    faked("broken", milliseconds=1.0)
    document = run(replace(QUICK, models=tuple(family)), "FP32", "learned", "broken")
    assert not document["passed"]
    *others, broken = document["cases"]
    assert broken["failures"][0].startswith("on the golden inputs, max |dp| is ")
    assert (broken["verdict"], broken["on_front"], broken["times_as_fast"]) == ("wrong", False, None)
    assert all(case["failures"] == [] for case in others)


def test_model_without_golden_inputs_is_not_called_right(faked: Callable[..., None], family: list[Path]) -> None:
    family[1].with_name("golden.npz").unlink()
    document = run(replace(QUICK, models=tuple(family)), "FP32", "learned", "half")
    assert [case["verdict"] for case in document["cases"]] == ["right", "unjudged", "right"]
    assert document["checked_on"]["unjudged"] == ["learned"]
    assert document["passed"]


def test_file_that_was_altered_since_its_export_is_a_failure(faked: Callable[..., None], family: list[Path]) -> None:
    change_spec(family[0], lambda spec: replace(spec, classes=spec.classes, created="2020-01-01T00:00:00+00:00"))
    document = run(replace(QUICK, models=tuple(family)))
    assert "it was altered since" in document["cases"][0]["failures"][0]


def test_model_that_fails_in_every_round_is_a_failure_and_the_others_are_kept(
    faked: Callable[..., None], family: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Bench, case: Case, seconds: float) -> Round:
        if case.contender.title == "half":
            raise CtonnxError("no memory")
        return QUIET

    monkeypatch.setattr(Bench, "round", fail)
    document = run(replace(QUICK, models=tuple(family)), "FP32", "learned", "half")
    assert not document["passed"]
    assert [case["contender"] for case in document["cases"]] == ["FP32", "learned"]
    assert list(document["broken"].values()) == ["no memory"]


def test_front_without_labels_is_of_speed_and_size() -> None:
    def row(name: str, ms: float, size: int, **other: Any) -> dict[str, Any]:
        return {
            "name": name, "batch_size": 1, "ms_per_image": ms, "bytes": size, "accuracy": None, "failures": [], **other,
        }  # fmt: skip

    rows = [row("fast", 1.0, 9), row("small", 2.0, 5), row("both worse", 3.0, 6), row("wrong", 0.5, 1, failures=["x"])]
    assert [case["on_front"] for case in mark_front(rows)] == [True, True, False, False]
    accuracies = (0.9, 0.8, 0.9, 1.0)
    rows = [{**case, "accuracy": {"value": value}} for case, value in zip(rows, accuracies, strict=True)]
    assert [(case["on_front"], case["on_front_with_size"]) for case in mark_front(rows)] == [
        (True, True), (False, True), (False, True), (False, False),
    ]  # fmt: skip
    other = mark_front([*rows, {**rows[1], "name": "other", "batch_size": 8}])
    assert other[-1]["on_front"]  # batch sizes are compared separately
