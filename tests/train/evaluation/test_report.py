"""An evaluation as files: report, JSON and plots, in a folder that is written completely or not at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.errors import CtonnxError
from ctonnx_train.evaluation.evaluate import Evaluation, summarize
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import operating_metrics
from ctonnx_train.evaluation.report import as_markdown, check_output_folder, write_curves, write_evaluation
from ctonnx_train.evaluation.statistics.metrics import evaluate

CLASSES = ("benign", "malignant")
PROBABILITIES = np.array([[0.75, 0.25], [0.25, 0.75], [0.75, 0.25], [0.5, 0.5]])
LABELS = np.array([0, 1, 1, 0])
FILES = ["confusion.png", "evaluation.json", "reliability.png", "report.md", "risk.png", "roc.png"]
HISTORY = [
    {
        "epoch": 1,
        "phase": "scratch",
        "train_loss": 1.0,
        "valid_loss": None,
        "valid_accuracy": 0.5,
        "valid_balanced_accuracy": 0.5,
        "valid_macro_auroc": None,
    }
]


@pytest.fixture
def evaluation() -> Evaluation:
    """Four images, one of them misclassified."""
    document = summarize(
        model={
            "name": "tiny",
            "kind": "PyTorch checkpoint",
            "path": "runs/tiny",
            "classes": list(CLASSES),
            "synthetic": False,
        },
        data={
            "path": "scans",
            "split": "test",
            "images": 4,
            "trained_on_with_copies": None,
            "seen_in_training": {"trained_on": 0, "chosen_by": 0, "dropped": 0},
        },
        metrics=evaluate(PROBABILITIES, LABELS.tolist(), CLASSES, replicates=0),
        suspicious=None,
    )
    return Evaluation(document=document, probabilities=PROBABILITIES, labels=LABELS)


def with_data(evaluation: Evaluation, **data: Any) -> Evaluation:
    return replace(evaluation, document=evaluation.document | {"data": evaluation.document["data"] | data})


def seen(evaluation: Evaluation, **seen: int | None) -> list[str]:
    """Notes of the report on images that were seen in training."""
    known = {"trained_on": 0, "chosen_by": 0, "dropped": 0} | seen
    text = as_markdown(with_data(evaluation, seen_in_training=known).document)
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_the_report_has_the_model_the_data_and_the_metrics(evaluation: Evaluation) -> None:
    assert as_markdown(evaluation.document) == (
        "# tiny: test images\n"
        "\n"
        "PyTorch checkpoint `runs/tiny` on 4 images (test) of `scans`.\n"
        "A research tool, not a medical device.\n"
        "\n"
        "- None of these images is among those that the model was trained on (identical pixels).\n"
        "\n"
        "| metric | value | interval |\n"
        "| --- | --- | --- |\n"
        "| accuracy | 0.750 |  |\n"
        "| balanced accuracy | 0.750 |  |\n"
        "| ECE | 0.188 |  |\n"
        "| macro precision | 0.833 |  |\n"
        "| macro sensitivity (recall) | 0.750 |  |\n"
        "| macro specificity | 0.750 |  |\n"
        "| macro F1 | 0.733 |  |\n"
        "| macro AUROC | 0.625 |  |\n"
        "\n"
        "| class | images | precision | sensitivity (recall) | specificity | F1 | AUROC |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| benign | 2 | 0.667 | 1.000 | 0.500 | 0.800 | 0.625 |\n"
        "| malignant | 2 | 1.000 | 0.500 | 1.000 | 0.667 | 0.625 |\n"
        "\n"
        "| true \\ predicted | benign | malignant |\n"
        "| --- | --- | --- |\n"
        "| benign | 2 | 0 |\n"
        "| malignant | 1 | 1 |\n"
        "\n"
    )


def test_intervals_are_next_to_the_metrics_and_are_explained(evaluation: Evaluation) -> None:
    metrics = evaluate(PROBABILITIES, LABELS.tolist(), CLASSES, replicates=30, seed=5)
    text = as_markdown(evaluation.document | {"metrics": metrics})
    low, high = metrics["intervals"]["accuracy"]
    assert "| metric | value | 95% interval |" in text
    assert f"| accuracy | 0.750 | [{low:.3f}, {high:.3f}] |" in text
    low, high = metrics["intervals"]["per_class"]["malignant"]["precision"]
    assert f"| malignant | 2 | 1.000 [{low:.3f}, {high:.3f}] | 0.500 [" in text
    low, high = metrics["intervals"]["macro"]["f1"]
    assert f"| macro F1 | 0.733 | [{low:.3f}, {high:.3f}] |" in text
    assert text.endswith(
        "\nIntervals: percentiles of 30 bootstrap resamples of 4 images (seed 5); of sensitivity and specificity at "
        "the operating point: Wilson score. The ECE of few images is too high, and that of their resamples even "
        "higher.\n"
    )


@pytest.mark.parametrize(("unit", "shown"), [("patient", "2 patients"), ("group of patients", "2 groups of patients")])
def test_intervals_over_patients_are_explained(evaluation: Evaluation, unit: str, shown: str) -> None:
    metrics = evaluate(PROBABILITIES, LABELS.tolist(), CLASSES, groups=[0, 0, 1, 1], unit=unit, replicates=30)
    text = as_markdown(evaluation.document | {"metrics": metrics})
    assert text.endswith(
        f"\nIntervals: percentiles of 30 bootstrap resamples of {shown} (seed 0); of sensitivity and specificity at "
        f"the operating point: Wilson score for the effective number of images, as if all images of a {unit} were "
        "alike. The ECE of few images is too high, and that of their resamples even higher.\n"
    )


def test_an_undefined_metric_is_a_dash(evaluation: Evaluation) -> None:
    metrics = evaluate(PROBABILITIES[[0, 0]], [0, 0], CLASSES, replicates=10)
    text = as_markdown(evaluation.document | {"metrics": metrics})
    assert "| macro AUROC | - |  |" in text
    assert "| malignant | 0 | - | - | 1.000 [1.000, 1.000] | - | - |" in text


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (
            {"trained_on": None},
            "- Whether the model was trained on some of these images is unknown: its run is not next to it.",
        ),
        (
            {"trained_on": 3},
            "- **3 of these images are among those that the model was trained on: the metrics are optimistic.**",
        ),
        (
            {"trained_on": 1},
            "- **1 of these images is among those that the model was trained on: the metrics are optimistic.**",
        ),
        ({"trained_on": 1, "dropped": 1}, "- 1 image that the model was trained on was left out."),
        ({"trained_on": 3, "dropped": 3}, "- 3 images that the model was trained on were left out."),
    ],
)
def test_images_seen_in_training_are_reported(known: dict[str, int | None], line: str, evaluation: Evaluation) -> None:
    assert seen(evaluation, **known) == [line]


LEAKS: dict[str, Any] = {
    "groups": 5,
    "files": 11,
    "groups_across_splits": 3,
    "files_across_splits": 7,
    "groups_with_several_labels": 1,
    "files_with_several_labels": 2,
    "leaked": {"valid": 1, "test": 2},
    "dropped": {},
}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "1 of valid, 2 of test."),
        ({"leaked": {"valid": 0, "test": 0}}, "none."),
        (
            {"dropped": {"train": 2, "valid": 0, "test": 2}},
            "1 of valid, 2 of test; left out: 2 of train, 2 of test.",
        ),
    ],
)
def test_the_copies_in_the_training_data_are_reported(
    changes: dict[str, Any], end: str, evaluation: Evaluation
) -> None:
    text = as_markdown(with_data(evaluation, trained_on_with_copies=LEAKS | changes).document)
    assert (
        "- Its dataset contains 5 groups of files with identical pixels (11 files), 3 of them across splits, 1 with "
        f"different labels. Files that leaked from an earlier split: {end}\n"
    ) in text


def test_a_dataset_without_copies_is_reported(evaluation: Evaluation) -> None:
    none = LEAKS | {"groups": 0, "files": 0, "leaked": {"valid": 0, "test": 0}}
    text = as_markdown(with_data(evaluation, trained_on_with_copies=none).document)
    assert "- No image is in its dataset twice (identical pixels).\n" in text
    assert "groups of files" not in text


def test_phantoms_have_no_clinical_meaning(evaluation: Evaluation) -> None:
    document = evaluation.document | {"model": evaluation.document["model"] | {"synthetic": True}}
    assert as_markdown(document).splitlines()[2] == (
        "**Trained on synthetic phantoms: these metrics have no clinical meaning.**"
    )


def test_the_operating_point_is_reported_with_its_intervals(evaluation: Evaluation) -> None:
    metrics = operating_metrics(PROBABILITIES, LABELS, CLASSES, ("malignant",), 0.5)
    suspicious = {"positive": ["malignant"], "threshold": 0.5, "target_sensitivity": 0.95, **metrics}
    assert (
        "**Suspicious** (malignant of 0.5 or more, fitted on the validation images): sensitivity 0.500 "
        "[0.094, 0.906] on 2 images, specificity 0.500 [0.094, 0.906] on 2.\n"
    ) in as_markdown(evaluation.document | {"suspicious": suspicious})
    model = evaluation.document["model"] | {"fitted_on": "scans of 'site'"}
    assert "fitted on the scans of 'site')" in as_markdown(
        evaluation.document | {"suspicious": suspicious, "model": model}
    )


@pytest.mark.parametrize(
    ("seen", "end"),
    [(0, "classes."), (2, "classes. The sets were fitted on some of these images: expect a lower coverage on others.")],
)
def test_the_decisions_are_reported_with_the_coverage_of_each_class(
    seen: int, end: str, evaluation: Evaluation
) -> None:
    point = OperatingPoint(positive=("malignant",), threshold=0.3, sensitivity=1.0, specificity=0.5)
    sets = PredictionSets(coverage=0.9, lowest={"benign": 0.3, "malignant": 0.4}, images={"benign": 9, "malignant": 4})
    found = decision_metrics(
        PROBABILITIES, LABELS, CLASSES, point=point, sets=sets, is_novel=np.array([1, 0, 0, 0], bool)
    )
    data = evaluation.document["data"] | {"seen_in_training": {"trained_on": 0, "chosen_by": seen, "dropped": 0}}
    text = as_markdown(evaluation.document | {"decisions": found, "data": data})
    assert (
        "**Decisions**: 2 of 4 images referred, 0.500 [0.150, 0.850] (prediction set 1, novelty 1): 0 suspicious and 2 "
        "others. Among those decided, sensitivity 0.500 [0.094, 0.906] on 2 images, specificity - on 0.\n\n"
        "| class | images | with their class in the prediction set | promised |\n"
        "| --- | --- | --- | --- |\n"
        "| benign | 2 | 1.000 [0.342, 1.000] | 0.900 |\n"
        "| malignant | 2 | 0.500 [0.094, 0.906] | - |\n\n"
        f"Mean size of a prediction set: 1.25 {end}\n"
    ) in text
    model = evaluation.document["model"] | {"fitted_on": "scans of 'site'"}  # its validation images fitted nothing
    for recalibrated_on in (False, True):
        data |= {"recalibrated_on": recalibrated_on}
        text = as_markdown(evaluation.document | {"decisions": found, "data": data, "model": model})
        assert ("The sets were fitted on some of these images" in text) == recalibrated_on


@pytest.mark.parametrize(("trained_on", "shown"), [(0, "0"), (3, "3"), (None, "not known")])
def test_a_comparison_has_its_own_section(trained_on: int | None, shown: str, evaluation: Evaluation) -> None:
    comparison = {
        "other": evaluation.document["model"] | {"kind": "ONNX fp32", "path": "model.onnx"},
        "seen_in_training": {"trained_on": trained_on, "chosen_by": None},
        "images": 4,
        "agreement": 0.5,
        "max_dp": 0.5,
        "mean_dp": 0.1875,
        "accuracy_difference": 0.0,
        "mcnemar": {"only_first_right": 1, "only_second_right": 1, "p_value": 1.0},
        "accuracy": 0.75,
        "other_accuracy": 0.75,
    }
    text = as_markdown(evaluation.document | {"comparison": comparison})
    assert text.endswith(
        "## Compared with ONNX fp32 `model.onnx`\n"
        "\n"
        "| metric | value |\n"
        "| --- | --- |\n"
        "| accuracy, this and the other | 0.750, 0.750 |\n"
        "| agreement | 50.00% |\n"
        "| max and mean \\|dp\\| | 0.5, 0.188 |\n"
        "| only this one right, only the other right | 1, 1 |\n"
        "| McNemar's exact test, two-sided | p = 1 |\n"
        f"| images that the other was trained on | {shown} |\n"
        "\n"
        "max |dp|: the largest absolute difference of any class's probability over the compared images.\n"
        "\n"
    )


def test_a_bar_in_a_classes_name_breaks_no_table(evaluation: Evaluation) -> None:
    names = ["a|b", "c"]
    document = evaluation.document | {
        "model": evaluation.document["model"] | {"classes": names},
        "metrics": evaluate(PROBABILITIES, LABELS.tolist(), names, replicates=0),
    }
    lines = as_markdown(document).splitlines()
    assert sum(line.startswith("| a\\|b |") for line in lines) == 2
    assert "| true \\ predicted | a\\|b | c |" in lines


def test_the_folder_has_the_report_the_document_and_the_plots(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "evaluation"
    write_evaluation(evaluation, folder)
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == evaluation.document
    assert (folder / "report.md").read_text(encoding="utf-8") == as_markdown(evaluation.document, plots=True)
    assert (
        (folder / "report.md")
        .read_text(encoding="utf-8")
        .endswith(
            "\n![confusion](confusion.png)\n![roc](roc.png)\n![reliability](reliability.png)\n![risk](risk.png)\n"
        )
    )
    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            image.load()
            assert min(image.size) > 500


def test_an_earlier_evaluation_is_replaced(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    write_evaluation(with_data(evaluation, path="old"), folder)
    write_evaluation(evaluation, folder)
    assert "`scans`" in (folder / "report.md").read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation"]


def test_the_same_evaluation_is_the_same_bytes(evaluation: Evaluation, tmp_path: Path) -> None:
    for name in ("first", "again"):
        write_evaluation(evaluation, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_a_folder_with_other_files_is_left_as_it_is(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("old", encoding="utf-8")
    (tmp_path / "thesis.docx").write_text("mine", encoding="utf-8")
    message = (
        f"expected a new folder or an earlier evaluation at '{tmp_path}', found other files ('thesis.docx' first); "
        "choose another --output"
    )
    with pytest.raises(CtonnxError) as caught:
        write_evaluation(evaluation, tmp_path)
    assert str(caught.value) == message
    with pytest.raises(CtonnxError) as caught:
        check_output_folder(tmp_path)
    assert str(caught.value) == message
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.md", "thesis.docx"]
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "old"


def test_an_error_in_a_plot_leaves_no_folder(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctonnx_train.evaluation.report.save_plot", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_evaluation(evaluation, tmp_path / "evaluation")
    assert list(tmp_path.iterdir()) == []


def test_undecodable_paths_are_escaped(evaluation: Evaluation, tmp_path: Path) -> None:
    odd = with_data(evaluation, path="R\udcf6ntgen")
    write_evaluation(odd, tmp_path / "evaluation")
    text = (tmp_path / "evaluation" / "report.md").read_text(encoding="utf-8")
    assert "on 4 images (test) of `R\\udcf6ntgen`.\n" in text
    document = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    assert document["data"]["path"] == "R\udcf6ntgen"


def test_the_curves_are_a_png(tmp_path: Path) -> None:
    write_curves(HISTORY, "tiny", 1, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert (image.format, image.size) == ("PNG", (2100, 960))
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
