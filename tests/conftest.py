"""Fixtures: a tiny phantom set, a network trained on it for one epoch, and its export, made once for all tests."""

import atexit
import gc
import hashlib
import io
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from tests.thin.sitecustomize import HERE, thin_resnet50

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx.system.temporary_files import temporary_name

# The networks here are small: on a busy machine their threads would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as set by the commands, some of which run in this process

SIZE = 64
"""Height and width of the test model's input, in pixels."""


def pytest_configure() -> None:
    """Restores signals that a shell's background job ignores, for this process and its children."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps the garbage collector from what lasts as long as the process.

    The collection makes millions of objects that stay: modules, classes, tests. Looking at them again and again takes
    a third of its time, and more in each test that makes many objects. At the end they are its business again, as
    libraries count what is left.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()  # what is left of failed imports, with its warnings
        gc.freeze()
        atexit.register(gc.unfreeze)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests of the export, and then files that need its result, to the beginning.

    A second process starts in the middle and does not wait for the export; and the longest tests are not left for the
    end, where one process would work alone. Those marked `slow` are the very first: one process has them all, and
    starts Ray once.
    """
    needing = {item.path for item in items if "exported_run" in getattr(item, "fixturenames", ())}
    longest = Path(__file__).parent / "export"
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is None,
            not item.path.is_relative_to(longest),
            item.path not in needing,
        )
    )


@contextmanager
def once(folder: Path, name: str) -> Iterator[bool]:
    """Yields whether this process must make something that all test processes share; the others wait."""
    with FileLock(folder / f"{name}.lock"):
        yield not (folder / f"{name}.made").exists()
        (folder / f"{name}.made").touch()


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Replaces fsync: it guards against a loss of power, which no test has, and waits for the disk each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder shared by all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def dicom_file() -> bytes:
    """A CT image of 64 x 96 pixels as a DICOM file."""
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID("1.2.3")
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "CT", "MONOCHROME2", 1
    data.Rows, data.Columns, data.PixelRepresentation = 64, 96, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = np.random.default_rng(0).integers(0, 4000, (64, 96)).astype("<u2").tobytes()
    content = io.BytesIO()
    data.save_as(content, enforce_file_format=True)
    return content.getvalue()


@pytest.fixture(scope="session")
def phantoms(shared_folder: Path) -> Path:
    """A phantom set of 32 images, 96 pixels high and wide, in the Kaggle layout."""
    from ctonnx_train.data.phantom.phantom_set import generate

    with once(shared_folder, "phantoms") as missing:
        if missing:
            generate(shared_folder / "data/phantoms", per_class=8, size=96)
    return shared_folder / "data/phantoms"


@contextmanager
def thin_network() -> Iterator[None]:
    """Puts a thin network in ResNet50's place, in this process and in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_train.network.classifier.resnet50", thin_resnet50)
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        yield


@contextmanager
def empty_plots() -> Iterator[None]:
    """Leaves the plots of trainings and evaluations empty, where they are not looked at: they take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_train.evaluation.report.save_plot", lambda figure, file: file.touch())
        yield


@contextmanager
def each_network_converted_once() -> Iterator[None]:
    """Converts a network to ONNX once, however often it is exported: the conversion takes most of an export's time."""
    import onnx

    from ctonnx_export.graph.conversion import convert

    made: dict[tuple[bytes, int], bytes] = {}

    def converted(graph: Any, size: int) -> onnx.ModelProto:
        weights = b"".join(tensor.numpy().tobytes() for tensor in graph.state_dict().values())
        key = hashlib.sha256(weights).digest(), size
        if key not in made:
            made[key] = convert(graph, size).SerializeToString()
        return onnx.load_from_string(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_export.models.convert", converted)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Wherever a test has the trained run, it and its fixtures of any scope open the checkpoint with its network.

    After the last test of a file, what still lasts is kept from the garbage collector too, as measurements, which are
    tested in many files, collect before each round.
    """
    try:
        with thin_network() if "trained_run" in getattr(item, "fixturenames", ()) else nullcontext():
            return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            gc.collect()
            gc.freeze()


@pytest.fixture(scope="session")
def trained_run(phantoms: Path, shared_folder: Path) -> Run:
    """A run of a thin network, trained on the phantoms for one epoch. Tests that change it work on a copy."""
    from ctonnx_train.training.recipe import TrainSettings
    from ctonnx_train.training.train import train

    settings = TrainSettings(weights="none", epochs=1, batch_size=8)
    root = shared_folder / "work/runs"
    with once(shared_folder, "run") as missing:
        if missing:
            with thin_network(), empty_plots():
                train(phantoms, settings=settings, preprocessing=Preprocessing(size=SIZE), name="tiny", root=root)
    return Run(root / "tiny")


@pytest.fixture(scope="session")
def exported_run(trained_run: Run, shared_folder: Path) -> Run:
    """The trained run with its export. Tests that change it work on a copy."""
    from ctonnx_export.export import export_run

    with once(shared_folder, "export") as missing:
        if missing:
            with thin_network():
                export_run(trained_run)
    return trained_run


@pytest.fixture(scope="session")
def model(exported_run: Run) -> Path:
    """The exported FP32 model."""
    return exported_run.model_file("fp32")


@pytest.fixture
def leave_behind() -> Callable[[Path], Path]:
    """Returns a function that makes the files of a process killed while it wrote a path."""

    def leave(path: Path) -> Path:
        with temporary_name(path) as temporary:
            pass
        for file in (temporary, temporary.with_suffix(".lock")):
            file.touch()
        return temporary

    return leave


@pytest.fixture
def workspace(exported_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a copy of the exported run in runs/tiny."""
    shutil.copytree(exported_run.folder, tmp_path / "runs" / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def device() -> str:
    """The device of the tests marked `gpu`."""
    name = os.environ.get("CTONNX_TEST_DEVICE")
    if not name:
        pytest.skip("CTONNX_TEST_DEVICE does not name a device; make gpu and make gpu-rehearsal do")
    return name
