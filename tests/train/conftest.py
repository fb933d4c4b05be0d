"""Fixtures of the train package's tests: folders of small images, small networks, and models trained on them."""

import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import empty_plots
from tests.thin.sitecustomize import HERE, thin_resnet50

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing

CHEST_CT = Path(
    os.environ.get("CTONNX_CHEST_CT", Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "chest-ct")
)
ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

_SMALL_CTONNX = """\
import ctonnx_train.evaluation.report
ctonnx_train.evaluation.report.save_plot = lambda figure, file: file.touch()
{before}
from ctonnx.cli.main import main
main(prog_name="ctonnx")
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Uses one thread: on a busy machine the small steps of these tests would wait for other threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def on_the_cpu() -> Iterator[None]:
    """Trains on the CPU, where the same seed gives the same weights on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        patch.setattr("torch.backends.mps.is_available", cache(lambda: False))  # as there: Dynamo reads `__wrapped__`
        yield


@pytest.fixture
def own_handler() -> Iterator[Callable[[int, object], None]]:
    """A SIGINT handler of this test only."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def images_in() -> ImagesIn:
    """A function that writes different grey 40 x 40 PNG images into folders below a root and returns the root."""

    def write(root: Path, counts: Mapping[str, int]) -> Path:
        for position, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.random.default_rng([position, number]).integers(0, 256, (40, 40), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"scan {number}.png")
        return root

    return write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def scans(folder: Path, images_in: ImagesIn) -> str:
    """A data folder, as a command's argument."""
    images_in(folder / "scans", {"train/a": 3, "train/b": 3, "valid/a": 1, "valid/C": 1, "test/a": 1})
    return "scans"


@pytest.fixture
def labelled(tmp_path: Path, images_in: ImagesIn) -> Path:
    """A data folder of the three classes of `evaluated`."""
    counts = {"train/a": 3, "train/b": 3, "train/c": 2, "valid/a": 2, "valid/b": 1, "test/a": 2, "test/b": 3}
    return images_in(tmp_path / "scans", counts)


@pytest.fixture(scope="module")
def data(images_in: ImagesIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images to train on, four to validate with and two, of one class, to test with."""
    counts = {"train/a": 5, "train/B cases": 5, "valid/a": 2, "valid/b": 2, "test/a": 2}
    root = images_in(tmp_path_factory.mktemp("data") / "scans", counts)
    (root / "train" / "a" / "notes.txt").touch()
    return root


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Run], list[dict[str, str]]]:
    """A function that reads the rows of a run's metrics.csv."""

    def read(run: Run) -> list[dict[str, str]]:
        with run.metrics_file.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope="session")
def files_in() -> Callable[[Path], list[str]]:
    """A function that lists the files below a folder by their paths from there."""

    def listed(folder: Path) -> list[str]:
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

    return listed


@pytest.fixture
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the ResNet50 in `CTClassifier` by a thin network of four blocks."""
    monkeypatch.setattr("ctonnx_train.network.classifier.resnet50", thin_resnet50)


@pytest.fixture
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the plots of a training run in tests that do not need them."""
    monkeypatch.setattr("ctonnx_train.training.single_run.write_reports", lambda *arguments, **options: None)


@pytest.fixture
def no_plots() -> Iterator[None]:
    """Leaves the plots of a training run empty in tests that need its other reports."""
    with empty_plots():
        yield


@pytest.fixture(scope="session")
def dataset_of() -> Callable[..., Any]:
    """A function that makes a `PixelDataset` of pixels [images, size, size, 1 or 3] and labels."""
    from ctonnx_train.data.pixel_store import PixelStore
    from ctonnx_train.data.splits import Sample
    from ctonnx_train.training.loop.batches import PixelDataset

    class Arrays:
        root = Path("memory")

        def __init__(self, pixels: NDArray[np.uint8]) -> None:
            self._pixels = pixels

        def image(self, path: str) -> NDArray[np.uint8]:
            image: NDArray[np.uint8] = self._pixels[int(path)]
            return image

        def has(self, path: str) -> bool:
            return int(path) < len(self._pixels)

    def make(pixels: NDArray[np.uint8], labels: list[int], *, limit: int | None = None) -> PixelDataset:
        samples = [Sample(str(row), label) for row, label in enumerate(labels)]
        preprocessing = Preprocessing(size=pixels.shape[1], color="grey" if pixels.shape[3] == 1 else "rgb")
        store = PixelStore(Arrays(pixels), samples, preprocessing, limit=limit)
        return PixelDataset(store, range(len(labels)), labels)

    return make


@pytest.fixture
def fitted(dataset_of: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A function that fits a network to nine noise images; returns the result, the network and the messages."""
    import torch

    from ctonnx_train.network.classifier import CTClassifier
    from ctonnx_train.training.loop.fit import fit
    from ctonnx_train.training.recipe import TrainSettings

    def run(
        labels: Sequence[int] = (0, 0, 0, 0, 0, 0, 1, 1, 1),
        valid: tuple[int, ...] = (0, 1, 0),
        limit: int | None = None,
        **changes: Any,
    ) -> Any:
        made = replace(TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32"), **changes)
        rng = np.random.default_rng(0)
        train_images, valid_images = (
            dataset_of(rng.integers(0, 256, (len(of), 32, 32, 1), dtype=np.uint8), of, limit=limit)
            for of in (list(labels), list(valid))
        )
        torch.manual_seed(0)
        network, lines = CTClassifier(2), list[str]()
        result = fit(network, train_images, valid_images, labels, ("a", "b"), made, Run(tmp_path), log=lines.append)
        return result, network, lines

    return run


@pytest.fixture
def evaluated() -> Any:
    """A three-class model without metadata; its predictions depend only on an image's pixels."""
    from ctonnx_train.data.pixel_store import Pixels
    from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, Predicted

    def predict(store: Pixels, rows: Sequence[int]) -> Predicted:
        means = store.take(rows).reshape(len(rows), -1)[:, :3].astype(np.float64) + 1
        shares: NDArray[np.float64] = means / means.sum(axis=1, keepdims=True)
        return Predicted(shares)

    return EvaluatedModel(
        path=Path("runs/tiny"),
        name="tiny",
        kind="PyTorch checkpoint",
        classes=("a", "b", "c"),
        preprocessing=Preprocessing(size=32),
        operating_point=None,
        synthetic=False,
        data={},
        predict=predict,
    )


@pytest.fixture
def start_ctonnx(tmp_path: Path) -> Callable[..., "Popen[str]"]:
    """A function that starts the `ctonnx` command in a process, with the small backbone, on the CPU and without plots.

    `before` is Python code that runs in the process before the command; `launcher` are Python's arguments before it.
    """

    def start(*arguments: str, before: str = "", launcher: Sequence[str] = ()) -> "Popen[str]":
        script = tmp_path / "ctonnx_small.py"
        script.write_text(_SMALL_CTONNX.format(before=before), encoding="utf-8")
        environment = {
            name: value for name, value in os.environ.items() if name not in {"LOCAL_RANK", "RANK", "NODE_RANK"}
        }
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
        command = [sys.executable, *launcher, str(script), *arguments]
        return Popen(command, cwd=tmp_path, env=environment, stdout=PIPE, stderr=PIPE, text=True)

    return start
