"""Early ends of a training: Ctrl-C, a full disk, too little memory, a loss that is not finite."""

import errno
import re
import signal
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.loop.callbacks import EpochLog
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import resume, train

RowsOf: TypeAlias = Callable[[Run], list[dict[str, str]]]
FilesIn: TypeAlias = Callable[[Path], list[str]]

SMALL = Preprocessing(size=32)
QUICK = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32")

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise RuntimeError("something else")


@pytest.mark.usefixtures("small_backbone", "no_reports")
@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (interrupt, KeyboardInterrupt),
        (lambda: signal.raise_signal(signal.SIGINT), KeyboardInterrupt),
        (fail, RuntimeError),
    ],
    ids=["KeyboardInterrupt", "Ctrl-C", "error"],
)
def test_an_interrupt_and_an_error_leave_no_run_and_the_signals_as_they_were(
    happens: Callable[[], None],
    error: type[BaseException],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_handler: Callable[[int, object], None],
) -> None:
    seen: list[list[str]] = []
    step = ClassificationTask.training_step

    def second_fails(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        seen.append(sorted(file.name for file in tmp_path.rglob("*")))
        if batch_index:
            happens()
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", second_fails)
    with pytest.raises(error):
        train(data, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path)
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert seen == [["plan.json", "run"], ["plan.json", "run"]]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_an_interrupt_before_the_first_step_leaves_no_run_and_the_signals_as_they_were(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_handler: Callable[[int, object], None]
) -> None:
    monkeypatch.setattr(ClassificationTask, "configure_optimizers", lambda task: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(data, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path)
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_ctrl_c_after_an_epoch_leaves_a_whole_run_that_is_exported_and_can_be_resumed(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_handler: Callable[[int, object], None],
    rows_of: RowsOf,
) -> None:
    whole = train(data, settings=replace(QUICK, epochs=3), preprocessing=SMALL, name="whole", root=tmp_path)
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks._WRITING_SHARE", float("inf"))
    step = ClassificationTask.training_step

    def stopping(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        if task.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return step(task, batch, batch_index)

    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", stopping)
        made = train(
            data, settings=replace(QUICK, epochs=3), preprocessing=SMALL, name="run", root=tmp_path, log=lines.append
        )
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert made.interrupted
    assert "stopped: keeping the best of 2 epochs" in lines
    training = load_checkpoint(made.run).record.training
    assert (training["epochs"], training["interrupted"]) == (2, True)
    assert len(rows_of(made.run)) == 2
    pytest.importorskip("onnx")
    from ctonnx_export.export import export_run

    export_run(made.run)
    assert made.run.model_file("fp32").is_file()
    again = resume(made.run.folder)
    assert not again.interrupted
    assert again.run.weights_file.read_bytes() == whole.run.weights_file.read_bytes()
    assert not made.run.plan_file.exists()
    assert not made.run.last_file.exists()


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_a_disk_that_fills_up_at_the_end_leaves_a_run_to_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_in: FilesIn
) -> None:
    whole = train(data, settings=replace(QUICK, epochs=2), preprocessing=SMALL, name="whole", root=tmp_path)
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("ctonnx_train.runs.checkpoint.save", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(
                data,
                settings=replace(QUICK, epochs=2),
                preprocessing=SMALL,
                name="run",
                root=tmp_path,
                log=lines.append,
            )
    run = Run(tmp_path / "run")
    assert files_in(run.folder) == ["last.ckpt", "metrics.csv", "plan.json", "splits.json"]
    assert lines[-1] == f"the finished epochs are kept; resume with: ctonnx train --resume {run.folder}"
    assert resume(run.folder).run.weights_file.read_bytes() == whole.run.weights_file.read_bytes()


@pytest.mark.usefixtures("small_backbone", "no_reports")
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_disk_that_fills_up_after_an_epoch_keeps_the_epochs_before(
    epoch: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_in: FilesIn
) -> None:
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks._WRITING_SHARE", float("inf"))
    save, written = torch.save, list[int]()

    def filling_up(*arguments: Any, **options: Any) -> None:
        written.append(1)
        if len(written) == epoch:
            full()
        save(*arguments, **options)

    monkeypatch.setattr("torch.save", filling_up)
    with pytest.raises(OSError, match="No space left on device"):
        train(data, settings=replace(QUICK, epochs=2), preprocessing=SMALL, name="run", root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"] * (epoch - 1)
    if epoch == 2:
        assert files_in(tmp_path / "run") == ["last.ckpt", "metrics.csv", "plan.json"]
        assert resume(tmp_path / "run").record.training["epochs"] == 2


@pytest.mark.usefixtures("small_backbone")
def test_too_little_disk_space_for_a_run_is_reported_before_the_images_are_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 9 * sum(tensor.nbytes for tensor in CTClassifier(2).state_dict().values())
    free = {"free": needed - 1}
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**12, 0, free["free"]))
    monkeypatch.setattr("ctonnx_train.training.train.prepare", full)
    message = (
        f"expected {needed / 1e6:.0f} MB of free disk space in '{tmp_path / 'runs'}' for the run, found "
        f"{(needed - 1) / 1e6:.0f} MB; free some space, or work in a folder on another disk"
    )
    with pytest.raises(CtonnxError, match=f"^{re.escape(message)}$"):
        train(data, settings=QUICK, preprocessing=SMALL, root=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
    free["free"] = needed
    with pytest.raises(OSError, match="No space left on device"):  # now it comes as far as the images
        train(data, settings=QUICK, preprocessing=SMALL, root=tmp_path / "runs")


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("weights", ["none", "broken.pth"])
def test_a_training_whose_loss_is_never_a_number_ends_in_a_sentence(
    weights: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: CTClassifier, weights: str) -> None:
        network.backbone.conv1.weight.data.fill_(float("nan"))

    monkeypatch.setattr("ctonnx_train.training.train.load_backbone", broken)
    with pytest.raises(DataError, match=r"^expected a validation loss, found none that is finite in 1 epoch; "):
        train(data, settings=replace(QUICK, weights=weights), preprocessing=SMALL, name="run", root=tmp_path)


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
@pytest.mark.parametrize(
    "place",
    [
        "ctonnx_train.training.loop.lightning_module.ClassificationTask.training_step",
        "ctonnx_train.training.train.prepare",
    ],
)
def test_too_little_memory_names_the_options_to_lower(
    place: str, error: BaseException, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(place, exhausted)
    monkeypatch.setattr("ctonnx_train.training.train.load_backbone", lambda network, weights: None)
    for weights, stages in (("none", ""), ("imagenet", ", train fewer stages (--unfreeze-from layer4)")):
        message = (
            "expected enough memory for batches of 4 images of 32 pixels, found too little; lower --batch-size or "
            f"--image-size{stages}, or keep fewer images in memory (--cache-gb)"
        )
        with pytest.raises(CtonnxError, match=f"^{re.escape(message)}$"):
            train(data, settings=replace(QUICK, weights=weights), preprocessing=SMALL, name="run", root=tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_too_little_memory_to_compile_names_the_option(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(module: Any, inputs: Any) -> Any:
        raise MemoryError

    compile_it = torch.compile
    monkeypatch.setattr("torch.compile", lambda network, **options: compile_it(network, backend=exhausted))
    with pytest.raises(CtonnxError, match=r", found too little; lower .* --image-size, leave out --compile, or keep "):
        train(data, settings=replace(QUICK, compile=True), preprocessing=SMALL, name="run", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_too_little_memory_in_a_resumed_training_needs_a_new_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ClassificationTask.training_step

    def exhausted(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        if task.current_epoch:
            raise MemoryError
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", exhausted)
    with pytest.raises(CtonnxError, match=r", found too little; lower --batch-size or --image-size, or keep fewer"):
        train(data, settings=replace(QUICK, epochs=2), preprocessing=SMALL, name="run", root=tmp_path)
    with pytest.raises(CtonnxError, match=r", found too little; train again: lower --batch-size or --image-size, or "):
        resume(tmp_path / "run")


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_ctrl_c_after_the_first_validation_and_before_its_row_leaves_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(log: EpochLog, trainer: Any, pl_module: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EpochLog, "on_train_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(data, settings=replace(QUICK, epochs=2), preprocessing=SMALL, name="run", root=tmp_path)
    assert list(tmp_path.iterdir()) == []
