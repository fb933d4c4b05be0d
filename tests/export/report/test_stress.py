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
        return {"count": count, "images": 1000, "share": count / 1000, "interval": [0, 1]}

    kinds = {} if flipped is None else {"decision_changed": share(flipped + referred), "flipped": share(flipped)}
    return {"strength": 1, "shown": shown, "images": 1000, "class_changed": share(9), **kinds, "by_class": {}}


def document(*, decides: bool = True, weights: str = WEIGHTS, file: str = WEIGHTS) -> dict[str, Any]:
    kind = "decision_changed" if decides else "class_changed"
    strengths = [strength("x 0.8", 0, 4), strength("x 0.6", 51, 30), strength("x 0.4", 400, 20)]
    return {
        "schema_version": 1,
        "checkpoint_sha256": weights,
        "model": {"file": "model.safetensors", "kind": "PyTorch checkpoint", "precision": "fp32", "sha256": file},
        "data": {"name": "scans", "fingerprint": "ef" * 32},
        "split": "test",
        "images": 1000,
        "transforms": [
            {
                "title": "lower contrast",
                "judged_by": kind,
                "strengths": strengths if decides else [strength("x 0.8", None)],
            },
            {
                "title": "inverted",
                "judged_by": "flipped" if decides else kind,
                "strengths": [strength("black to white", 50 if decides else None, 900)],
            },
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


def test_the_table_has_the_changed_decisions_by_strength_and_names_the_measured_file(run: Run) -> None:
    assert lines(run) == [
        "## Stress test",
        "",
        f"Measured: PyTorch checkpoint `model.safetensors` (SHA-256 `{WEIGHTS}`) on 1000 images of scans (test, "
        f"fingerprint `{'ef' * 32}`), changed as other scanners, windows, viewers and file formats would. **The "
        "exported files were not stress-tested**: FP32's decisions are those of the checkpoint within its parity, and "
        "those of FP16 and INT8 can differ. `ctonnx evaluate FILE DATA --stress` measures a file.",
        "",
        "Share of the decisions that change (flipped or newly referred), by strength; for inverted scans, which it "
        "should refer, of those that flip. All are shares of the 1000 images that were decided before.",
        "",
        "| change | mild | middle | strong | flipped, at most |",
        "| --- | --- | --- | --- | --- |",
        "| lower contrast | x 0.8: 0.4% | x 0.6: 8.1% | x 0.4: 42.0% | 40.0% |",
        "| inverted | black to white: 5.0% |  |  | 5.0% |",
        "",
    ]


def test_a_model_that_referred_all_images_before_has_no_share(run: Run) -> None:
    made = document()
    for transform in made["transforms"]:
        for step in transform["strengths"]:
            for kind in ("decision_changed", "flipped"):
                step[kind] = {"count": 0, "images": 0, "share": None, "interval": None}
    run.stress_file.write_text(json.dumps(made), encoding="utf-8")
    text = "\n".join(lines(run))
    assert "**All images were referred before any change**: there was no decision that could change." in text
    assert "| lower contrast | x 0.8: - | x 0.6: - | x 0.4: - | - |" in text


def test_without_an_operating_point_it_is_about_classes(run: Run) -> None:
    run.stress_file.write_text(json.dumps(document(decides=False)), encoding="utf-8")
    text = "\n".join(lines(run))
    assert "Share of the predicted classes that change, as the model has no operating point, by strength." in text
    assert "| lower contrast | x 0.8: 0.9% |  |  | - |" in text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[]",
        json.dumps(document(weights="cd" * 32)),
        json.dumps(document(file="cd" * 32)),  # of an exported file, such as INT8's
        '{"images": 3}',
    ],
)
def test_without_one_of_the_same_weights_the_command_is_named(text: str | None, run: Run) -> None:
    run.stress_file.unlink()
    if text is not None:
        run.stress_file.write_text(text, encoding="utf-8")
    assert read_stress(run, WEIGHTS) is None
    assert lines(run)[2].startswith("**It was not stress-tested**: ")
    assert "`ctonnx evaluate lungs DATA --stress` measures it" in lines(run)[2]


def test_it_is_in_the_report(run: Run) -> None:
    assert "| lower contrast | x 0.8: 0.4% |" in as_markdown(facts() | {"stress": read_stress(run, WEIGHTS)})
    assert "**It was not stress-tested**" in as_markdown(facts())
