"""`ctonnx train` and `ctonnx data phantom` as they are typed: what is printed, and the exit code."""

import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli import main
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx_train.commands.train import train as train_command
from ctonnx_train.metrics import format_metrics
from ctonnx_train.recipe import TrainSettings
from ctonnx_train.task import ClassificationTask

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

TRAIN_USAGE = "ctonnx train [OPTIONS] [DATA]"
QUICK = ("--weights", "none", "--epochs", "1", "--batch-size", "4", "--image-size", "32", "--precision", "fp32")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains on the CPU, whatever this machine has."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)


@pytest.fixture
def scans(folder: Path, images_in: ImagesIn) -> str:
    """A data folder, as it is typed."""
    images_in(folder / "scans", {"train/a": 3, "train/b": 3, "valid/a": 1, "valid/C": 1, "test/a": 1})
    return "scans"


def ctonnx(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="ctonnx")


def said(error: str) -> tuple[int, str, str]:
    """What a wrong use ends with: its exit code, stdout and stderr."""
    return 2, "", f"Error: {error}\n"


def misused(usage: str, error: str, result: Result) -> bool:
    """Says whether click ended a command with its usage and an error; between them it points to the help."""
    lines = result.stderr.splitlines()
    return (result.exit_code, result.stdout, lines[0], lines[-1]) == (2, "", f"Usage: {usage}", f"Error: {error}")


def outcome(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("small_backbone")
def test_train_prints_the_metrics_and_where_the_run_is(scans: str, folder: Path) -> None:
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--positive", "b", "--name", "tiny")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "runs" / "tiny" / "run.json").read_text(encoding="utf-8"))
    point, training = record["operating_point"], record["training"]

    def of(split: str, name: str) -> str:
        figures = record["metrics"][split]["suspicious"]
        low, high = figures[f"{name}_interval"]
        return f"{figures[name]:.3f} [{low:.3f}, {high:.3f}]"

    assert result.stdout == (
        f"{format_metrics('validation', record['metrics']['valid'])}\n\n"
        f"{format_metrics('test', record['metrics']['test'])}\n\n"
        f"suspicious: b of {point['threshold']:.3g} or more\n"
        f"  sensitivity {of('valid', 'sensitivity')}, specificity {of('valid', 'specificity')} "
        "on the validation images, on which it was fitted\n"
        f"  sensitivity -, specificity {of('test', 'specificity')} on the test images\n\n"
        "data: no image stands in the data set twice\n"
        f"{training['seconds_per_epoch']:.1f} s an epoch, of it {training['data_share']:.1%} for data\n"
        "runs/tiny: checkpoint, run.json, metrics.csv and evaluation are there; next, ctonnx export\n"
    )
    lines = result.stderr.splitlines()
    assert lines[:6] == [
        "class folder 'C' is read as 'b'",
        "train: 6 images (a 3, b 3)",
        "valid: 2 images (a 1, b 1)",
        "test: 1 images (a 1, b 0)",
        "imbalance: weights in the loss: a 1, b 1",
        "training on cpu in fp32, 4 images a step, at most 1 epochs",
    ]
    assert lines[6].startswith("epoch   1/1  scratch    train loss ")
    assert lines[7].startswith("best epoch: 1 (valid loss ")
    assert lines[8].startswith("temperature ")
    assert len(lines) == 9


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, scans: str) -> dict[str, Any]:
    """What the command asks of the training, which then ends."""
    options: dict[str, Any] = {}

    def training(data: Path, **given: Any) -> None:
        del given["say"]
        options.update(given, data=data)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.train", training)
    return options


