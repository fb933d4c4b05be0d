"""Several processes of one training: started by torchrun, one killed, resumed, and compared with a single process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from typing import TypeAlias

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.loop.augmentation import Augmentation

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]
RowsOf: TypeAlias = Callable[[Run], list[dict[str, str]]]

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
OPTIONS = ("--weights", "none", "--image-size", "32", "--precision", "fp32", "--batch-size", "2", "--name", "run")

KILLED_IN_THE_THIRD_EPOCH = """
import os, signal
if os.environ.get("LOCAL_RANK") == "1":
    from ctonnx_train.training.loop.lightning_module import ClassificationTask
    step = ClassificationTask.training_step
    def training_step(task, batch, index):
        if task.current_epoch == 2 and index == 1:  # the others have written the epoch before
            os.kill(os.getpid(), signal.SIGKILL)
        return step(task, batch, index)
    ClassificationTask.training_step = training_step
"""

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.mark.parametrize("launcher", [(), TORCHRUN], ids=["own", "torchrun"])
def test_a_killed_process_ends_the_others_and_the_training_can_be_resumed(
    launcher: Sequence[str],
    images_in: ImagesIn,
    tmp_path: Path,
    start_ctonnx: Callable[..., "Popen[str]"],
    rows_of: RowsOf,
) -> None:
    images_in(tmp_path / "scans", {"train/a": 5, "train/b": 4, "valid/a": 3, "valid/b": 2})
    devices = () if launcher else ("--devices", "2")
    words = ("train", "scans", *OPTIONS, "--epochs", "4", *devices)
    process = start_ctonnx(*words, before=KILLED_IN_THE_THIRD_EPOCH, launcher=launcher)
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "training on 2 x cpu in fp32, 2 images a step each, at most 4 epochs" in error.splitlines()
    run = Run(tmp_path / "runs/run")
    assert len(rows_of(run)) == 2
    assert "resume with: ctonnx train --resume runs/run" in error
    if not launcher:  # torchrun ends the others itself, and reports which one was killed
        assert process.returncode == 2
        assert "Traceback" not in error
        assert error.splitlines()[-1].startswith(
            "Error: expected all 2 processes of the training, found that one is gone"
        )
        return
    resumed = start_ctonnx("train", "--resume", "runs/run", launcher=launcher)
    _, error = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, error
    assert [row["epoch"] for row in rows_of(run)] == ["1", "2", "3", "4"]
    assert load_checkpoint(run).record.settings["devices"] == 2


def test_another_number_of_processes_than_was_launched_is_rejected(
    images_in: ImagesIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_in(tmp_path / "scans", {"train/a": 5, "train/b": 4, "valid/a": 3, "valid/b": 2})
    monkeypatch.chdir(tmp_path)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["train", "scans", *OPTIONS, "--devices", "3"])
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: expected the processes that were launched: --devices 2 --nodes 1, found --devices 3 --nodes 1; launch "
        "as many, with torchrun or srun\n"
    )
    assert not (tmp_path / "runs").exists()


WITHOUT_CHANCE = """
from torch import nn
from ctonnx_train.training.loop.augmentation import Augmentation
nn.Dropout.forward = lambda module, values: values
Augmentation.__call__ = lambda augmentation, images, size: images.float()
"""


@pytest.mark.usefixtures("on_the_cpu", "no_plots")
def test_two_processes_train_one_network_as_one_does_with_the_doubled_batch_and_speak_once(
    images_in: ImagesIn,
    tmp_path: Path,
    start_ctonnx: Callable[..., "Popen[str]"],
    rows_of: RowsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images_in(tmp_path / "scans", {"train/a": 8, "train/b": 8, "valid/a": 3, "valid/b": 2, "test/b": 1})
    torch.manual_seed(0)
    save_file(CTClassifier(2).backbone.state_dict(), tmp_path / "w.safetensors")
    options = ("--weights", "w.safetensors", "--epochs", "2", "--image-size", "32", "--precision", "fp32")
    words = ("train", "scans", *options)
    process = start_ctonnx(*words, "--devices", "2", "--batch-size", "2", "--name", "two", before=WITHOUT_CHANCE)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    two = Run(tmp_path / "runs/two")
    assert [row["phase"] for row in rows_of(two)] == ["head", "fine-tune"]
    lines = error.splitlines()
    assert len([line for line in lines if line.startswith("weights: a ResNet50's tensors of ")]) == 1
    assert lines[5] == "training on 2 x cpu in fp32, 2 images a step each, at most 2 epochs"
    assert [line[:12] for line in lines if line.startswith("epoch")] == ["epoch   1/2 ", "epoch   2/2 "]
    assert out.count("validation: accuracy") == 1
    # Each validation image counted once, in whichever process, with the weights and statistics of both.
    made = load_checkpoint(two).record
    best = rows_of(two)[made.training["best_epoch"] - 1]
    assert made.metrics["valid"]["images"] == 5
    assert float(best["valid_accuracy"]) == pytest.approx(made.metrics["valid"]["accuracy"], abs=1e-4)
    assert not list(two.folder.glob(".*")) + list(two.folder.glob("last.ckpt"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.nn.Dropout.forward", lambda module, values: values)
    monkeypatch.setattr(Augmentation, "__call__", lambda augmentation, images, size: images.float())
    alone = CliRunner().invoke(main, [*words, "--batch-size", "4", "--name", "one"])
    assert alone.exit_code == 0, alone.output
    one = Run(tmp_path / "runs/one")
    # In the first phase, no batch statistics are taken: its steps are the same, whoever computes the gradients.
    for name in ("train_loss", "valid_loss"):
        assert float(rows_of(two)[0][name]) == pytest.approx(float(rows_of(one)[0][name]), abs=2e-5), name
