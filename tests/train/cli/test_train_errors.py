"""Errors of `ctonnx train`: one sentence on stderr, and exit code 2."""

import errno
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from tests.train.cli.conftest import ctonnx, failed, misused, outcome

TRAIN_USAGE = "ctonnx train [OPTIONS] [DATA]"
QUICK = ("--weights", "none", "--epochs", "1", "--batch-size", "4", "--image-size", "32", "--precision", "fp32")

pytestmark = pytest.mark.usefixtures("folder", "on_the_cpu")


def test_fp16_reaches_the_training_and_is_rejected_on_the_cpu(scans: str, folder: Path) -> None:
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


def test_no_data_folder_is_wrong_use() -> None:
    assert misused(
        TRAIN_USAGE, "expected DATA, --labels CSV or --resume RUN, found none of them", ctonnx("train", "--epochs", "3")
    )


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
def test_resume_takes_no_other_option(options: list[str], named: str) -> None:
    error = f"expected --resume RUN alone, found {named} too; a resumed run keeps its settings"
    assert misused(TRAIN_USAGE, error, ctonnx("train", "--resume", "run", *options))


def test_a_run_that_is_not_there_is_not_resumed() -> None:
    assert outcome(ctonnx("train", "--resume", "run")) == failed(
        "expected an unfinished run's folder (with plan.json) at 'run' or 'runs/run', found none; list them with: "
        "ls runs"
    )


@pytest.mark.usefixtures("small_backbone")
def test_without_tensorboard_its_extra_is_named(scans: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_train.training.loop.fit.find_spec", lambda name: None)
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
    assert outcome(result) == failed(
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
    assert outcome(result) == failed(expected)


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
        ("--coverage", "1", "1.0 is not in the range 0<x<1."),
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
