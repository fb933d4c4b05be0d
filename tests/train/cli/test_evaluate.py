"""`ctonnx evaluate` as it is typed, on a run, an exported model, or both: output and exit code."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.train.cli.conftest import failed, misused, outcome
from tests.train.grey_models import POINT, write_model, write_scans
from tests.train.stress.made import document as made_document

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.errors import DataError
from ctonnx.system.files import sha256_of
from ctonnx_train.evaluation.statistics.metrics import REPLICATES
from ctonnx_train.runs.record import read_record
from ctonnx_train.stress.transforms import TRANSFORMS

QUICK = ("--replicates", "20")

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def run(exported_run: Run) -> str:
    """The run, as it is typed."""
    return str(exported_run.folder)


@pytest.fixture
def copied(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms."""
    return Path(shutil.copytree(phantoms, tmp_path / "phantoms"))


@pytest.fixture
def copied_run(exported_run: Run, tmp_path: Path) -> Run:
    """A copy of the run, whose weights are a link."""
    run = Run(tmp_path / "runs" / "copy")
    run.folder.mkdir(parents=True)
    run.weights_file.symlink_to(exported_run.weights_file)
    for file in (exported_run.record_file, exported_run.splits_file, exported_run.novelty_file):
        shutil.copy(file, run.folder)
    return run


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


KINDS = {"benign": "normal", "malignant": "tumor"}


@pytest.fixture
def hospital(folder: Path) -> str:
    """A model of three classes, and scans of two others that another window darkened."""
    point = replace(POINT, specificity=0.8)
    write_model(folder / "model.fp32.onnx", operating_point=point)
    write_scans(folder / "hospital", {"benign": 20, "malignant": 20}, kinds=KINDS, dimmed=0.5)
    write_scans(folder / "alike", {"benign": 60, "malignant": 100}, kinds=KINDS)
    return "hospital"


def test_external_data_begins_with_the_verdict_and_fails_where_the_point_does_not_hold(hospital: str) -> None:
    result = ctonnx("model.fp32.onnx", hospital, "--external", *QUICK, "--output", "report")
    assert result.exit_code == 1
    assert result.stdout.startswith("**The operating point does not hold here: sensitivity 0.")
    assert result.stderr == (
        "positive: malignant; negative: benign\nONNX fp32 'grey' on 40 images (all) of hospital\n"
        "report: wrote evaluation.json and report.md\n"
    )
    assert sorted(path.name for path in Path("report").iterdir()) == ["evaluation.json", "report.md"]
    chosen = ctonnx("model.fp32.onnx", "alike", "--external", "--positive", "malignant", "--negative", "normal,benign")
    assert chosen.exit_code == 0
    assert chosen.stdout.startswith("**The operating point holds here: sensitivity ")


def test_external_data_as_json(hospital: str) -> None:
    found = document(ctonnx("model.fp32.onnx", "alike", "--external", "--json", *QUICK))
    assert found["verdict"]["name"] == "holds"
    assert set(found) >= {"auroc", "sensitivity", "specificity", "referred", "missed", "decisions", "shift", "caveats"}


def test_other_classes_without_external_name_the_option(hospital: str) -> None:
    assert outcome(ctonnx("model.fp32.onnx", hospital)) == failed(
        "expected only the model's classes ('large cell', 'normal', 'tumor') in every split of 'hospital', found "
        "'benign', 'malignant' too; rename the folder or use --class-name OLD=NEW; for other classes: ctonnx evaluate "
        "--external"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--external", "--compare", "model.fp32.onnx"), "expected --external or --compare, found both"),
        (
            ("--positive", "malignant"),
            "expected --positive and --negative with --external, found them without it",
        ),
    ],
)
def test_options_that_do_not_go_together(words: tuple[str, ...], message: str, hospital: str) -> None:
    assert misused(
        "ctonnx evaluate [OPTIONS] MODEL_OR_RUN [DATA]", message, ctonnx("model.fp32.onnx", hospital, *words)
    )


