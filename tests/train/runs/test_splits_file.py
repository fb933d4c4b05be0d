"""The splits of a run: what is written is read again; missing and damaged files are reported."""

import json
import os
from pathlib import Path

import pytest
from tests.train.runs.conftest import SPLITS

from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx_train.data.splits import Sample
from ctonnx_train.runs.splits_file import read_digests, read_patients, read_samples, write_splits


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


def test_patients_are_read_as_they_were_written(tmp_path: Path) -> None:
    samples = (Sample("a.png", 0), Sample("b.png", 0))
    write_splits(Run(tmp_path), {"train": samples}, {"a.png": "aa", "b.png": "bb"}, {"a.png": "0f3a"})
    assert read_samples(Run(tmp_path), "train") == samples
    assert read_digests(Run(tmp_path), "train") == {"a.png": "aa", "b.png": "bb"}
    assert read_patients(Run(tmp_path), "train") == {"a.png": "0f3a"}


def test_splits_without_patients_have_none(run: Run) -> None:
    assert read_patients(run, "train") == {}


def test_file_names_that_are_not_unicode_are_kept(tmp_path: Path) -> None:
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
        '{"train": [["a.png", 0, "aa", "bb", "cc"]]}',
    ],
)
def test_missing_and_damaged_splits_are_reported(text: str | None, run: Run) -> None:
    run.splits_file.unlink()
    if text is not None:
        run.splits_file.write_bytes(os.fsencode(text))
    for read in (read_samples, read_digests):
        with pytest.raises(ModelError) as caught:
            read(run, "train")
        assert str(caught.value).startswith(f"expected the run's splits in '{run.splits_file}', found ")
        assert str(caught.value).endswith("; train again")
