"""What the report beside a model tells."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import onnx
import pytest

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.parity.comparison import AccuracyChange, Parity
from ctonnx.parity.gates import GATES, Gate
from ctonnx.system.files import json_text
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.facts import report
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.trial import Trial

FIGURES = {"images": 72, "accuracy": 0.71875, "macro": {"f1": 0.7, "auroc": None}}
LEAKS = {
    "groups": 59,
    "files": 166,
    "groups_across_splits": 8,
    "files_across_splits": 44,
    "groups_with_several_labels": 1,
    "files_with_several_labels": 2,
    "leaked": {"valid": 10, "test": 3},
    "dropped": {},
}
POINT = OperatingPoint(
    positive=("large cell", "tumor"),
    threshold=0.123456,
    sensitivity=0.9667,
    specificity=0.5,
    target_sensitivity=0.95,
    sensitivity_interval=(0.8864, 0.9908),
    specificity_interval=(0.254, 0.746),
)
SPEC = ModelSpec(
    name="lungs",
    classes=("normal", "tumor", "large cell"),
    preprocessing=Preprocessing(size=64),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={"name": "chest-ct", "fingerprint": "cd", "leaks": LEAKS},
    synthetic=False,
    metrics={"valid": FIGURES},
    parity={
        "images": 72,
        "agreement": 1.0,
        "max_dp": 1e-7,
        "mean_dp": 1e-8,
        "max_dlogit": 1e-6,
        "max_dheatmap": 0.0,
        "heatmap_correlation": 1.0,
        "lowest_heatmap_correlation": 1.0,
    },
    versions={"torch": "2.15.0"},
    temperature=1.37,
    operating_point=POINT,
)


def facts(**changes: Any) -> dict[str, Any]:
    """Returns a report's facts on a spec with changes."""
    files = {"model.fp32.onnx": {"bytes": 17, "sha256": "ef" * 32}}
    spec = replace(SPEC, **changes)
    model = onnx.ModelProto()
    made = ExportedModel(precision="fp32", model=model, spec=spec, gate=GATES["fp32"], facts={"onnxsim": "simplified"})
    return report([made], files)


def section(text: str, heading: str) -> str:
    """Returns what stands under a heading."""
    return text.partition(f"## {heading}\n\n")[2].partition("\n## ")[0].rstrip("\n")


def test_report_tells_parity_metrics_and_files(exported_run: Run) -> None:
    folder = exported_run.export_folder
    facts = json.loads((folder / "report.json").read_text())
    fp32 = facts["precisions"]["fp32"]
    assert (fp32["passed"], fp32["failures"], fp32["gate"]["max_dp"]) == (True, [], 1e-4)
    assert facts["files"]["model.fp32.onnx"]["bytes"] == (folder / "model.fp32.onnx").stat().st_size
    assert fp32["onnxsim"] == "simplified"
    text = (folder / "report.md").read_text()
    assert "synthetic phantoms" in text
    assert "not a medical device" in text
    assert f"| images compared | {facts['model']['parity']['images']} |" in text
    assert facts["files"]["golden.npz"]["sha256"] in text


def test_report_tells_copies_and_the_operating_point_of_the_run(exported_run: Run) -> None:
    record = json.loads(exported_run.record_file.read_text())
    folder = exported_run.export_folder
    model = json.loads((folder / "report.json").read_text())["model"]
    assert model["data"]["leaks"] == record["data"]["leaks"]
    assert model["operating_point"] == record["operating_point"]
    text = (folder / "report.md").read_text()
    assert "| groups of files with identical pixels | 0 (0 files) |" in text
    assert f"sum to {record['operating_point']['threshold']:.6f} or more." in text


# --- copies ----------------------------------------------------------------------------------------------------------


def test_copies_in_the_data_stand_beside_the_figures_they_flatter() -> None:
    assert section(as_markdown(facts()), "Metrics of the checkpoint") == (
        "| images | number | accuracy | macro F1 | macro AUROC |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| valid | 72 | 0.719 | 0.700 | - |\n"
        "\n"
        "| copies in the data set |  |\n"
        "| --- | --- |\n"
        "| groups of files with identical pixels | 59 (166 files) |\n"
        "| of these, across splits | 8 (44 files) |\n"
        "| of these, with different labels | 1 |\n"
        "| files that leaked from an earlier split | test 3, valid 10 |\n"
        "| files kept out by `--drop-leaks` | none |"
    )


def test_files_that_were_kept_out_are_counted() -> None:
    leaks = {**LEAKS, "dropped": {"train": 2, "valid": 10, "test": 3}}
    text = as_markdown(facts(data={**SPEC.data, "leaks": leaks}))
    assert "\n| files kept out by `--drop-leaks` | test 3, train 2, valid 10 |\n" in text


