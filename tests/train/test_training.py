"""Training from end to end on a few small images: the run's folder, its repetition, and what ends it early."""

import csv
import json
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx.runs import Run
from ctonnx_train.callbacks import BestWeights
from ctonnx_train.checkpoint import load_checkpoint
from ctonnx_train.dataset import decode
from ctonnx_train.folders import read_data_folder
from ctonnx_train.metrics import evaluate
from ctonnx_train.network import CTClassifier
from ctonnx_train.recipe import Precision, TrainSettings
from ctonnx_train.task import ClassificationTask
from ctonnx_train.training import TrainResult, predict_probabilities, resolve_precision, train

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SMALL = Preprocessing(size=32)


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu() -> Iterator[None]:
    """Trains on the CPU, where the same seed gives the same weights, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.setattr("torch.backends.mps.is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def data(images_in: ImagesIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images to train on, four to validate with and two, of one class, to test with."""
    counts = {"train/a": 5, "train/B cases": 5, "valid/a": 2, "valid/b": 2, "test/a": 2}
    root = images_in(tmp_path_factory.mktemp("data") / "scans", counts)
    (root / "train" / "a" / "notes.txt").touch()
    return root


def settings(**changes: Any) -> TrainSettings:
    """Returns settings for one quick epoch from scratch, but for the changes."""
    return replace(TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32"), **changes)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """The lines that the training below said."""
    return []


@pytest.fixture(scope="module")
def result(data: Path, said: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainResult]:
    """A ResNet50 trained from scratch for two epochs."""
    root = tmp_path_factory.mktemp("work") / "runs"
    made = train(data, settings=settings(epochs=2), preprocessing=SMALL, name="first", root=root, say=said.append)
    yield made
    made.run.weights_file.unlink()


def rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_runs_folder_holds_weights_record_splits_and_metrics(result: TrainResult) -> None:
    assert sorted(file.name for file in result.run.folder.iterdir()) == [
        "metrics.csv",
        "model.safetensors",
        "run.json",
        "splits.json",
    ]
    assert result.run.name == "first"


def test_the_record_says_how_the_run_came_to_be(result: TrainResult, data: Path) -> None:
    record = result.record
    assert load_checkpoint(result.run).record == record
    assert datetime.fromisoformat(record.created) <= datetime.now(UTC)
    assert record.classes == ("a", "b")
    assert record.folder_classes == {"a": "a", "b": "b", "B cases": "b"}
    assert record.preprocessing == SMALL
    assert record.data == {
        "folder": str(data),
        "name": "scans",
        "fingerprint": read_data_folder(data).fingerprint(),
        "images": {"train": {"a": 5, "b": 5}, "valid": {"a": 2, "b": 2}, "test": {"a": 2, "b": 0}},
    }
    assert not record.synthetic
    assert record.settings == {
        "weights": "none",
        "epochs": 2,
        "batch_size": 4,
        "seed": 0,
        "precision": "fp32",
        "unfreeze_from": "layer4",
        "patience": 6,
    }
    best = min(rows(result.run), key=lambda row: float(row["valid_loss"]))
    assert {name: value for name, value in record.training.items() if name != "seconds"} == {
        "epochs": 2,
        "best_epoch": int(best["epoch"]),
        "best_valid_loss": pytest.approx(float(best["valid_loss"]), abs=1e-5),
        "precision": "fp32",
        "device": "cpu",
    }
    assert record.training["seconds"] > 0
    assert list(record.versions) == ["ctonnx", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "pillow"]


def test_the_record_is_json_that_every_reader_takes(result: TrainResult) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    text = result.run.record_file.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["metrics"]["test"]["per_class"]["b"]["sensitivity"] is None


def test_a_row_is_written_for_each_epoch(result: TrainResult) -> None:
    assert [(row["epoch"], row["phase"]) for row in rows(result.run)] == [("1", "scratch"), ("2", "scratch")]
    assert list(rows(result.run)[0]) == [
        "epoch",
        "phase",
        "learning_rate",
        "train_loss",
        "valid_loss",
        "valid_accuracy",
        "seconds",
    ]


def test_what_happens_is_said_in_lines(result: TrainResult, said: list[str]) -> None:
    training = result.record.training
    epochs = [line for line in said if line.startswith("epoch ")]
    assert [line[:20] for line in epochs] == ["epoch   1/2  scratch", "epoch   2/2  scratch"]
    assert [line for line in said if line not in epochs] == [
        "class folder 'B cases' is read as 'b'",
        "passed over, without an image's name: 1",
        "train: 10 images (a 5, b 5)",
        "valid: 4 images (a 2, b 2)",
        "test: 2 images (a 2, b 0)",
        "training on cpu in fp32, 4 images a step, at most 2 epochs",
        f"best epoch: {training['best_epoch']} (valid loss {training['best_valid_loss']:.4f})",
    ]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_metrics_are_those_of_the_saved_checkpoint(split: Any, result: TrainResult, data: Path) -> None:
    checkpoint = load_checkpoint(result.run)
    samples = checkpoint.samples(split)
    assert samples == read_data_folder(data).splits[split]
    pixels = decode(data, samples, checkpoint.record.preprocessing)
    probabilities = predict_probabilities(checkpoint.network, pixels, device=torch.device("cpu"))
    metrics = evaluate(probabilities, [sample.label for sample in samples], checkpoint.record.classes)
    assert metrics == result.record.metrics[split]


def test_the_same_seed_gives_the_same_bytes(result: TrainResult, data: Path, tmp_path: Path) -> None:
    again = train(data, settings=settings(epochs=2), preprocessing=SMALL, name="again", root=tmp_path)
    assert again.run.weights_file.read_bytes() == result.run.weights_file.read_bytes()
    assert again.run.splits_file.read_bytes() == result.run.splits_file.read_bytes()
    timeless = [[{**row, "seconds": ""} for row in rows(one.run)] for one in (result, again)]
    assert timeless[0] == timeless[1]
    again.run.weights_file.unlink()


@pytest.mark.usefixtures("small_backbone")
def test_another_seed_gives_other_weights(data: Path, tmp_path: Path) -> None:
    runs = [
        train(data, settings=settings(seed=seed), preprocessing=SMALL, name=str(seed), root=tmp_path).run
        for seed in (0, 1)
    ]
    first, second = (load_file(run.weights_file)["head.dense3.bias"] for run in runs)
    assert not torch.equal(first, second)


def test_from_a_file_the_head_learns_on_a_backbone_that_is_left_alone_and_then_layer4(
    result: TrainResult, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[dict[str, Tensor]] = []
    restore = BestWeights.restore

    def spy(best: BestWeights, network: Any) -> None:  # the best weights come back after each phase
        learned.append({name: tensor.detach().clone() for name, tensor in network.state_dict().items()})
        restore(best, network)

    monkeypatch.setattr(BestWeights, "restore", spy)
    start = load_file(result.run.weights_file)
    made = train(
        data,
        settings=settings(weights=str(result.run.weights_file), epochs=2),
        preprocessing=SMALL,
        name="tuned",
        root=tmp_path,
    )

    def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
        names = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        return {".".join(name.split(".")[: 2 if name.startswith("backbone") else 1]) for name in names}

    assert [(row["epoch"], row["phase"], row["learning_rate"]) for row in rows(made.run)] == [
        ("1", "head", "0.0001"),
        ("2", "fine-tune", "1e-05"),
    ]
    after_head, after_fine_tune = learned
    assert changed(start, after_head) == {"head"}
    assert changed(after_head, after_fine_tune) == {"backbone.layer4", "head"}
    made.run.weights_file.unlink()


@pytest.fixture
def pretrained(monkeypatch: pytest.MonkeyPatch, small_backbone: None) -> None:
    """Lets a small network stand for a pretrained one: its weights are taken as they are made."""
    monkeypatch.setattr("ctonnx_train.training.load_backbone", lambda network, weights: None)


@pytest.mark.usefixtures("pretrained")
def test_a_training_in_two_phases_warns_of_nothing_and_prints_nothing(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(data, settings=settings(weights="imagenet", epochs=2), preprocessing=SMALL, name="run", root=tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("pretrained")
def test_each_phase_ends_when_the_validation_loss_stops_falling(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter(range(1, 100))

    def rising(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        task.log("valid_loss", torch.tensor(float(next(losses))), batch_size=4)
        task.log("valid_accuracy", torch.tensor(0.5), batch_size=4)

    monkeypatch.setattr(ClassificationTask, "validation_step", rising)
    chosen = settings(weights="imagenet", epochs=12, patience=2)
    made = train(data, settings=chosen, preprocessing=SMALL, name="run", root=tmp_path)
    assert [row["phase"] for row in rows(made.run)] == ["head"] * 3 + ["fine-tune"] * 3
    assert [row["valid_loss"] for row in rows(made.run)] == ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]
    assert (made.record.training["epochs"], made.record.training["best_epoch"]) == (6, 1)


@pytest.mark.usefixtures("small_backbone")
def test_bf16_trains_weights_that_stay_float32(data: Path, tmp_path: Path) -> None:
    made = train(data, settings=settings(precision="bf16"), preprocessing=SMALL, name="run", root=tmp_path)
    assert made.record.training["precision"] == "bf16"
    assert {tensor.dtype for tensor in load_file(made.run.weights_file).values()} == {torch.float32, torch.int64}


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize(
    ("counts", "batches"), [({"train/a": 3, "train/b": 2}, [2, 2]), ({"train/a": 2, "train/b": 2}, [2, 2])]
)
def test_a_last_lonely_image_sits_an_epoch_out(
    counts: dict[str, int],
    batches: list[int],
    images_in: ImagesIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    step = ClassificationTask.training_step

    def spy(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        sizes.append(len(batch[1]))
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", spy)
    root = images_in(tmp_path / "scans", counts | {"valid/a": 1})
    train(root, settings=settings(batch_size=2), preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert sizes == batches


@pytest.mark.usefixtures("small_backbone")
def test_training_sees_changed_images_and_validation_the_images_themselves(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bytes]] = {"training_step": set(), "validation_step": set()}

    def spy_on(name: str) -> None:
        step = getattr(ClassificationTask, name)

        def spy(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Any:
            seen[name].update(image.numpy().tobytes() for image in batch[0])
            return step(task, batch, batch_index)

        monkeypatch.setattr(ClassificationTask, name, spy)

    for name in seen:
        spy_on(name)
    train(data, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path)
    splits = read_data_folder(data).splits
    train_images, valid_images = (
        {image.tobytes() for image in decode(data, splits[split], SMALL)} for split in ("train", "valid")
    )
    assert len(seen["training_step"]) == 10
    assert not seen["training_step"] & train_images
    assert seen["validation_step"] == valid_images


def interrupt() -> None:
    raise KeyboardInterrupt


def fail() -> None:
    raise RuntimeError("out of memory")


@pytest.fixture
def own_handler() -> Iterator[Callable[[int, object], None]]:
    """A handler of SIGINT that only this test has."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("small_backbone")
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
        seen.append([file.name for file in tmp_path.rglob("*")])
        if batch_index:
            happens()
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", second_fails)
    with pytest.raises(error):
        train(data, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path)
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert seen == [["run"], ["run"]]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_an_interrupt_before_the_first_step_leaves_no_run_and_the_signals_as_they_were(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_handler: Callable[[int, object], None]
) -> None:
    monkeypatch.setattr(ClassificationTask, "configure_optimizers", lambda task: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(data, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path)
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_a_disk_that_fills_up_at_the_end_leaves_no_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctonnx_train.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        train(data, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("weights", ["none", "broken.pth"])
def test_a_training_whose_loss_is_never_a_number_ends_in_a_sentence(
    weights: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: CTClassifier, weights: str) -> None:
        network.backbone.conv1.weight.data.fill_(float("nan"))

    monkeypatch.setattr("ctonnx_train.training.load_backbone", broken)
    with pytest.raises(CtonnxError, match="loss"):
        train(data, settings=settings(weights=weights), preprocessing=SMALL, name="run", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_an_unreadable_image_is_named_and_leaves_no_run(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 1, "train/b": 1, "valid/a": 1})
    (root / "train" / "b" / "scan 0.png").write_bytes(b"")
    message = (
        f"expected 2 readable images, found 1 that are not: {root / 'train' / 'b' / 'scan 0.png'}: the file is empty "
        "(0 bytes); mend these files or move them out of the data folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(root, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_data_of_one_class_is_refused_before_anything_is_made(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 3, "valid/a": 1})
    with pytest.raises(DataError, match=r"^expected two or more class folders with images in '.*', found 'a'; lay "):
        train(root, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_a_run_is_never_written_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("kept", encoding="utf-8")
    message = f"expected a new name for the run, found that '{tmp_path / 'old'}' exists; choose another --name"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(data, settings=settings(), preprocessing=SMALL, name="old", root=tmp_path)
    assert [file.read_text(encoding="utf-8") for file in (tmp_path / "old").iterdir()] == ["kept"]


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "a/", "/tmp/a"])  # noqa: S108 - it is refused
def test_a_runs_name_is_a_plain_folder_name(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^expected a plain folder name for the run, found '{re.escape(name)}'$"):
        train(data, settings=settings(), preprocessing=SMALL, name=name, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("inner", [".", "Data"])
def test_a_run_without_a_name_has_the_data_folders_and_the_time(
    inner: str, images_in: ImagesIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def stop(*arguments: Any) -> None:
        names.extend(folder.name for folder in (tmp_path / "runs").iterdir())
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.decode", stop)
    images_in(tmp_path / "scans" / inner, {"train/a": 1, "train/b": 1, "valid/a": 1})
    with pytest.raises(DataError, match="seen enough"):
        train(tmp_path / "scans", settings=settings(), preprocessing=SMALL, root=tmp_path / "runs")
    assert len(names) == 1
    assert re.fullmatch(r"scans-\d{8}-\d{6}", names[0])


@pytest.mark.parametrize(
    ("asked", "device", "native", "precision"),
    [
        ("fp32", "cuda", True, "fp32"),
        ("bf16", "cuda", False, "bf16"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp32"),
        ("fp32", "cpu", True, "fp32"),
        ("bf16", "cpu", False, "bf16"),
        ("auto", "cpu", True, "bf16"),
        ("auto", "cpu", False, "fp32"),
        ("auto", "mps", True, "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_device_computes_in_it(
    asked: Precision, device: str, native: bool, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    capabilities = {"architecture": "x86_64", "avx2": True, "avx512_bf16": native, "amx_fp16": True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert resolve_precision(asked, torch.device(device)) == precision


@pytest.mark.usefixtures("small_backbone")
def test_probabilities_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    network = CTClassifier(3).train()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)
    whole, pairs = (
        predict_probabilities(network, pixels, device=torch.device("cpu"), batch_size=size) for size in (32, 2)
    )
    assert whole.shape == (5, 3)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(whole, pairs, rtol=1e-4)
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    np.testing.assert_allclose(whole, logits.softmax(1).numpy(), rtol=1e-5)


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_says_which_options_to_lower(
    error: BaseException, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(ClassificationTask, "training_step", exhausted)
    with pytest.raises(CtonnxError, match=r"found too little; lower --batch-size or --image-size$"):
        train(data, settings=settings(), preprocessing=SMALL, name="run", root=tmp_path)
    assert list(tmp_path.iterdir()) == []