@pytest.fixture
def few_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stress test of three changes."""
    chosen = [one for one in TRANSFORMS if one.name in ("lower_contrast", "jpeg", "inverted")]
    monkeypatch.setattr("ctonnx_train.stress.stress_test.TRANSFORMS", chosen)


@pytest.mark.usefixtures("few_changes")
def test_a_stress_test_of_a_run_is_reported_and_kept_for_the_model_card(
    copied_run: Run, phantoms: Path, folder: Path
) -> None:
    result = ctonnx(copied_run.folder, phantoms, "--stress", *QUICK, "-o", "out")
    assert result.exit_code == 0, result.output
    assert "\n## Stress test\n" in result.stdout
    assert "\nstress test: 3 changes in 7 strengths, 8 scans\n" in result.stderr
    assert f"\n{copied_run.stress_file}: wrote the stress test, for the model card of ctonnx export\n" in result.stderr
    kept = json.loads(copied_run.stress_file.read_text(encoding="utf-8"))
    assert kept["checkpoint_sha256"] == kept["model"]["sha256"] == sha256_of(copied_run.weights_file)
    assert (kept["model"]["file"], kept["data"]["name"]) == ("model.safetensors", "phantoms")
    assert len(kept["data"]["fingerprint"]) == 64
    assert kept == json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))["stress"]
    assert [(one["title"], len(one["strengths"])) for one in kept["transforms"]] == [
        ("lower contrast", 3),
        ("JPEG", 3),
        ("inverted", 1),
    ]
    report = (folder / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Stress test" in report
    assert report.endswith("\n![stress](stress.png)\n")
    assert (folder / "out" / "stress.png").stat().st_size > 10_000
    again = ctonnx(copied_run.folder, phantoms, *QUICK, "-o", "out")
    assert again.exit_code == 0, again.output
    assert not (folder / "out" / "stress.png").exists()


@pytest.mark.usefixtures("few_changes")
def test_a_checkpoint_and_its_exported_model_change_the_same_decisions(
    copied_run: Run, model: Path, phantoms: Path
) -> None:
    models = copied_run.folder, model
    found = [document(ctonnx(one, phantoms, "--stress", *QUICK, "--json"))["stress"] for one in models]
    measured = {"file": model.name, "kind": "ONNX fp32", "precision": "fp32", "sha256": sha256_of(model)}
    assert found[1] == found[0] | {"model": measured}
    assert found[1]["decisions"] is not None


@pytest.mark.parametrize(("bound", "code"), [("5%", 1), ("5", 1), ("100%", 0)])
def test_fail_over_is_a_gate(
    bound: str, code: int, model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx_train.stress.stress_test.stress_test", lambda *given, **options: made_document())
    result = ctonnx(model, phantoms, "--stress", "--fail-over", bound, *QUICK)
    assert result.exit_code == code
    line = "JPEG, quality 50: 8.0% of the decisions change (8 of 100): 6 flipped, 2 newly referred\n"
    assert (line in result.stderr) == (code == 1)
    assert "## Stress test" in result.stdout
    assert ctonnx(model, phantoms, "--stress", *QUICK).exit_code == 0


def test_fail_over_alone_is_a_misuse(run: str, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, "--fail-over", "5%")
    assert result.exit_code == 2
    assert "warning" not in result.stderr
    assert result.stderr.endswith("Error: expected --fail-over with --stress, found it alone\n")


@pytest.mark.parametrize(
    ("bound", "line"),
    [
        ("0.05", "warning: --fail-over is a percentage: 0.05 %: did you mean 5?\n"),
        ("0.5%", "warning: --fail-over is a percentage: 0.5 %: did you mean 50?\n"),
        ("1", ""),
        ("0", ""),
    ],
)
def test_fail_over_that_looks_like_a_share_has_a_warning(bound: str, line: str) -> None:
    result = ctonnx("none", "none", "--stress", "--fail-over", bound)  # the model is missing
    assert (result.exit_code, "--fail-over is a percentage" in result.stderr) == (2, bool(line))
    assert result.stderr.startswith(line)


def test_an_exported_model_needs_no_pytorch(model: Path, phantoms: Path) -> None:
    """Neither for its metrics nor for its stress test."""
    program = (
        "import sys\n"
        "import ctonnx_train.stress.stress_test as stress\n"
        "stress.TRANSFORMS = stress.TRANSFORMS[:1]\n"
        "from ctonnx.cli.main import main\n"
        f"main(['evaluate', {str(model)!r}, {str(phantoms)!r}, '--stress', '--replicates', '0', '-o', 'out'], "
        "standalone_mode=False)\n"
        "print(sorted({'torch', 'torchvision', 'lightning'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    assert "## Stress test" in result.stdout


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
