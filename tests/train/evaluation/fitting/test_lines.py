"""Operating point and decisions as lines of Markdown, of images and of patients."""

from typing import Any

from ctonnx_train.evaluation.fitting.lines import decision_lines, escape_cell, suspicious_lines


def renamed(found: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("images", "patients"): value for name, value in found.items()}


SUSPICIOUS = {
    "positive": ["b", "c"],
    "threshold": 0.25,
    "sensitivity": 0.95,
    "sensitivity_interval": [0.9, 0.99],
    "sensitivity_images": 40,
    "specificity": None,
    "specificity_interval": None,
    "specificity_images": 0,
}
DECISIONS: dict[str, Any] = {
    "images": 20,
    "referred": 1,
    "referred_share": 0.05,
    "referred_share_interval": [0.0089, 0.2361],
    "referred_by": {"set": 1, "caution": 0},
    "positive_referred": 1,
    "negative_referred": 0,
    **{name: value for name, value in SUSPICIOUS.items() if name not in ("positive", "threshold")},
}


def test_an_operating_point_names_its_images_or_patients() -> None:
    assert list(suspicious_lines(SUSPICIOUS, "validation images")) == [
        "**Suspicious** (b + c of 0.25 or more, fitted on the validation images): sensitivity 0.950 [0.900, 0.990] on "
        "40 images, specificity - on 0.\n"
    ]
    (line,) = suspicious_lines(renamed(SUSPICIOUS), "validation patients", "patient")
    assert "fitted on the validation patients): sensitivity 0.950 [0.900, 0.990] on 40 patients, " in line
    assert list(suspicious_lines(None, "validation images")) == []


def test_decisions_name_their_images_or_patients() -> None:
    (line,) = decision_lines(DECISIONS, seen=False)
    assert line.startswith(
        "**Decisions**: 1 of 20 images referred, 0.050 [0.008, 0.237] (prediction set 1, warning 0): "
    )
    (line,) = decision_lines(renamed(DECISIONS), seen=False, unit="patient")
    assert line.startswith(
        "**Decisions**: 1 of 20 patients referred, 0.050 [0.008, 0.237] (prediction set 1, warning 0)"
    )
    assert list(decision_lines(None, seen=False)) == []


def test_a_bar_in_a_name_does_not_end_a_cell() -> None:
    coverage = {"a|b": {"images": 3, "share": 1.0, "share_interval": [0.4, 1.0], "promised": None}}
    lines = list(decision_lines({**DECISIONS, "coverage": coverage, "set_size": 1.5}, seen=True))
    assert f"| {escape_cell('a|b')} | 3 | 1.000 [0.400, 1.000] | - |" in lines
    assert "| a\\|b | 3 |" in "\n".join(lines)
    assert lines[-1] == (
        "\nMean size of a prediction set: 1.50 classes. The sets were fitted on some of these images: expect a lower "
        "coverage on others.\n"
    )
