"""`ctonnx train` as it is typed: output, arguments of the training, and exit code."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import fields
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
from tests.train.cli.conftest import ctonnx, failed, outcome

from ctonnx.artifacts.caveats import model_caveats
from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import NEW_MODELS
from ctonnx_train.cli.train import train as train_command
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.layout import find_layout
from ctonnx_train.evaluation.fitting.decisions import decisions_as_text
from ctonnx_train.evaluation.statistics.metrics import as_table
from ctonnx_train.runs.record import read_record
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import TrainSettings

QUICK = ("--weights", "none", "--epochs", "1", "--batch-size", "4", "--image-size", "32", "--precision", "fp32")

pytestmark = pytest.mark.usefixtures("folder", "on_the_cpu")


@pytest.mark.usefixtures("small_backbone")
def test_train_prints_the_metrics_and_where_the_run_is(scans: str, folder: Path) -> None:
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--positive", "b", "--name", "tiny")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "runs" / "tiny" / "run.json").read_text(encoding="utf-8"))
    point, training = record["operating_point"], record["training"]

    def of(split: str, name: str) -> str:
        metrics = record["metrics"][split]["suspicious"]
        low, high = metrics[f"{name}_interval"]
        return f"{metrics[name]:.3f} [{floor(low * 1e3) / 1e3:.3f}, {ceil(high * 1e3) / 1e3:.3f}]"

    made = read_record(Run(folder / "runs" / "tiny"))
    caveats = model_caveats(record["metrics"], made.operating_point, made.prediction_sets, novelty=made.novelty)
    assert caveats[-1].startswith("the novelty threshold was fitted on 2 validation images, too few to promise ")
    assert caveats[-2].startswith("too few validation images for prediction sets with a coverage of 0.95 (19 or more ")
    assert caveats[0].startswith("the model refers 1.000 [0.207, 1.000] of the test images (prediction set 1, ")
    assert caveats[1].startswith("the operating point was fitted on 1 suspicious image, too few to show ")
    warnings = "".join(f"warning: {caveat}\n" for caveat in caveats)
    low, high = point["gap"]
    assert result.stdout == (
        f"{warnings}"
        f"{as_table('validation', record['metrics']['valid'])}\n\n"
        f"{as_table('test', record['metrics']['test'])}\n\n"
        f"suspicious: b of {point['threshold']:.6g} or more, in the gap from {low:.6g} to {high:.6g}\n"
        f"  sensitivity {of('valid', 'sensitivity')}, specificity {of('valid', 'specificity')} "
        "on the validation images, on which it was fitted\n"
        f"  sensitivity -, specificity {of('test', 'specificity')} on the test images\n\n"
        "decisions rest on the operating point, the prediction sets, the novelty and the warnings about an image\n"
        f"  {decisions_as_text(record['metrics']['valid']['decisions'])} on the validation images, on which the sets "
        "were fitted\n"
        f"  {decisions_as_text(record['metrics']['test']['decisions'])} on the test images\n\n"
        "data: no image is in the dataset twice\n"
        f"{training['seconds_per_epoch']:.1f} s per epoch, {training['data_share']:.1%} of it for data\n"
        "runs/tiny: wrote checkpoint, run.json, metrics.csv and evaluation; next: ctonnx export\n"
    )
    lines = result.stderr.splitlines()
    assert lines[:6] == [
        "class folder 'C' is read as 'b'",
        "train: 6 images (a 3, b 3)",
        "valid: 2 images (a 1, b 1)",
        "test: 1 image (a 1, b 0)",
        "imbalance: weights in the loss: a 1, b 1",
        "training on cpu in fp32, 4 images a step, at most 1 epoch",
    ]
    assert lines[6].startswith("epoch   1/1  scratch     32 pixels  train loss ")
    assert lines[7].startswith("best epoch: 1 (valid loss ")
    assert lines[8].startswith("temperature ")
    assert len(lines) == 9


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_the_data_folder_is_read_once(scans: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def noting(root: Path, **options: Any) -> Any:
        read.append(root)
        return find_layout(root, **options)

    monkeypatch.setattr("ctonnx_train.data.image_folder.find_layout", noting)
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    assert result.exit_code == 0, result.output
    assert read == [Path(scans)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, scans: str) -> dict[str, Any]:
    """Arguments that the command passes to the training, which then ends."""
    options: dict[str, Any] = {}

    def training(data: Path, **given: Any) -> None:
        del given["log"]
        options.update(given, data=data)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.train.train", training)
    return options


def test_every_option_reaches_the_training(asked: dict[str, Any]) -> None:
    options = (
        "--weights=w.pth --epochs=9 --batch-size=3 --image-size=96 --color=rgb --crop=body --resize=pad "
        "--intensity=as-is --seed=5 --precision=bf16 --unfreeze-from=layer2 --patience=4 --monitor=macro_f1 "
        "--imbalance=sampler --drop-leaks --group-regex=p(.) --augmentation=standard --novelty-quantile=0.9 "
        "--positive=b=c --positive=e --sensitivity=0.9 --coverage=0.8 --class-name C=b=c --class-name b=e --name=run "
        "--cache-gb=0.5 --devices=2 --nodes=3 --threads=4 --compile --tensorboard "
        "--aggregate=top-k --top-k=2"
    )
    assert outcome(ctonnx("train", "scans", *options.split(), "--class-name", "a=b=c")) == failed("seen enough")
    assert asked == {
        "data": Path("scans"),
        "labels": None,
        "found": read_data(Path("scans"), class_names={"C": "b=c", "b": "e", "a": "b=c"}),
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
            augmentation="standard",
            drop_leaks=True,
            group_regex="p(.)",
            cache_gb=0.5,
            compile=True,
            devices=2,
            nodes=3,
            threads=4,
            tensorboard=True,
            positive=("b=c", "e"),
            sensitivity=0.9,
            coverage=0.8,
            novelty_quantile=0.9,
            aggregate="top-k",
            top_k=2,
        ),
        "preprocessing": Preprocessing(size=96, color="rgb", crop="body", resize="pad"),
        "class_names": {"C": "b=c", "b": "e", "a": "b=c"},
        "name": "run",
    }


def test_without_options_the_recipes_defaults_are_taken(asked: dict[str, Any]) -> None:
    assert outcome(ctonnx("train", "scans", "--class-name", "C=b")) == failed("seen enough")
    assert asked == {
        "data": Path("scans"),
        "labels": None,
        "found": read_data(Path("scans"), class_names={"C": "b"}),
        "settings": TrainSettings(),
        "preprocessing": NEW_MODELS,
        "class_names": {"C": "b"},
        "name": None,
    }


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ((), 32),
        (("--weights", "none"), 24),
        (("--weights", "w.pth"), 32),
        (("--weights", "none", "--batch-size", "32"), 32),
        (("--batch-size", "16"), 16),
    ],
)
def test_a_batch_has_thirty_two_images_and_twenty_four_from_scratch_unless_a_number_is_given(
    options: tuple[str, ...], images: int, scans: str, asked: dict[str, Any]
) -> None:
    ctonnx("train", scans, "--class-name", "C=b", *options)
    assert asked["settings"].batch_size == images


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "acquisition"),
        (("--weights", "none"), "standard"),
        (("--weights", "none", "--augmentation", "acquisition"), "acquisition"),
    ],
)
def test_a_network_from_scratch_is_trained_without_changes_of_the_acquisition_unless_they_are_given(
    options: tuple[str, ...], expected: str, scans: str, asked: dict[str, Any]
) -> None:
    ctonnx("train", scans, "--class-name", "C=b", *options)
    assert asked["settings"].augmentation == expected


def test_whole_size_images_are_asked_for_by_an_option_alone(scans: str, asked: dict[str, Any]) -> None:
    ctonnx("train", scans, "--class-name", "C=b")
    assert not asked["settings"].full_size
    ctonnx("train", scans, "--class-name", "C=b", "--full-size")
    assert asked["settings"].full_size


def test_every_setting_of_the_recipe_has_an_option() -> None:
    options = {parameter.name for parameter in train_command.params}
    assert {field.name for field in fields(TrainSettings)} - options == set()


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_leaks_are_reported_in_a_warning_and_with_the_metrics(scans: str, folder: Path) -> None:
    shutil.copy(folder / "scans/train/a/scan 0.png", folder / "scans/valid/a/copy.png")
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b")
    sentence = (
        "2 files in 1 group of identical pixels: 1 group (2 files) across splits, 0 with different labels; files "
        "that leaked from an earlier split: 1 of valid"
    )
    assert result.exit_code == 0, result.output
    assert f"warning: {sentence}\n" in result.stderr
    assert f"data: {sentence}\n" in result.stdout
    cut = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--drop-leaks", "--name", "cut")
    assert f"data: {sentence}; left out: 1 of valid\n" in cut.stdout


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_ctrl_c_after_an_epoch_shows_the_metrics_how_to_go_on_and_130(
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
    assert "\nvalidation: accuracy" in result.stdout
    assert result.stdout.endswith("runs/one: stopped early; resume with: ctonnx train --resume runs/one\n")
    again = ctonnx("train", "--resume", "runs/one")
    assert again.exit_code == 0, again.output
    assert "resuming after epoch 1 of 2\n" in again.stderr
    assert again.stdout.endswith("evaluation; next: ctonnx export\n")
    finished = outcome(ctonnx("train", "--resume", "one"))
    assert finished == failed(
        "expected an unfinished run to resume, found that 'runs/one' is finished; for more epochs, start a new "
        "training from its weights: ctonnx train DATA --weights runs/one/model.safetensors"
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


def test_a_preview_is_written_and_nothing_is_trained(scans: str, folder: Path) -> None:
    options = ("--class-name", "C=b", "--image-size", "32", "--preview", "sheet.png")
    assert outcome(ctonnx("train", scans, *options)) == (
        0,
        "sheet.png: 4 training images, each as it is and augmented\n",
        "",
    )
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "runs").exists()


def test_leftovers_of_a_killed_preview_are_removed_and_reported(
    scans: str, folder: Path, leave_behind: Callable[[Path], Path]
) -> None:
    left = leave_behind(folder / "sheet.png")
    result = ctonnx("train", scans, "--class-name", "C=b", "--image-size", "32", "--preview", "other.png")
    assert result.stderr == f"removed 1 temporary file or folder of a killed process from '.': '{left.name}'\n"
    assert not left.exists()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments with which PyTorch was loaded."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("ctonnx_train.network.openmp.load_pytorch", lambda **settings: found.append(settings))
    return found


def test_pytorch_is_loaded_for_the_threads_and_processes_of_the_training(
    asked: dict[str, Any], loaded: list[dict[str, Any]]
) -> None:
    ctonnx("train", "scans", "--class-name", "C=b")
    ctonnx("train", "scans", "--class-name", "C=b", "--threads=3", "--devices=2", "--nodes=2", "--compile")
    assert loaded == [
        {"threads": None, "processes": 1, "compiles": False},
        {"threads": 3, "processes": 4, "compiles": True},
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"threads": 3, "devices": 2, "nodes": 2, "compile": True}, (3, 4, True)),
        ({"devices": 1, "nodes": 1, "compile": False}, (None, 1, False)),  # of an earlier release
        ({"devices": "many"}, (None, 0, False)),
    ],
)
def test_pytorch_is_loaded_for_the_settings_of_a_resumed_run(
    settings: dict[str, Any], expected: tuple[Any, ...], loaded: list[dict[str, Any]], folder: Path
) -> None:
    (folder / "runs/one").mkdir(parents=True)
    (folder / "runs/one/plan.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    for named in ("one", "runs/one"):
        ctonnx("train", "--resume", named)
    assert loaded == [dict(zip(("threads", "processes", "compiles"), expected, strict=True))] * 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "[" * 100_000,
            "expected the settings of the training in 'runs/one/plan.json', found something else (expected a JSON "
            "text, found one that is too deep); train again",
        ),
        (
            '{"settings": {"devices": 1e999, "nodes": 1, "compile": false}}',
            "expected the settings of the training in 'runs/one/plan.json', found something else (expected a text at "
            "'data', found nothing); train again",
        ),
        pytest.param(
            None,
            "expected an unfinished run's folder (with plan.json) at 'one' or 'runs/one', found none; list them "
            "with: ls runs",
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes"),
        ),
    ],
    ids=["deep", "endless", "pipe"],
)
def test_a_plan_that_cannot_be_read_ends_a_resumption_in_a_sentence(
    content: str | None, error: str, folder: Path
) -> None:
    plan = folder / "runs/one/plan.json"
    plan.parent.mkdir(parents=True)
    if content is None:
        os.mkfifo(plan)
    else:
        plan.write_text(content, encoding="utf-8")
    assert outcome(ctonnx("train", "--resume", "one")) == (2, "", f"Error: {error}\n")


def test_a_number_of_slices_for_another_aggregate_is_rejected(asked: dict[str, Any]) -> None:
    result = ctonnx("train", "scans", "--aggregate", "max", "--top-k", "2")
    assert result.exit_code == 2
    assert "expected --top-k with --aggregate top-k, found max" in result.stderr
    assert asked == {}
