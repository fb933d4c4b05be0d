"""A run's record and splits as text: what is written is read again, by this release and a later one."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.runs.record import RunRecord, read_record
from ctonnx_train.runs.splits_file import read_digests, read_samples, write_splits

POINT = OperatingPoint(
    positive=("adenocarcinoma",),
    threshold=0.25,
    sensitivity=0.96,
    specificity=0.5,
    target_sensitivity=0.95,
    sensitivity_interval=(0.9, 0.99),
    specificity_interval=None,
)
RECORD = RunRecord(
    created="2026-01-02T03:04:05.000006+00:00",
    classes=("adenocarcinoma", "Lungenödem"),
    folder_classes={"Ödem cases": "Lungenödem", "adenocarcinoma": "adenocarcinoma"},
    preprocessing=Preprocessing(size=64, color="rgb", resize="pad"),
    data={"folder": "/data/scans", "name": "scans", "fingerprint": "0a" * 32, "images": {"train": {"a": 1}}},
    synthetic=True,
    settings={"weights": "none", "epochs": 2},
    training={"epochs": 2, "best_epoch": 1, "best_value": 0.5},
    metrics={"valid": {"accuracy": 0.5, "macro": {"precision": None}}},
    versions={"torch": "2.15.0"},
    temperature=1.25,
    operating_point=POINT,
    weights_sha256="cd" * 32,
)
SPLITS: dict[Split, tuple[Sample, ...]] = {
    "train": (Sample("train/a/scan (1).png", 0), Sample("train/Ödem cases/1.png", 1)),
    "valid": (Sample("valid/a/2.png", 0),),
    "test": (),
}
DIGESTS = {"train/a/scan (1).png": "aa", "train/Ödem cases/1.png": "bb", "valid/a/2.png": "aa", "other.png": "cc"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with its splits."""
    write_splits(Run(tmp_path), SPLITS, DIGESTS)
    return Run(tmp_path)


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, operating_point=None, temperature=1.0)])
def test_a_record_is_read_as_it_was_written(record: RunRecord, run: Run) -> None:
    run.record_file.write_text(record.to_json(), encoding="utf-8")
    assert read_record(run) == record


def test_a_record_is_text_with_a_schema_version_first() -> None:
    text = RECORD.to_json()
    assert text.startswith('{\n  "schema_version": 1,\n  "created": "2026-01-02T03:04:05.000006+00:00",\n')
    assert text.endswith("}\n")
    assert json.loads(text)["operating_point"]["sensitivity_interval"] == [0.9, 0.99]


def test_a_record_of_the_first_release_has_no_temperature_operating_point_or_digest() -> None:
    values = json.loads(RECORD.to_json())
    del values["temperature"], values["operating_point"], values["weights_sha256"]
    record = RunRecord.from_json(json.dumps(values))
    assert (record.temperature, record.operating_point, record.weights_sha256) == (1.0, None, None)


def test_fields_of_a_later_release_are_passed_over() -> None:
    values = json.loads(RECORD.to_json())
    values |= {"later": 1, "operating_point": values["operating_point"] | {"later": [2]}}
    assert RunRecord.from_json(json.dumps(values)) == RECORD


def test_a_record_of_a_later_schema_is_refused(run: Run) -> None:
    run.record_file.write_text(json.dumps({"schema_version": 2}), encoding="utf-8")
    with pytest.raises(ModelError) as refusal:
        read_record(run)
    assert str(refusal.value) == (
        f"expected a run's record in '{run.record_file}', found something else (the run was trained by a newer "
        "ctonnx); train again"
    )


@pytest.mark.parametrize("point", [{}, {"positive": ["a"]}, [1], 3, "x"])
def test_a_damaged_operating_point_is_refused(point: object, run: Run) -> None:
    values = json.loads(RECORD.to_json()) | {"operating_point": point}
    run.record_file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=r"^expected a run's record in .*run\.json', found .+; train again$"):
        read_record(run)


def test_splits_are_read_as_they_were_written(run: Run) -> None:
    assert {split: read_samples(run, split) for split in SPLITS} == SPLITS
    assert json.loads(run.splits_file.read_text(encoding="utf-8")) == {
        "train": [["train/a/scan (1).png", 0, "aa"], ["train/Ödem cases/1.png", 1, "bb"]],
        "valid": [["valid/a/2.png", 0, "aa"]],
        "test": [],
    }


def test_the_digests_of_a_split_are_those_of_its_images(run: Run) -> None:
    assert read_digests(run, "train") == {"train/a/scan (1).png": "aa", "train/Ödem cases/1.png": "bb"}
    assert read_digests(run, "valid") == {"valid/a/2.png": "aa"}
    assert read_digests(run, "test") == {}


def test_splits_of_the_first_release_have_samples_and_no_digests(run: Run) -> None:
    run.splits_file.write_text('{"train": [["a.png", 0]], "valid": [], "test": []}', encoding="utf-8")
    assert read_samples(run, "train") == (Sample("a.png", 0),)
    assert read_digests(run, "train") == {}


def test_file_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"train/a/R\xf6ntgen.png")  # Latin-1, as old archives have it
    write_splits(Run(tmp_path), {"train": (Sample(name, 0),)}, {name: "aa"})
    assert read_samples(Run(tmp_path), "train") == (Sample(name, 0),)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{}", "[]", '{"train": [["a.png"]]}', '{"train": 1}', "\udcff", '{"train": null}'),
        *('{"train": [null]}', '{"train": ["ab"]}', '{"train": [["a.png", "0"]]}', '{"train": [["a.png", -1]]}'),
        *('{"train": [["a.png", true]]}', '{"train": [["a.png", 0.5]]}', '{"train": [[1, 0]]}', "[" * 100_000),
        *('{"train": [["a.png", 0, 1]]}', '{"train": [["a\\u0000.png", 0]]}', '{"train": [], "train": []}'),
        '{"train": [["a.png", 0, "aa", "bb"]]}',
    ],
)
def test_missing_and_damaged_splits_are_told(text: str | None, run: Run) -> None:
    run.splits_file.unlink()
    if text is not None:
        run.splits_file.write_bytes(os.fsencode(text))
    for read in (read_samples, read_digests):
        with pytest.raises(ModelError) as refusal:
            read(run, "train")
        assert str(refusal.value).startswith(f"expected the run's splits in '{run.splits_file}', found ")
        assert str(refusal.value).endswith("; train again")
