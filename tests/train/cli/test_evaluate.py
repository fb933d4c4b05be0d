"""`ctonnx evaluate` as it is typed, on a run, an exported model, or both: output and exit code."""

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.train.cli.conftest import failed, outcome

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.errors import DataError
from ctonnx_train.evaluation.statistics.metrics import REPLICATES
from ctonnx_train.runs.record import read_record

QUICK = ("--replicates", "20")

pytestmark = pytest.mark.usefixtures("folder", "no_cuda")


def ctonnx(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)], prog_name="ctonnx")


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_run_is_reported_as_markdown(run: str, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, *QUICK)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    caveats = document(ctonnx(run, phantoms, *QUICK, "--json"))["caveats"]
    assert any(caveat.startswith("the operating point was fitted on ") for caveat in caveats)
    assert lines[:2] == ["# tiny: test images", ""]
    start = 2 + 2 * len(caveats)
    assert lines[2:start:2] == [f"**Warning: {caveat}.**" for caveat in caveats]
    assert lines[start : start + 3] == [
        "**Trained on synthetic phantoms: these metrics have no clinical meaning.**",
        "",
        f"PyTorch checkpoint `{run}` on 8 images (test) of `{phantoms}`.",
    ]
    assert "- None of these images is among those that the model was trained on (identical pixels)." in lines
    assert "Intervals: percentiles of 20 bootstrap resamples of 8 images (seed 0)" in result.stdout
    assert result.stderr.startswith("note: these images are synthetic phantoms; ")
    assert result.stderr.endswith(f"\nPyTorch checkpoint 'tiny' on 8 images (test) of {phantoms}\n")
    assert ".png" not in result.stdout


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_metrics_are_those_of_the_run_record(split: str, run: str, phantoms: Path, exported_run: Run) -> None:
    found = document(ctonnx(run, phantoms, "--split", split, "--json"))
    noted = read_record(exported_run).metrics[split]
    for name in ("images", "accuracy", "balanced_accuracy", "confusion_matrix"):
        assert found["metrics"][name] == noted[name], name
    assert found["metrics"]["macro"]["auroc"] == pytest.approx(noted["macro"]["auroc"], abs=1e-6)
    assert found["metrics"]["intervals"]["accuracy"] == noted["intervals"]["accuracy"]
    assert found["metrics"]["bootstrap"] == noted["bootstrap"]
    assert found["data"]["seen_in_training"]["chosen_by"] == (8 if split == "valid" else 0)
    report = json.loads((exported_run.evaluation_folder / split / "evaluation.json").read_text(encoding="utf-8"))
    assert found["suspicious"]["threshold"] == report["suspicious"]["threshold"]
    assert found["suspicious"]["sensitivity"] == report["suspicious"]["sensitivity"]


def test_an_exported_model_has_the_same_metrics_as_its_run(run: str, model: Path, phantoms: Path) -> None:
    checkpoint, exported = (document(ctonnx(one, phantoms, *QUICK, "--json")) for one in (run, model))
    assert exported["model"] == checkpoint["model"] | {"kind": "ONNX fp32", "path": str(model)}
    assert exported["data"] == checkpoint["data"]
    for name in ("accuracy", "per_class", "confusion_matrix"):
        assert exported["metrics"][name] == checkpoint["metrics"][name]
    assert exported["suspicious"] == checkpoint["suspicious"]


def test_a_run_is_found_by_its_name(exported_run: Run, phantoms: Path, folder: Path) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "tiny").symlink_to(exported_run.folder)
    result = ctonnx("tiny", phantoms, *QUICK)
    assert f"PyTorch checkpoint `runs/tiny` on 8 images (test) of `{phantoms}`." in result.stdout.splitlines()


def test_another_model_is_compared(run: str, model: Path, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, "--compare", model, *QUICK)
    assert f"## Compared with ONNX fp32 `{model}`\n" in result.stdout
    assert "| agreement | 100.00% |\n" in result.stdout
    assert "| images that the other was trained on | 0 |\n" in result.stdout
    assert "| McNemar's exact test, two-sided | p = 1 |\n" in result.stdout
    comparison = document(ctonnx(model, phantoms, "--compare", run, *QUICK, "--json"))["comparison"]
    assert comparison["other"]["kind"] == "PyTorch checkpoint"
    assert comparison["seen_in_training"] == {"trained_on": 0, "chosen_by": 0}
    assert (comparison["images"], comparison["agreement"], comparison["mcnemar"]["p_value"]) == (8, 1.0, 1.0)
    assert 0 < comparison["max_dp"] < 1e-5


