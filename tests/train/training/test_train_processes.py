"""Several processes of one training: started by torchrun, one killed, resumed, and compared with a single process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from typing import TypeAlias

import pytest
from click.testing import CliRunner

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx_train.runs.checkpoint import load_checkpoint

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
    images_in: ImagesIn, tmp_path: Path, start_ctonnx: Callable[..., "Popen[str]"]
) -> None:
    images_in(tmp_path / "scans", {"train/a": 5, "train/b": 4, "valid/a": 3, "valid/b": 2})
    process = start_ctonnx("train", "scans", *OPTIONS, "--devices", "3", launcher=TORCHRUN)
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert (
        "Error: expected the processes that were launched: --devices 2 --nodes 1, found --devices 3 --nodes 1; launch "
        "as many, with torchrun or srun"
    ) in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("on_the_cpu", "no_plots")
def test_two_processes_learn_as_one_with_the_doubled_batch(
    images_in: ImagesIn,
    tmp_path: Path,
    start_ctonnx: Callable[..., "Popen[str]"],
    rows_of: RowsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images_in(tmp_path / "scans", {"train/a": 16, "train/b": 16, "valid/a": 4, "valid/b": 4})
    options = ("--weights", "none", "--image-size", "32", "--precision", "fp32", "--epochs", "4", "--imbalance", "none")
    words = ("train", "scans", *options)
    process = start_ctonnx(*words, "--devices", "2", "--batch-size", "4", "--name", "two")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    monkeypatch.chdir(tmp_path)
    alone = CliRunner().invoke(main, [*words, "--devices", "1", "--batch-size", "8", "--name", "one"])
    assert alone.exit_code == 0, alone.output
    one, two = ([float(row["train_loss"]) for row in rows_of(Run(tmp_path / "runs" / name))] for name in ("one", "two"))
    # The same images in each step; other draws of the augmentation, and batch statistics of half of the images.
    assert two == pytest.approx(one, abs=0.1)
    assert two != one
