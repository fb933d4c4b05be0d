"""The stress test in the report and the model card: of the same weights, or the command for it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.export.builders import SPEC, facts

from ctonnx.artifacts.run import Run
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.report.stress import read_stress, stress_lines

WEIGHTS = SPEC.checkpoint_sha256


def strength(shown: str, flipped: int | None, referred: int = 0) -> dict[str, Any]:
    def share(count: int) -> dict[str, Any]:
        return {"count": count, "share": count / 1000, "interval": [0, 1]}

    kinds = {} if flipped is None else {"flipped": share(flipped), "newly_referred": share(referred)}
    return {"strength": 1, "shown": shown, "images": 1000, "class_changed": share(9), **kinds, "by_class": {}}


def document(*, decides: bool = True, weights: str = WEIGHTS) -> dict[str, Any]:
    strengths = [strength("x 0.8", 0, 4), strength("x 0.6", 51, 30), strength("x 0.4", 400, 20)]
    return {
        "schema_version": 1,
        "checkpoint_sha256": weights,
        "kind": "PyTorch checkpoint",
        "split": "test",
        "images": 1000,
        "transforms": [
            {"title": "lower contrast", "strengths": strengths if decides else [strength("x 0.8", None)]},
            {"title": "flipped", "strengths": [strength("left to right", 50 if decides else None)]},
        ],
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a stress test."""
    run = Run(tmp_path)
    run.evaluation_folder.mkdir()
    run.stress_file.write_text(json.dumps(document()), encoding="utf-8")
    return run


def lines(run: Run) -> list[str]:
    return stress_lines(facts() | {"stress": read_stress(run, WEIGHTS)})


def test_the_table_has_the_flipped_decisions_by_strength_and_the_referred_ones(run: Run) -> None:
    assert lines(run) == [
        "## Stress test",
        "",
        "PyTorch checkpoint on 1000 images (test), changed as other scanners, windows, viewers and file formats would: "
        "share of the decisions that became the opposite one, by strength.",
        "",
        "| change | mild | middle | strong | newly referred, at most |",
        "| --- | --- | --- | --- | --- |",
        "| lower contrast | x 0.8: 0.0% | x 0.6: 5.1% | x 0.4: 40.0% | 3.0% |",
        "| flipped | left to right: 5.0% |  |  | 0.0% |",
        "",
    ]


def test_without_an_operating_point_it_is_about_classes(run: Run) -> None:
    run.stress_file.write_text(json.dumps(document(decides=False)), encoding="utf-8")
    text = "\n".join(lines(run))
    assert "(of the predicted classes, as it has no operating point), by strength." in text
    assert "| lower contrast | x 0.8: 0.9% |  |  | - |" in text


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps(document(weights="cd" * 32)), '{"images": 3}'])
def test_without_one_of_the_same_weights_the_command_is_named(text: str | None, run: Run) -> None:
    run.stress_file.unlink()
    if text is not None:
        run.stress_file.write_text(text, encoding="utf-8")
    assert read_stress(run, WEIGHTS) is None
    assert lines(run)[2].startswith("**It was not stress-tested**: ")
    assert "`ctonnx evaluate lungs DATA --stress` measures it" in lines(run)[2]


def test_it_is_in_the_report(run: Run) -> None:
    assert "| lower contrast | x 0.8: 0.0% |" in as_markdown(facts() | {"stress": read_stress(run, WEIGHTS)})
    assert "**It was not stress-tested**" in as_markdown(facts())