def test_output_holds_the_report_the_document_and_the_plots(run: str, phantoms: Path, folder: Path) -> None:
    result = ctonnx(run, phantoms, "-o", "out/tiny", *QUICK, "--json")
    assert sorted(file.name for file in (folder / "out" / "tiny").iterdir()) == [
        "confusion.png",
        "evaluation.json",
        "reliability.png",
        "report.md",
        "risk.png",
        "roc.png",
    ]
    assert (folder / "out" / "tiny" / "evaluation.json").read_text(encoding="utf-8") == result.stdout
    assert result.stderr.endswith("\nout/tiny: wrote evaluation.json, report.md and the plots\n")
    for file in (folder / "out" / "tiny").glob("*.png"):
        with Image.open(file) as image:
            image.load()
    again = ctonnx(run, phantoms, "-o", "out/tiny", *QUICK, "--json")
    assert outcome(again) == outcome(result)


def test_leftovers_of_a_killed_evaluation_are_removed(
    run: str, phantoms: Path, folder: Path, leave_behind: Callable[[Path], Path]
) -> None:
    left = leave_behind(folder / "one")
    result = ctonnx(run, phantoms, "-o", "two", *QUICK)
    assert result.stderr.startswith(f"removed 1 temporary file or folder of a killed process from '.': '{left.name}'\n")
    assert not left.exists()


def test_an_output_folder_with_other_files_ends_in_a_sentence_before_the_work(
    run: str, phantoms: Path, folder: Path
) -> None:
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    assert outcome(ctonnx(run, phantoms, "--output", ".")) == failed(
        "expected a new folder or an earlier evaluation at '.', found other files ('mine.txt' first); choose another "
        "--output"
    )


def test_every_split_can_be_chosen_and_images_of_the_training_are_reported(run: str, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, "--split", "all", *QUICK)
    assert result.stderr.splitlines()[-1] == (
        f"warning: 16 of the 32 images are among those that '{run}' was trained on: the metrics are optimistic; "
        "--drop-leaks leaves them out"
    )
    assert "# tiny: all images\n" in result.stdout
    assert "- **16 of these images are among those that the model was trained on: the metrics are optimistic.**" in (
        result.stdout
    )


def test_images_of_the_training_can_be_left_out_whatever_their_names_and_formats(run: str, copied: Path) -> None:
    trained = next((copied / "train").rglob("*.png"))
    with Image.open(trained) as image:
        image.save(copied / "test" / "normal" / "new.bmp")
    kept = document(ctonnx(run, copied, *QUICK, "--json"))
    assert (kept["data"]["images"], kept["data"]["seen_in_training"]["trained_on"]) == (9, 1)
    left = ctonnx(run, copied, "--drop-leaks", *QUICK, "--json")
    assert document(left)["data"]["images"] == 8
    assert document(left)["data"]["seen_in_training"] == {"trained_on": 0, "chosen_by": 0, "dropped": 1}
    assert "warning" not in left.stderr


def test_images_of_the_training_cannot_be_left_out_where_they_are_not_known(
    model: Path, phantoms: Path, folder: Path
) -> None:
    shutil.copy(model, folder / "model.onnx")
    assert outcome(ctonnx("model.onnx", phantoms, "--drop-leaks")) == failed(
        "expected to know which images 'model.onnx' was trained on, for --drop-leaks, found no run with their digests "
        "next to it; evaluate its run, or leave out --drop-leaks"
    )
    result = ctonnx("model.onnx", phantoms, *QUICK)
    assert "- Whether the model was trained on some of these images is unknown: its run is not next to it." in (
        result.stdout
    )


def test_a_missing_split_ends_in_a_sentence(run: str, copied: Path) -> None:
    shutil.rmtree(copied / "test")
    result = ctonnx(run, copied, "--split", "test")
    assert (result.exit_code, result.stdout, result.stderr.splitlines()[-1]) == (
        2,
        "",
        f"Error: expected images of the split 'test' in '{copied}', found those of 'train', 'valid' only; choose "
        "another --split, or all",
    )


def test_other_classes_end_in_a_sentence_and_can_be_given_names(run: str, copied: Path) -> None:
    (copied / "test" / "normal").rename(copied / "test" / "healthy")
    assert outcome(ctonnx(run, copied)) == failed(
        "expected only the model's classes ('cavitating', 'large central', 'normal', 'small peripheral') in every "
        f"split of '{copied}', found 'healthy' too; rename the folder or use --class-name OLD=NEW; for other classes: "
        "ctonnx evaluate --external"
    )
    found = document(ctonnx(run, copied, "--class-name", "healthy=normal", *QUICK, "--json"))
    assert found["metrics"]["per_class"]["normal"]["images"] == 2


def test_a_class_that_lacks_has_no_metrics(run: str, copied: Path) -> None:
    shutil.rmtree(copied / "test" / "normal")
    found = document(ctonnx(run, copied, *QUICK, "--json"))
    assert found["model"]["classes"] == ["cavitating", "large central", "normal", "small peripheral"]
    assert found["metrics"]["per_class"]["normal"]["sensitivity"] is None
    assert (found["suspicious"]["specificity"], found["suspicious"]["specificity_images"]) == (None, 0)


