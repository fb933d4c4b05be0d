"""`ctonnx train` and `ctonnx data phantom` as they are typed: what is printed, and the exit code."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import URLError

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli import main
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx_train.metrics import format_metrics
from ctonnx_train.recipe import TrainSettings

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

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
    result = ctonnx("train", scans, *QUICK, "--class-name", "C=b", "--name", "tiny")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "runs" / "tiny" / "run.json").read_text(encoding="utf-8"))
    assert result.stdout == (
        f"{format_metrics('validation', record['metrics']['valid'])}\n\n"
        f"{format_metrics('test', record['metrics']['test'])}\n\n"
        "runs/tiny: checkpoint, run.json and metrics.csv are there; next, ctonnx export\n"
    )
    lines = result.stderr.splitlines()
    assert lines[:4] == [
        "class folder 'C' is read as 'b'",
        "train: 6 images (a 3, b 3)",
        "valid: 2 images (a 1, b 1)",
        "test: 1 images (a 1, b 0)",
    ]
    assert lines[4] == "training on cpu in fp32, 4 images a step, at most 1 epochs"
    assert lines[5].startswith("epoch   1/1  scratch    train loss ")
    assert lines[6].startswith("best epoch: 1 (valid loss ")
    assert len(lines) == 7


def test_every_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def training(data: Path, **options: Any) -> None:
        asked.update(options, data=data)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.train", training)
    options = (
        "--weights=w.pth --epochs=9 --batch-size=3 --image-size=96 --color=rgb --resize=pad --seed=5 --precision=bf16 "
        "--unfreeze-from=layer2 --patience=4 --class-name A=b=c --class-name D=e --name=run"
    )
    assert outcome(ctonnx("train", "scans", *options.split())) == said("seen enough")
    del asked["say"]
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
        ),
        "preprocessing": Preprocessing(size=96, color="rgb", resize="pad"),
        "class_names": {"A": "b=c", "D": "e"},
        "name": "run",
    }


def test_without_options_the_recipes_defaults_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def training(data: Path, **options: Any) -> None:
        asked.update(options)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.train", training)
    ctonnx("train", "scans")
    del asked["say"]
    assert asked == {
        "settings": TrainSettings(),
        "preprocessing": Preprocessing(),
        "class_names": {},
        "name": None,
    }


def test_a_missing_data_folder_ends_in_a_sentence() -> None:
    result = ctonnx("train", "nowhere", *QUICK)
    assert outcome(result) == said("expected a data folder at 'nowhere', found nothing; check the path")


@pytest.mark.parametrize("value", ["C", "=b", "C=", "="])
def test_a_class_name_is_old_equals_new(value: str, scans: str) -> None:
    result = ctonnx("train", scans, *QUICK, "--class-name", value)
    error = f"Invalid value for '--class-name': expected OLD=NEW, found '{value}'"
    assert misused("ctonnx train [OPTIONS] DATA", error, result)


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
        ("--unfreeze-from", "head", "'head' is not one of 'stem', 'layer1', 'layer2', 'layer3', 'layer4'."),
    ],
)
def test_an_option_out_of_range_is_wrong_use(option: str, value: str, message: str) -> None:
    result = ctonnx("train", "scans", option, value)
    assert misused("ctonnx train [OPTIONS] DATA", f"Invalid value for '{option}': {message}", result)


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
        "Error: expected --weights imagenet, none or a file, found no file at 'w.pth'"
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


def test_ctrl_c_ends_a_training_with_130(scans: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def training(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctonnx_train.training.train", training)
    assert outcome(ctonnx("train", scans)) == (130, "", "\nctonnx: stopped\n")


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
    [(("train",), {"--class-name", "--name", "--help"}), (("data", "phantom"), {"--help"})],
)
def test_the_help_names_every_options_default(arguments: tuple[str, ...], without: set[str]) -> None:
    result = ctonnx(*arguments, "--help")
    assert result.exit_code == 0
    _, *texts = re.split(r"^  (?=-)", result.stdout, flags=re.MULTILINE)
    shown = {match[0]: " ".join(text.split()) for text in texts if (match := re.search("--[a-z-]+", text))}
    assert {name for name, text in shown.items() if "[default: " not in text} == without