def test_every_option_reaches_the_training(asked: dict[str, Any]) -> None:
    options = (
        "--weights=w.pth --epochs=9 --batch-size=3 --image-size=96 --color=rgb --resize=pad --seed=5 --precision=bf16 "
        "--unfreeze-from=layer2 --patience=4 --monitor=macro_f1 --imbalance=sampler --drop-leaks --group-regex=p(.) "
        "--positive=b=c --positive=e --sensitivity=0.9 --class-name C=b=c --class-name b=e --name=run --cache-gb=0.5 "
        "--devices=2 --nodes=3 --compile --tensorboard"
    )
    assert outcome(ctonnx("train", "scans", *options.split(), "--class-name", "a=b=c")) == said("seen enough")
    assert asked == {
        "data": Path("scans"),
        "settings": TrainSettings(
            weights="w.pth",
            epochs=9,
            batch_size=3,
            seed=5,
            precision="bf16",
            unfreeze_from="layer2",
            patience=4,
            monitor="macro_f1",
            imbalance="sampler",
            drop_leaks=True,
            group_regex="p(.)",
            cache_gb=0.5,
            compile=True,
            devices=2,
            nodes=3,
            tensorboard=True,
            positive=("b=c", "e"),
            sensitivity=0.9,
        ),
        "preprocessing": Preprocessing(size=96, color="rgb", resize="pad"),
        "class_names": {"C": "b=c", "b": "e", "a": "b=c"},
        "name": "run",
    }


def test_without_options_the_recipes_defaults_are_taken(asked: dict[str, Any]) -> None:
    assert outcome(ctonnx("train", "scans", "--class-name", "C=b")) == said("seen enough")
    assert asked == {
        "data": Path("scans"),
        "settings": TrainSettings(),
        "preprocessing": Preprocessing(),
        "class_names": {"C": "b"},
        "name": None,
    }


def test_fp16_reaches_the_training_and_is_refused_on_the_cpu(scans: str, folder: Path) -> None:
    result = ctonnx("train", scans, *QUICK, "--precision", "fp16", "--class-name", "C=b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "Error: expected --precision bf16 or fp32 on a CPU, found fp16, which needs a GPU"
    )
    assert list((folder / "runs").iterdir()) == []


def test_more_processes_than_images_end_in_a_sentence(scans: str, folder: Path) -> None:
    result = ctonnx("train", scans, *QUICK, "--devices", "3", "--class-name", "C=b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "Error: expected at least an image for each of 3 processes, found 6 to train on and 2 to validate; lower "
        "--devices or --nodes"
    )
    assert list((folder / "runs").iterdir()) == []


def test_every_setting_of_the_recipe_has_an_option() -> None:
    options = {parameter.name for parameter in train_command.params}
    assert {field.name for field in fields(TrainSettings)} - options == {"compile"}
    assert "compile_network" in options


def test_no_data_folder_is_wrong_use() -> None:
    assert misused(TRAIN_USAGE, "expected DATA or --resume RUN, found neither", ctonnx("train", "--epochs", "3"))


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_leaks_are_warned_of_and_told_with_the_figures(scans: str, folder: Path) -> None:
    shutil.copy(folder / "scans/train/a/scan 0.png", folder / "scans/valid/a/copy.png")
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    sentence = (
        "2 files in 1 groups of identical pixels: 1 groups (2 files) across splits, 0 with different labels; files "
        "that leaked from an earlier split: 1 of valid"
    )
    assert result.exit_code == 0, result.output
    assert f"warning: {sentence}\n" in result.stderr
    assert f"data: {sentence}\n" in result.stdout
    cut = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--drop-leaks", "--name", "cut")
    assert f"data: {sentence}; left out: 1 of valid\n" in cut.stdout


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_ctrl_c_after_an_epoch_shows_the_figures_how_to_go_on_and_130(
    scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ClassificationTask.training_step

    def stopping(task: ClassificationTask, batch: Any, batch_index: int) -> Any:
        if task.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)
        return step(task, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", stopping)
        result = ctonnx("train", scans, *QUICK, "--epochs", "2", "--class-name", "C=b", "--name", "one")
    assert result.exit_code == 130
    assert result.stdout.startswith("validation: accuracy")
    assert result.stdout.endswith("runs/one: stopped early; go on with: ctonnx train --resume runs/one\n")
    again = ctonnx("train", "--resume", "runs/one")
    assert again.exit_code == 0, again.output
    assert "going on after epoch 1 of 2\n" in again.stderr
    assert again.stdout.endswith("evaluation are there; next, ctonnx export\n")
    finished = outcome(ctonnx("train", "--resume", "one"))
    assert finished == said(
        "expected an unfinished run to resume, found that 'runs/one' is finished; for more epochs, train anew from its "
        "weights: ctonnx train DATA --weights runs/one/model.safetensors"
    )


@pytest.mark.usefixtures("small_backbone")
def test_ctrl_c_before_an_epoch_ended_leaves_nothing_and_130(
    scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassificationTask, "training_step", lambda *arguments: signal.raise_signal(signal.SIGINT))
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.endswith("\nctonnx: stopped\n")
    assert list((folder / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["scans"], "DATA"),
        (["--epochs", "30"], "'--epochs'"),
        (["--drop-leaks"], "'--drop-leaks'"),
        (["--preview", "a.png"], "'--preview'"),
        (["--class-name", "a=b"], "'--class-name'"),
    ],
)
def test_resume_stands_alone(options: list[str], named: str) -> None:
    error = f"expected --resume RUN alone, found {named} too; the run keeps what it was told"
    assert misused(TRAIN_USAGE, error, ctonnx("train", "--resume", "run", *options))