def test_groups_are_resampled_and_no_resamples_give_no_intervals(run: str, phantoms: Path) -> None:
    grouped = document(ctonnx(run, phantoms, *QUICK, "--seed", "4", "--group-regex", "test/([a-z])", "--json"))
    assert grouped["metrics"]["bootstrap"] == {
        "level": 0.95,
        "replicates": 20,
        "seed": 4,
        "unit": "patient",
        "units": 4,
    }
    plain = ctonnx(run, phantoms, "--replicates", "0")
    assert "| metric | value | interval |\n" in plain.stdout
    assert "Intervals:" not in plain.stdout


@pytest.mark.parametrize(
    ("regex", "error"),
    [
        ("patient_(", r"expected a regular expression for --group-regex, found 'patient_\(' \(.+\)"),
        ("patient", r"expected --group-regex 'patient' to match paths such as 'test/.+', found that it matches none"),
    ],
)
def test_a_group_that_cannot_be_ends_in_a_sentence(regex: str, error: str, run: str, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, "--group-regex", regex)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"Error: {error}", result.stderr.splitlines()[-1])


def test_a_damaged_image_ends_in_a_sentence_that_names_it(run: str, copied: Path) -> None:
    damaged = next((copied / "test" / "normal").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:300])
    result = ctonnx(run, copied)
    assert (result.exit_code, result.stdout) == (2, "")
    error = result.stderr.splitlines()[-1]
    assert error.startswith("Error: expected 8 readable images, found 1 that is not: ")
    assert damaged.name in error


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (
            "nothing",
            "expected a run's folder (with model.safetensors and run.json) at 'nothing' or 'runs/nothing', found none; "
            "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
            "--model FILE)",
        ),
        ("no.onnx", "expected an .onnx file, found no file at 'no.onnx'; list them with: ls runs/*/export"),
    ],
)
def test_a_model_that_is_not_there_ends_in_a_sentence(model: str, error: str, phantoms: Path) -> None:
    assert outcome(ctonnx(model, phantoms)) == failed(error)


def test_missing_data_ends_in_a_sentence(run: str) -> None:
    error = "expected a data folder or a MedMNIST .npz file at 'nowhere', found nothing; check the path"
    assert outcome(ctonnx(run, "nowhere")) == failed(error)


def test_every_option_reaches_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def measured(evaluated: Any, data: Path, **options: Any) -> None:
        asked.update(options, evaluated=evaluated, data=data)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.evaluation.evaluate.evaluate_model", measured)
    monkeypatch.setattr(
        "ctonnx_train.evaluation.evaluated_model.open_evaluated_model", lambda path, *, threads: (str(path), threads)
    )
    options = (
        "--split=valid --compare=other.onnx --drop-leaks --group-regex=p(.) --class-name=A=b --replicates=7 --seed=3 "
        "--threads=2 --aggregate=top-k --top-k=4 --labels=l.csv"
    )
    assert outcome(ctonnx("tiny", "scans", *options.split())) == failed("seen enough")
    del asked["log"]
    assert asked == {
        "evaluated": ("tiny", 2),
        "data": Path("scans"),
        "split": "valid",
        "other": ("other.onnx", 2),
        "drop_leaks": True,
        "group_regex": "p(.)",
        "labels_file": Path("l.csv"),
        "aggregate": "top-k",
        "top_k": 4,
        "class_names": {"A": "b"},
        "replicates": 7,
        "seed": 3,
    }
    asked.clear()
    ctonnx("tiny", "scans")
    del asked["log"]
    assert asked == {
        "evaluated": ("tiny", None),
        "data": Path("scans"),
        "split": None,
        "other": None,
        "drop_leaks": False,
        "group_regex": None,
        "labels_file": None,
        "aggregate": None,
        "top_k": None,
        "class_names": {},
        "replicates": REPLICATES,
        "seed": 0,
    }


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "report")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_metrics_that_cannot_be_written_are_printed_all_the_same(
    options: tuple[str, ...], run: str, phantoms: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ctonnx(run, phantoms, *QUICK, *options)
    monkeypatch.setattr("ctonnx_train.evaluation.report.write_text", full)
    result = ctonnx(run, phantoms, *QUICK, *options, "--output", "report")
    assert (result.exit_code, result.stdout) == (2, whole.stdout)
    assert result.stderr == whole.stderr + "Error: No space left on device: 'report'\n"
    assert list(folder.iterdir()) == []


def test_metrics_whose_reader_has_gone_are_written_all_the_same(
    run: str, phantoms: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(message: str, err: bool = False) -> None:
        if not err:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("click.echo", gone)
    assert ctonnx(run, phantoms, *QUICK, "--output", "report").exit_code == 1
    assert (folder / "report" / "report.md").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top-k", "2"), "expected --top-k with --aggregate top-k, found it alone"),
        (("--top-k", "2", "--aggregate", "max"), "expected --top-k with --aggregate top-k, found max"),
        (("--external", "--aggregate", "max"), "expected --external or --aggregate, found both"),
    ],
)
def test_options_of_patients_that_do_nothing_are_rejected(options: tuple[str, ...], message: str) -> None:
    result = ctonnx("tiny", "scans", *options)
    assert result.exit_code == 2
    assert message in result.stderr
