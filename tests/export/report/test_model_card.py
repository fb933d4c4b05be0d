"""The model card: what a person should know before using a model."""

from pathlib import Path
from typing import Any

import pytest
from tests.export.builders import LEAKS, SPEC, facts

from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import describe_leakage
from ctonnx_export.report.model_card import model_card

CLASS_METRICS = {"precision": 0.5, "sensitivity": 0.75, "specificity": 0.9, "f1": 0.6, "auroc": 0.8}
PAIR = {name: [0.1, 0.95] for name in CLASS_METRICS}
METRICS: dict[str, Any] = {
    "images": 72,
    "accuracy": 0.71875,
    "balanced_accuracy": 0.7,
    "macro": {**CLASS_METRICS, "auroc": None},
    "per_class": {name: {**CLASS_METRICS, "images": 24} for name in SPEC.classes},
    "intervals": {
        "accuracy": [0.6, 0.8],
        "balanced_accuracy": [0.59, 0.81],
        "macro": PAIR,
        "per_class": dict.fromkeys(SPEC.classes, PAIR),
    },
}
DATA = {
    **SPEC.data,
    "images": {"train": {"normal": 10, "tumor": 20}, "valid": {"normal": 30, "tumor": 42}, "test": {}},
    "leaks": {**LEAKS, "leaked": {"valid": 10, "test": 0}},
}


def card(**changes: Any) -> str:
    return model_card(facts(**{"metrics": {"valid": METRICS}, "data": DATA, **changes}))


def test_card_begins_with_the_statement_that_it_is_not_a_medical_device() -> None:
    assert card().splitlines()[:3] == [
        "# lungs",
        "",
        "**A research tool, not a medical device.** Its predictions are not a diagnosis and must not be the basis of a "
        "decision about a patient.",
    ]


def test_metrics_have_their_intervals() -> None:
    text = card()
    assert "| valid | 72 | 0.719 [0.600, 0.800] | 0.700 [0.590, 0.810] | 0.750 [0.100, 0.950] | - |" in text
    assert "| tumor | 24 | 0.750 [0.100, 0.950] | 0.900 [0.100, 0.950] | 0.800 [0.100, 0.950] |" in text


def test_shortcuts_of_the_training_images_are_reported() -> None:
    classes = {"normal": {"verdict": "strong", "auroc": 0.99}, "tumor": {"verdict": "untested"}}
    text = card(shortcuts={"verdict": "strong", "classes": classes})
    sentence = "Shortcuts in the training images: strong for 'normal' (AUROC 0.990); untested for 'tumor'."
    assert f"\n\n{sentence}\n\n## Metrics\n" in text
    assert "hortcuts in the" not in card()


def test_data_and_its_leaks_are_reported() -> None:
    text = card()
    assert (
        "`chest-ct`, fingerprint of the images `cd`: 30 training images (normal 10, tumor 20); 72 validation images "
        "(normal 30, tumor 42)."
    ) in text
    assert f"\n\n**{describe_leakage(DATA)}.**\n\n## Metrics\n" in text
    assert "an earlier split" not in card(data={**DATA, "leaks": {**LEAKS, "leaked": {"valid": 0}}})


def test_test_images_are_preferred_if_there_are_some() -> None:
    assert "There were no test images." in card()
    text = card(metrics={"valid": METRICS, "test": METRICS})
    assert "There were no test images." not in text
    assert "On the test images, per class:" in text


def test_a_training_in_folds_is_reported() -> None:
    optimistic = "The validation images selected the best epoch"
    assert optimistic in card()
    text = card(data={**DATA, "folds": 5})
    assert optimistic not in text
    assert "The validation metrics are those of 5 other networks of the same recipe" in text


def test_synthetic_data_is_reported() -> None:
    assert "trained on synthetic phantoms" not in card()
    assert "**It was trained on synthetic phantoms: its predictions have no clinical meaning.**" in card(synthetic=True)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("x86", "x86 CPUs"),
        ("amx", "x86 CPUs with AMX"),
        ("arm", "ARM CPUs"),
        ("tensorrt", "NVIDIA GPUs through TensorRT"),
    ],
)
def test_int8_file_is_listed_with_its_target(target: str, place: str) -> None:
    document = facts(metrics={"valid": METRICS}, data=DATA)
    document["files"] = {
        "golden.npz": {"bytes": 12_345, "sha256": "cd"},
        "model.fp32.onnx": {"bytes": 100_000_000, "sha256": "ab"},
        "model.fp16.onnx": {"bytes": 52_000_000, "sha256": "ef"},
        "model.int8.onnx": {"bytes": 28_500_000, "sha256": "12"},
    }
    fp32 = document["precisions"]["fp32"]
    document["precisions"]["fp16"] = {**fp32, "quantization": None}
    document["precisions"]["int8"] = {**fp32, "quantization": {"target": target}}
    text = model_card(document)
    assert "| `model.fp16.onnx` | 52 | 52% of the FP32 size, for GPUs |" in text
    assert f"| `model.int8.onnx` | 28.5 | 28% of the FP32 size, for {place} |" in text
    assert "| `golden.npz` | 0.0123 | inputs and outputs for `ctonnx verify` |" in text


def test_card_contains_the_parity_with_the_original() -> None:
    text = card()
    assert "## Numerical parity" in text
    assert "| top-1 agreement | 100.00% [94.93%, 100.00%] |" in text


def test_caveats_are_listed_among_the_limits() -> None:
    document = {**facts(metrics={"valid": METRICS}, data=DATA), "notes": ["the network predicts 'a' for all images"]}
    assert "\n- The network predicts 'a' for all images.\n" in model_card(document)


def test_card_is_in_the_export_folder_and_lists_its_files(exported_run: Run) -> None:
    text = (exported_run.export_folder / "README.md").read_text(encoding="utf-8")
    assert "| `model.fp32.onnx` | " in text
    assert "| `golden.npz` | " in text
    assert (
        Path(exported_run.export_folder / "README.md").stat().st_mode
        == (exported_run.export_folder / "report.md").stat().st_mode
    )


def test_the_stress_test_or_its_absence_is_reported() -> None:
    changed = {"count": 2, "images": 100, "share": 0.02}
    steps = [{"shown": "x 0.8", "flipped": changed, "decision_changed": changed, "class_changed": changed}]
    stress = {
        "model": {"file": "model.safetensors", "kind": "PyTorch checkpoint", "precision": "fp32", "sha256": "ab"},
        "data": {"name": "scans", "fingerprint": "cd"},
        "split": "test",
        "images": 100,
        "transforms": [{"title": "darker", "judged_by": "decision_changed", "strengths": steps}],
    }
    text = model_card(facts(metrics={"valid": METRICS}, data=DATA) | {"stress": stress})
    assert "| darker | x 0.8: 2.0% |  |  | 2.0% |" in text
    assert "**It was not stress-tested**" in card()


def test_decisions_of_the_run_are_reported(exported_run: Run) -> None:
    for name in ("README.md", "report.md"):
        text = (exported_run.export_folder / name).read_text(encoding="utf-8")
        assert "\n## Operating point\n\nAn image is suspicious if " in text
        assert "\n## Decisions\n\nAn image is `positive` if it is suspicious, else `negative`." in text
        assert "\n**Prediction sets** are fitted for a coverage of 95%: " in text
        assert "\n| test | 8 | " in text