def test_report_of_a_run_that_did_not_look_for_copies_says_nothing_of_them() -> None:
    text = as_markdown(facts(data={"name": "chest-ct", "fingerprint": "cd"}))
    assert "copies" not in text
    assert section(text, "Metrics of the checkpoint").endswith("| valid | 72 | 0.719 | 0.700 | - |")


# --- operating point -------------------------------------------------------------------------------------------------


def test_operating_point_is_told_with_its_figures_and_where_they_were_measured() -> None:
    assert section(as_markdown(facts()), "Operating point") == (
        "An image is suspicious where the probabilities of large cell, tumor sum to 0.123456 or more. On the "
        "validation images, on which this was fitted: sensitivity 0.967 [0.886, 0.991], specificity 0.500 "
        "[0.254, 0.746] (95 % intervals)."
    )


@pytest.mark.parametrize("point", [None, replace(POINT, sensitivity_interval=None, specificity_interval=None)])
def test_what_the_operating_point_lacks_is_left_out(point: OperatingPoint | None) -> None:
    told = section(as_markdown(facts(operating_point=point)), "Operating point")
    expected = (
        "An image is suspicious where the probabilities of large cell, tumor sum to 0.123456 or more. On the "
        "validation images, on which this was fitted: sensitivity 0.967, specificity 0.500."
    )
    assert told == (expected if point else "")
    assert ("## Operating point" in as_markdown(facts(operating_point=point))) == (point is not None)


def test_operating_point_is_told_with_the_images_that_fitted_it_and_its_gap() -> None:
    point = replace(
        POINT, positive_images=59, negative_images=3, leaked_images=10, gap=(0.05, 0.25), sensitivity_bound=0.9505
    )
    told = section(as_markdown(facts(operating_point=point)), "Operating point")
    assert told.endswith(
        " It was fitted on 59 suspicious images and 3 others, without 10 that leaked from the training set; no score "
        "lies between 0.050000 and 0.250000."
    )
    used = section(as_markdown(facts(operating_point=replace(point, leaked_images_used=True))), "Operating point")
    assert " It was fitted on 59 suspicious images and 3 others; no score lies between " in used


def test_temperature_stands_among_the_models_facts() -> None:
    assert "\n| temperature | 1.37 |\n" in as_markdown(facts())


def test_document_holds_the_operating_point_and_the_copies() -> None:
    document = json.loads(json_text(facts()))
    assert document["model"]["data"]["leaks"] == LEAKS
    assert document["model"]["temperature"] == 1.37
    assert document["model"]["operating_point"] == {
        "positive": ["large cell", "tumor"],
        "threshold": 0.123456,
        "sensitivity": 0.9667,
        "specificity": 0.5,
        "target_sensitivity": 0.95,
        "sensitivity_interval": [0.8864, 0.9908],
        "specificity_interval": [0.254, 0.746],
        "sensitivity_bound": None,
        "positive_images": None,
        "negative_images": None,
        "leaked_images": 0,
        "leaked_images_used": False,
        "gap": None,
    }


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(gate: Gate, *, asked_for: int = 300, foreign: bool = False, fp16: bool = False, **figures: Any) -> str:
    """Returns what the report advises where INT8 is refused."""
    parity = replace(
        Parity(
            images=280,
            agreement=1.0,
            max_dp=0.01,
            mean_dp=0.01,
            max_dlogit=0.1,
            max_dheatmap=0.1,
            heatmap_correlation=0.999,
            lowest_heatmap_correlation=0.999,
        ),
        **figures,
    )
    trial = Trial(parity=parity, milliseconds=1.0, bytes=1, broken=gate.broken(parity))
    calibration = {"images": 300, "asked_for": asked_for, "of": "other", "blank": 0, "foreign": foreign}
    made = partial(ExportedModel, model=onnx.ModelProto(), spec=SPEC)
    models = [
        made(precision="fp32", gate=GATES["fp32"], facts={"onnxsim": "simplified"}),
        *([made(precision="fp16", gate=GATES["fp16"])] if fp16 else []),
        made(precision="int8", gate=gate, trial=trial, facts={"calibration": calibration, "attempts": []}),
    ]
    advice: str = report(models, {})["precisions"]["int8"]["advice"]
    return advice


def test_advice_names_the_option_of_the_bound_that_is_broken() -> None:
    assert refused(GATES["int8"], agreement=0.97) == (
        "More calibration images (`--samples`) or such as the model will see (`--calibrate`) may help. "
        "`--min-agreement` can move the gate, if you know what a disagreement costs. FP16 was "
        "not asked for: it agrees better, at half the size (`--precision fp16`)."
    )