def test_a_run_that_is_not_there_is_not_resumed() -> None:
    assert outcome(ctonnx("train", "--resume", "run")) == said(
        "expected an unfinished run's folder (with plan.json) at 'run' or 'runs/run', found none; see which there are: "
        "ls runs"
    )


def test_a_preview_is_written_and_nothing_is_trained(scans: str, folder: Path) -> None:
    options = ("--class-name", "C=b", "--image-size", "32", "--preview", "sheet.png")
    assert outcome(ctonnx("train", scans, *options)) == (
        0,
        "sheet.png: 4 training images, each as it is and as augmentation shows it to the network\n",
        "",
    )
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_without_tensorboard_its_extra_is_named(scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_train.fitting.find_spec", lambda name: None)
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--tensorboard")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        'Error: expected the package tensorboard, found none; pip install "ctonnx[tensorboard]"'
    )
    assert not (folder / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_a_full_disk_ends_in_a_sentence(scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/one/last.ckpt")

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full)
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--name", "one")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "Error: No space left on device: 'runs/one/last.ckpt'"


def test_a_missing_data_folder_ends_in_a_sentence() -> None:
    result = ctonnx("train", "nowhere", *QUICK)
    assert outcome(result) == said(
        "expected a data folder or a MedMNIST .npz file at 'nowhere', found nothing; check the path"
    )


@pytest.mark.parametrize("value", ["C", "=b", "C=", "="])
def test_a_class_name_is_old_equals_new(value: str, scans: str) -> None:
    result = ctonnx("train", scans, *QUICK, "--class-name", value)
    error = f"Invalid value for '--class-name': expected OLD=NEW, found '{value}'"
    assert misused(TRAIN_USAGE, error, result)


def test_a_class_name_for_no_folder_ends_in_a_sentence(scans: str) -> None:
    result = ctonnx("train", scans, *QUICK, "--class-name", "c=b")
    expected = "expected a class folder named 'c' in 'scans', found 'C', 'a', 'b'; check --class-name"
    assert outcome(result) == said(expected)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", "0", "0 is not in the range x>=1."),
        ("--batch-size", "1", "1 is not in the range x>=2."),
        ("--image-size", "31", "31 is not in the range 32<=x<=4096."),
        ("--color", "blue", "'blue' is not one of 'grey', 'rgb'."),
        ("--monitor", "f2", "'f2' is not one of 'loss', 'accuracy', 'balanced_accuracy', 'macro_auroc', 'macro_f1'."),
        ("--imbalance", "focal", "'focal' is not one of 'loss', 'sampler', 'none'."),
        ("--sensitivity", "0", "0.0 is not in the range 0<x<=1."),
        ("--cache-gb", "-1", "-1.0 is not in the range x>=0."),
        ("--devices", "0", "0 is not in the range x>=1."),
        ("--nodes", "0", "0 is not in the range x>=1."),
        ("--unfreeze-from", "head", "'head' is not one of 'stem', 'layer1', 'layer2', 'layer3', 'layer4'."),
    ],
)
def test_an_option_out_of_range_is_wrong_use(option: str, value: str, message: str) -> None:
    result = ctonnx("train", "scans", option, value)
    assert misused(TRAIN_USAGE, f"Invalid value for '{option}': {message}", result)


