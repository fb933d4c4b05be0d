"""`ctonnx predict --by` on DICOM files of two patients and on folders: rows, notes, exit codes and privacy."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.cli.commands.predicting import assert_rejected, predict
from tests.runtime.prediction.dicom_slices import CORONAL, IDENTIFIERS, write_slice

from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.prediction.predictor import Predictor


@pytest.fixture
def disc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disc with two patients: A with a thick, a thin and a localizer series, B with one of two slices."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(5).integers(0, 256, (9, 64, 64)).astype(float)
    for number in range(2):
        write_slice(Path(f"disc/A/thick/{number}"), noise[number], z=10.0 * number, instance=number + 1)
        write_slice(Path(f"disc/B/{number}"), noise[number + 7], patient="B", z=5.0 * number, instance=number + 1)
    for number in range(3):
        write_slice(
            Path(f"disc/A/thin/{number}"),
            noise[number + 2],
            series=2,
            z=-5.0 * number,
            instance=number + 1,
            kernel="B60f",
            thickness=1.0,
        )
    write_slice(Path("disc/A/scout"), noise[6], series=3, orientation=CORONAL, localizer=True)
    return Path("disc")


@pytest.fixture(autouse=True)
def positive(point_at: Any) -> None:
    point_at(0.0)


def documents(*words: str | Path, exit_code: int = 0) -> tuple[list[dict[str, Any]], str]:
    result = predict(*words, "--format", "jsonl")
    assert result.exit_code == exit_code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def test_patient_has_a_row_of_its_best_series(disc: Path, model: Path) -> None:
    (first, second), notes = documents(disc, "-m", model, "--by", "patient")
    assert re.fullmatch("[0-9a-f]{16}", first["group"])
    assert first["group"] != second["group"]
    assert (first["by"], first["decision"], first["used"]) == ("patient", "positive", 3)
    assert first["folders"] == ["disc/A", "disc/A/thick", "disc/A/thin"]
    assert first["taken"] == "3 slices, kernel B60f, 1 mm: most slices"
    assert first["left_out"] == [
        {"reason": "localizer", "slices": 1},
        {"reason": "of another series (2 slices, kernel B30f, 5 mm)", "slices": 2},
    ]
    (slice_,) = first["carried_by"]
    assert slice_["file"].startswith("disc/A/thin/")
    assert slice_["position_mm"] == -5.0 * int(slice_["file"][-1])
    assert "left out: 3 slices (1 localizer, 2 of another series)\n" in notes
    assert "8 files, 2 patients: 2 predicted (2 positive, 0 negative, 0 refer), 0 failed; 5 slices, " in notes


def test_threshold_has_six_digits_in_the_summary_and_all_in_the_rows(disc: Path, model: Path, point_at: Any) -> None:
    point_at(0.0156828155172658)
    rows, notes = documents(disc / "B", "-m", model, "--by", "patient")
    assert [row["threshold"] for row in rows] == [0.0156828155172658]
    assert " at 0.0156828 or more, of the most suspicious slice" in notes.splitlines()[-1]


def test_caveat_of_a_model_without_a_rule_for_patients_is_printed_once(disc: Path, model: Path) -> None:
    notes = documents(disc, "-m", model, "--by", "study")[1]
    caveat = (
        "caveat: this model has no rule for patients: a study is positive if its most suspicious slice is; many slices "
        "make false alarms likelier\n"
    )
    assert notes.count(caveat) == 1
    assert "of the most suspicious slice" in notes.splitlines()[-1]


def test_rule_for_patients_decides(disc: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Predictor.__init__

    def opened(self: Predictor, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        point = self.spec.operating_point
        assert point is not None
        rule = PatientRule(aggregate="top-k", k=2, operating_point=replace(point, threshold=1.0), patients=12)
        self.spec = replace(self.spec, patient_rule=rule)

    monkeypatch.setattr(Predictor, "__init__", opened)
    rows, notes = documents(disc, "-m", model, "--by", "series")
    assert [(row["decision"], row["carrying"], row["threshold"]) for row in rows] == [
        *[(None, 0, 1.0)],  # the localizer
        *[("negative", 2, 1.0)] * 3,
    ]
    assert "no rule for patients" not in notes
    assert " or more, of the mean of the 2 most suspicious" in notes
    assert notes.endswith("on the validation patients)\n")


def test_series_filter_chooses_the_series(disc: Path, model: Path) -> None:
    rows, notes = documents(disc, "-m", model, "--by", "study", "--series-filter", "B30")
    assert [row["used"] for row in rows] == [2, 2]
    assert "left out: 4 slices (1 localizer, 3 not matching the filter)\n" in notes
    rows, notes = documents(disc, "-m", model, "--by", "series", "--series-filter", "*/thin")
    assert [row["folders"] for row in rows] == [["disc/A/thin"]]
    assert "left out: 5 slices (5 not matching the filter)\n" in notes
    missing = predict(disc, "-m", model, "--by", "series", "--series-filter", "x")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "their kernels are: B30f, B60f" in missing.stderr


def test_series_of_a_localizer_has_a_row_that_states_it(disc: Path, model: Path) -> None:
    rows, notes = documents(disc, "-m", model, "--by", "series")
    assert [(row["folders"], row["decision"], row["used"]) for row in rows] == [
        (["disc/A"], None, 0),
        (["disc/A/thick"], "positive", 2),
        (["disc/A/thin"], "positive", 3),
        (["disc/B"], "positive", 2),
    ]
    assert (rows[0]["left_out"], rows[0]["error"]) == ([{"reason": "localizer", "slices": 1}], None)
    assert "left out: 1 slice (1 localizer)\n" in notes
    assert "8 files, 4 series: 3 predicted (3 positive, 0 negative, 0 refer), 1 left out, 0 failed; 7 slices, " in notes
    table = predict(disc, "-m", model, "--by", "series").stdout
    assert table.splitlines()[1][16:] == "  left out: 1 localizer in 'disc/A'"
    assert len(documents(disc, "-m", model, "--by", "series", "--suspicious-only")[0]) == 3
    scout = documents(disc, "-m", model, "--by", "series", "--series-filter", "disc/A")[0][0]
    assert scout["taken"] == "1 slice, kernel B30f, 5 mm, localizer: selected by the filter"
    assert scout["used"] == 1


def test_only_localizers_are_an_error(disc: Path, model: Path) -> None:
    found = predict("disc/A/scout", "-m", model, "--by", "series")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "expected axial CT slices for --by series, found none (1 localizer); --series-filter " in found.stderr


def test_folder_may_have_files_of_any_format(disc: Path, model: Path) -> None:
    Image.new("L", (64, 64), 90).save(disc / "A/thin/extra.png")
    (disc / "A/thin/broken.png").touch()
    rows, notes = documents(disc, "-m", model, "--by", "folder", exit_code=1)
    assert [(row["group"], row["used"], row["failed"]) for row in rows] == [
        *[("disc/A", 1, 0), ("disc/A/thick", 2, 0), ("disc/A/thin", 4, 1), ("disc/B", 2, 0)]
    ]
    assert rows[2]["failures"] == [{"file": "disc/A/thin/broken.png", "error": "the file is empty (0 bytes)"}]
    assert "failed: 1 file; the rows name them\n" in notes


def test_folder_of_several_series_has_a_caveat(disc: Path, model: Path) -> None:
    for file in (disc / "A/thin").iterdir():
        file.rename(disc / f"A/thick/thin{file.name}")
    notes = documents(disc, "-m", model, "--by", "folder")[1]
    assert "caveat: 1 folder has slices of several series; --by series keeps them apart\n" in notes


def test_file_without_a_patient_is_a_failure_of_its_folder(disc: Path, model: Path) -> None:
    (disc / "readme").write_text("hello", encoding="utf-8")
    rows, notes = documents(disc, "-m", model, "--by", "patient", exit_code=1)
    assert (rows[0]["group"], rows[0]["error"]) == (
        None,
        "1 file that cannot be read as DICOM, such as 'disc/readme'; use --by folder",
    )
    assert "failed: 1 file; the rows name them\n9 files, 2 patients: 2 predicted " in notes


def test_nothing_that_is_written_names_a_patient(disc: Path, model: Path) -> None:
    broken = bytearray((disc / "B/0").read_bytes())
    (disc / "B/0").write_bytes(broken[:-100])
    texts = []
    for by in ("patient", "study", "series", "folder"):
        for ending in ("csv", "jsonl"):
            words = ("--by", by, "--heatmaps", f"maps-{by}/{ending}", "--output", f"{by}.{ending}")
            result = predict(disc, "-m", model, *words)
            texts += [result.stderr, Path(f"{by}.{ending}").read_text(encoding="utf-8")]
        texts += [predict(disc, "-m", model, "--by", by).stdout, *map(str, Path(f"maps-{by}").rglob("*"))]
        texts += [path.read_bytes().decode("latin-1") for path in Path(f"maps-{by}").rglob("*.png")]
    assert len(texts) > 24
    assert [(word, text) for text in texts for word in IDENTIFIERS if word in text] == []
    assert any(word in (disc / "B/1").read_bytes().decode("latin-1") for word in IDENTIFIERS)


def test_pseudonyms_are_new_in_each_run(disc: Path, model: Path) -> None:
    first, second = (documents(disc, "-m", model, "--by", "patient")[0] for _ in range(2))
    assert {row["group"] for row in first} & {row["group"] for row in second} == set()


def test_csv_file_and_pictures(disc: Path, model: Path) -> None:
    words = ("--by", "patient", "--output", "rows.csv", "--heatmaps", "maps", "--sort", "score", "--suspicious-only")
    result = predict(disc, "-m", model, *words)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == "written: rows.csv"
    rows = list(csv.DictReader(io.StringIO(Path("rows.csv").read_text(encoding="utf-8"))))
    assert [row["heatmap"] for row in rows] == [f"maps/patient-{row['group']}.heatmap.png" for row in rows]
    assert all(Path(row["heatmap"]).is_file() for row in rows)


def test_folder_with_pictures_of_an_earlier_run_is_rejected(disc: Path, model: Path) -> None:
    words = (disc, "-m", model, "--heatmaps", "maps", "--by")
    assert predict(*words, "patient").exit_code == 0
    found = predict(*words, "patient")
    message = (
        "expected a folder without pictures of an earlier --by patient for --heatmaps, found 2 pictures in 'maps', "
        "whose pseudonyms match no row of this run; name another folder, or delete them"
    )
    assert (found.exit_code, found.stdout, message in found.stderr) == (2, "", True)
    assert len(list(Path("maps").iterdir())) == 2
    assert [predict(*words, by).exit_code for by in ("study", "folder", "folder")] == [0, 0, 0]


def test_options_that_do_not_fit_are_rejected(disc: Path, model: Path, point_at: Any) -> None:
    for by in ((), ("--by", "folder")):
        assert_rejected(
            predict(disc, "-m", model, *by, "--series-filter", "x"),
            "expected --series-filter with --by series, study or patient; for folders, name them",
        )
    point_at(None)
    assert_rejected(
        predict(disc, "-m", model, "--by", "folder"),
        f"expected a model with an operating point for --by, found none in '{model}'; train it on images of suspicious "
        "and other classes",
    )