def test_advice_on_heatmaps_names_no_option_that_cannot_help() -> None:
    advice = refused(GATES["int8"], heatmap_correlation=0.9, fp16=True)
    assert "--m" not in advice
    assert "The heatmaps' bound cannot be moved" in advice
    assert advice.endswith("other reasons than its original.")


def test_advice_does_not_ask_for_more_images_where_all_were_used() -> None:
    advice = refused(GATES["int8"], agreement=0.9, asked_for=100_000)
    assert "--samples" not in advice
    assert "No more images were there to calibrate on: others of this kind (`--calibrate`) may help." in advice


def test_advice_on_images_of_ones_own_choice_is_to_take_the_runs() -> None:
    advice = refused(GATES["int8"], agreement=0.9, foreign=True, asked_for=500)
    assert advice.startswith("Calibrate on the run's own images (without `--calibrate`)")


def test_notes_stand_in_the_report() -> None:
    told = {**facts(), "notes": ["INT8 was compared on 13 images only"]}
    assert "\n- Note: INT8 was compared on 13 images only.\n" in as_markdown(told)
    assert "- Note" not in as_markdown(facts())


def int8(gate: Gate = GATES["int8"], **figures: Any) -> dict[str, Any]:
    """Returns a report's facts on an INT8 model with such figures."""
    same = {**SPEC.parity, "images": 280, **figures}
    parity = Parity(**same)
    change = AccuracyChange(images=1000, reference=0.9, candidate=0.9, difference=0.0, low=-0.003, high=0.003)
    trial = Trial(parity=parity, change=change, milliseconds=1.0, bytes=1, broken=gate.broken(parity, change))
    calibration = {"images": 300, "asked_for": 300, "of": "other", "blank": 0, "foreign": False}
    attempt = {"calibrator": "minmax", "residual_adds": "integer", "layers_in_float": [], **trial.as_dict()}
    scheme = {
        "target": "x86",
        "calibrator": "minmax",
        "residual_adds": "integer",
        "layers_in_float": [],
        "bias_correction": {"images": 8},
    }
    made = partial(ExportedModel, model=onnx.ModelProto())
    spec = replace(SPEC, precision="int8", quantization=scheme, parity=parity.as_dict())
    found = {"calibration": calibration, "attempts": [attempt]}
    models = [
        made(precision="fp32", spec=SPEC, gate=GATES["fp32"], facts={"onnxsim": "simplified"}),
        made(precision="int8", spec=spec, gate=gate, trial=trial, facts=found),
    ]
    return report(models, {})


def row(document: dict[str, Any], title: str) -> list[str]:
    (line,) = (line for line in as_markdown(document).splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def test_report_says_whether_the_interval_shows_what_the_measured_value_reaches() -> None:
    told = int8(agreement=279 / 280)
    assert told["precisions"]["int8"]["passed"] is True
    assert told["precisions"]["int8"]["unshown"] == ["agreement of 99 %: the interval reaches down to 98.01 %"]
    assert row(told, "shown by the 95 % intervals") == [
        "-",
        "no: agreement of 99 %: the interval reaches down to 98.01 %",
    ]
    assert row(int8(images=1000), "shown by the 95 % intervals") == ["-", "yes"]
    assert row(int8(agreement=0.9), "shown by the 95 % intervals") == ["-", "-"]  # it was refused
    assert "A gate asks for the measured values as they are; the last row says whether the intervals" in as_markdown(
        told
    )


def test_figures_of_a_refused_model_are_not_rounded_to_ones_that_pass() -> None:
    told = int8(images=259, agreement=256 / 259, heatmap_correlation=0.97997)
    assert row(told, "same most probable class") == ["100.00% [94.93%, 100.00%]", "98.84% [96.65%, 99.61%]"]
    assert row(told, "heatmaps' median correlation") == ["1.0000", "0.97997"]
    near = int8(images=100_000, agreement=0.98999)
    assert row(near, "same most probable class")[1].startswith("98.999% [")
    assert near["precisions"]["int8"]["failures"] == ["agreement is 98.999%, at least 99.00% is required"]
    assert "| minmax | integer | 0 | 98.999% |" in as_markdown(near)
    strict = int8(gate=replace(GATES["int8"], max_dp=0.005), max_dp=0.0050004)
    assert row(strict, "max \\|dp\\|") == ["1e-07", "0.00501"]


def test_max_dp_is_defined_below_the_table() -> None:
    told = "max |dp|: the largest absolute difference of any class's probability over the compared images."
    assert f"\n{told} " in as_markdown(facts())


def test_gate_stands_in_the_report_with_its_bounds() -> None:
    assert "\n| gate asks for | max \\|dp\\| 0.0001 or less |\n" in as_markdown(facts())