@pytest.mark.usefixtures("small_backbone")
def test_without_a_network_imagenet_weights_end_in_three_ways_out(
    scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise URLError("[Errno -2] Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", fail)
    result = ctonnx("train", scans, "--class-name", "C=b")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: the ImageNet weights could not be downloaded ([Errno -2] Name or service not known); three ways out: "
        "download https://download.pytorch.org/models/resnet50-11ad3fa6.pth on another machine and pass "
        f"--weights resnet50-11ad3fa6.pth, or put that file at '{folder}/torch/hub/checkpoints/resnet50-11ad3fa6.pth', "
        "or train from scratch with --weights none"
    )
    assert not (folder / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_a_weights_file_that_is_not_there_ends_in_a_sentence(scans: str) -> None:
    result = ctonnx("train", scans, "--class-name", "C=b", "--weights", "w.pth")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"Error: expected --weights imagenet, none or a file, found no file at '{Path('w.pth').resolve()}'"
    )


@pytest.mark.usefixtures("small_backbone")
def test_a_run_that_exists_ends_in_a_sentence(scans: str, folder: Path) -> None:
    (folder / "runs" / "old").mkdir(parents=True)
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--name", "old")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: expected a new name for the run, found that 'runs/old' exists; choose another --name"
    )


@pytest.mark.usefixtures("small_backbone")
def test_a_file_where_the_runs_should_be_ends_in_a_sentence(scans: str, folder: Path) -> None:
    (folder / "runs").touch()
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "Error: File exists: 'runs'"


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_ends_in_a_sentence(scans: str, folder: Path) -> None:
    folder.chmod(0o555)
    try:
        result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    finally:
        folder.chmod(0o755)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "Error: Permission denied: 'runs'"


def test_data_phantom_draws_a_set_and_says_what_is_next(folder: Path) -> None:
    result = ctonnx("data", "phantom", "phantoms", "--per-class", "3", "--size", "64", "--seed", "2")
    expected = "12 synthetic phantoms in phantoms: next, ctonnx train phantoms --weights none\n"
    assert outcome(result) == (0, expected, "")
    assert len(list((folder / "phantoms").rglob("*.png"))) == 12
    marker = json.loads((folder / "phantoms" / "phantom.json").read_text(encoding="utf-8"))
    assert {name: marker[name] for name in ("per_class", "seed", "size")} == {"per_class": 3, "seed": 2, "size": 64}


def test_data_phantom_leaves_a_folder_with_something_in_it_alone(scans: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = ctonnx("data", "phantom", scans, "--per-class", "3", "--size", "64")
    assert outcome(result) == said(
        'expected "scans" to be new or an empty folder, found "test" in it; choose another folder'
    )
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--per-class", "2", "2 is not in the range x>=3."),
        ("--size", "63", "63 is not in the range 64<=x<=4096."),
        ("--seed", "-1", "-1 is not in the range x>=0."),
    ],
)
def test_data_phantom_refuses_a_number_out_of_range(option: str, value: str, message: str, folder: Path) -> None:
    result = ctonnx("data", "phantom", "phantoms", option, value)
    assert misused("ctonnx data phantom [OPTIONS] OUT", f"Invalid value for '{option}': {message}", result)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (
            ("train",),
            {
                *("--class-name", "--name", "--help", "--drop-leaks", "--group-regex", "--positive"),
                *("--compile", "--tensorboard", "--preview", "--resume"),
            },
        ),
        (("data", "phantom"), {"--help"}),
    ],
)
def test_the_help_names_every_options_default(arguments: tuple[str, ...], without: set[str]) -> None:
    result = ctonnx(*arguments, "--help")
    assert result.exit_code == 0
    _, *texts = re.split(r"^  (?=-)", result.stdout, flags=re.MULTILINE)
    shown = {match[0]: " ".join(text.split()) for text in texts if (match := re.search("--[a-z-]+", text))}
    assert {name for name, text in shown.items() if "[default: " not in text} == without
