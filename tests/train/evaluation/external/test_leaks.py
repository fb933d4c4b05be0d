"""Scans and patients of a model's training in the data of `evaluate_external`: counted, or left out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.train.grey_models import write_model, write_scans

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx_train.data.patients import PatientOrigin
from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
from ctonnx_train.evaluation.external.external import evaluate_external
from ctonnx_train.evaluation.external.leaks import reasons_against
from ctonnx_train.evaluation.external.report import as_markdown

KINDS = {"malignant": "tumor", "benign": "normal"}
TRAINED = "MRN-3"

Evaluate: TypeAlias = Callable[..., tuple[dict[str, Any], list[str]]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Scans of two classes, four of each of ten patients, with a labels file that names the patients."""
    root = write_scans(tmp_path / "hospital", dict.fromkeys(KINDS, 20), kinds=KINDS)
    rows = [
        f"{file.relative_to(root).as_posix()},{file.parent.name},MRN-{int(file.stem) % 10}"
        for file in sorted(root.rglob("*.png"))
    ]
    (root / "labels.csv").write_text("\n".join(["path,label,patient", *rows]), encoding="utf-8")
    return root


@pytest.fixture
def evaluate(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """A function that evaluates a model that was trained on other scans of one of the patients."""
    model = write_model(tmp_path / "model.fp32.onnx")
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    key = Pseudonyms()
    key.save(run.patients_key_file)

    def evaluated(
        patient: str = key.of("patient", TRAINED), origin: PatientOrigin = "labels file", **options: Any
    ) -> tuple[dict[str, Any], list[str]]:
        lines: list[str] = []
        root, validation = options.pop("data_root", None), options.pop("validation", ())
        monkeypatch.setattr(
            "ctonnx_train.evaluation.external.external.open_evaluated_model",
            lambda file, threads: replace(
                open_evaluated_model(file),
                run=run,
                data={"patients": {"origin": origin}},
                data_root=root,
                digests={"train": frozenset({"of another scan"})},
                training_patients=frozenset({patient}),
                validation_patients=frozenset(key.of("patient", name) for name in validation),
            ),
        )
        return evaluate_external(model, data, replicates=20, log=lines.append, **options), lines

    return evaluated


def test_training_patients_are_counted(evaluate: Evaluate, data: Path) -> None:
    document, lines = evaluate(labels=data / "labels.csv")
    assert document["data"]["patients"] == {"origin": "labels file", "patients": 10, "trained_on": 1, "chosen_by": 0}
    assert document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 0}
    assert "warning: the model was trained on 1 of the 10 patients" in lines
    assert document["caveats"][-1] == (
        "the model was trained on other scans of some of these patients: the metrics are optimistic"
    )
    assert "The intervals allow for 10 groups (patients from the labels file): those" in as_markdown(document)
    assert reasons_against(document["data"], recalibrated_on=False) == ["the model was trained on 1 of these patients"]


def test_other_scans_of_validation_patients_are_counted(evaluate: Evaluate, data: Path) -> None:
    document, _ = evaluate(labels=data / "labels.csv", validation=("MRN-1", "MRN-2"), drop_leaks=True)
    counts = {"origin": "labels file", "patients": 9, "trained_on": 0, "chosen_by": 2}
    assert document["data"]["patients"] == counts
    assert (
        "other images of 2 of these patients are among the validation images that selected its best epoch, "
        "temperature, threshold and prediction sets: expect somewhat lower metrics on others"
    ) in document["caveats"]
    reason = "the model was chosen by other scans of 2 of these patients"
    assert reasons_against(document["data"], recalibrated_on=False) == [reason]


def test_training_patients_are_left_out(evaluate: Evaluate, data: Path) -> None:
    document, lines = evaluate(labels=data / "labels.csv", drop_leaks=True)
    assert document["data"]["images"] == 36
    assert document["data"]["patients"] == {"origin": "labels file", "patients": 9, "trained_on": 0, "chosen_by": 0}
    assert document["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": None, "dropped": 4}
    assert not any(line.startswith("warning") for line in lines)
    assert not any("optimistic" in caveat for caveat in document["caveats"])


@pytest.mark.parametrize("has_key", [True, False])
def test_without_a_key_or_with_patients_of_another_source_only_images_are_compared(
    evaluate: Evaluate, data: Path, tmp_path: Path, has_key: bool
) -> None:
    if not has_key:
        (tmp_path / "run/patients.key").unlink()
    origin: PatientOrigin = "DICOM headers" if has_key else "labels file"
    document, lines = evaluate(origin=origin, labels=data / "labels.csv", drop_leaks=True)
    assert document["data"]["images"] == 40
    assert document["data"]["patients"]["trained_on"] is None
    assert (
        "warning: the training patients of the model are unknown here: --drop-leaks compares its images only" in lines
    )


@pytest.mark.parametrize("is_own", [True, False])
def test_names_in_paths_are_compared_in_the_folder_of_the_training_alone(
    evaluate: Evaluate, data: Path, tmp_path: Path, is_own: bool
) -> None:
    (data / "labels.csv").unlink()
    document, _ = evaluate(
        "3",
        origin="--group-regex",
        group_regex=r"(\d)\.png",
        data_root=data.resolve() if is_own else tmp_path,
        drop_leaks=True,
    )
    assert document["data"]["images"] == (36 if is_own else 40)
    assert document["data"]["patients"]["trained_on"] == (0 if is_own else None)


def test_no_scan_left_is_reported(evaluate: Evaluate, data: Path) -> None:
    text = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.rsplit(",", 1)[0] + f",{TRAINED}" for line in text[1:]]
    (data / "labels.csv").write_text("\n".join([text[0], *rows]), encoding="utf-8")
    with pytest.raises(DataError, match=r"^expected images that '.*' was not trained on, found none$"):
        evaluate(labels=data / "labels.csv", drop_leaks=True)
