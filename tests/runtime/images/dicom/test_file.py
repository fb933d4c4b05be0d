"""DICOM files without preamble or ending, their frames, and the extra that they need."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import ImageError
from ctonnx.images import load, load_frames
from ctonnx.images.dicom.rendering.window import windowed
from ctonnx.images.scan import Scan
from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, error_of, make, window_of  # noqa: E402 - it needs pydicom


@pytest.mark.parametrize("name", ["bare.dcm", "bare"])
@pytest.mark.parametrize("begin", [128, 132])
def test_file_without_preamble_is_read_under_any_name(name: str, begin: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded(make())[begin:])
    np.testing.assert_array_equal(np.asarray(load(tmp_path / name)), LUNG)


def test_file_without_transfer_syntax_is_read_if_its_encoding_is_evident(tmp_path: Path) -> None:
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        data = encoded(make(syntax=syntax))
        begin = 144 + int.from_bytes(data[140:144], "little")
        (tmp_path / "bare.dcm").write_bytes(data[begin:])
        np.testing.assert_array_equal(np.asarray(load(tmp_path / "bare.dcm")), LUNG)
    (tmp_path / "bare.dcm").write_bytes(b"\b\0" + b"GEHEIM^PETER" * 30)
    with pytest.raises(ImageError, match=r": (not a|damaged) DICOM file$"):
        load(tmp_path / "bare.dcm")


def test_index_of_a_medium_is_rejected() -> None:
    index = make(SOPClassUID=uid.MediaStorageDirectoryStorage, Modality=None, Rows=None, PixelData=None)
    assert error_of(encoded(index)) == "a DICOM Media Storage Directory Storage without pixels (it has no PixelData)"


def test_series_without_endings_is_found_and_its_index_is_not(tmp_path: Path) -> None:
    for name in ("IM0001", "IM0002", "DICOMDIR"):
        (tmp_path / name).write_bytes(encoded(make()))
    assert find_images([str(tmp_path)]) == [str(tmp_path / "IM0001"), str(tmp_path / "IM0002")]
    assert find_images([str(tmp_path / "DICOMDIR")]) == [str(tmp_path / "DICOMDIR")]


def series(count: int = 4) -> NDArray[np.int16]:
    return np.stack([HU + 50 * number for number in range(count)]).astype(np.int16)


def test_frame_is_chosen_by_its_number() -> None:
    data = encoded(make(series()))
    for frame in range(4):
        expected = window_of(HU + 50.0 * frame)
        np.testing.assert_array_equal(np.asarray(load(data, frame=frame)), expected)
    assert error_of(data, frame=4) == "expected a frame from 0 to 3, found 4"
    assert error_of(encoded(make()), frame=1) == "expected a frame from 0 to 0, found 1"


def test_frames_are_loaded_in_order() -> None:
    found = list(load_frames(encoded(make(series()))))
    assert [number for number, _ in found] == [0, 1, 2, 3]
    images = [image for _, image in found if isinstance(image, Scan)]
    np.testing.assert_array_equal(np.asarray(images[2]), window_of(HU + 100.0))
    ((number, image),) = load_frames(encoded(make()))
    assert number is None
    assert isinstance(image, Scan)


def test_frames_of_a_deflated_file_are_found_and_counted() -> None:
    deflated = make(series(), syntax=uid.DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(
        np.asarray(load(encoded(deflated), frame=3)), windowed(HU.astype(float) + 150, -600, 1500)
    )
    assert [number for number, _ in load_frames(encoded(deflated))] == [0, 1, 2, 3]


def test_each_frame_has_its_record(model: Path, tmp_path: Path) -> None:
    (tmp_path / "stack.dcm").write_bytes(encoded(make(series(5))))
    (tmp_path / "slice").write_bytes(encoded(make()))
    (tmp_path / "broken.dcm").write_bytes(encoded(make(series(5)))[:6000])
    files = find_images([str(tmp_path)])
    with Predictor(model) as predictor:
        records = list(predictor.predict_many(files, batch_size=2))
        alone = predictor.predict(str(tmp_path / "slice"))
    stack = str(tmp_path / "stack.dcm")
    names = [str(tmp_path / "broken.dcm"), str(tmp_path / "slice"), *(f"{stack}#{number}" for number in range(1, 6))]
    assert [record.source for record in records] == names
    assert isinstance(records[0], Failure)
    assert [record.frame for record in records] == [None, None, 0, 1, 2, 3, 4]
    for record in records[1:3]:  # the same pixels
        assert isinstance(record, Prediction)
        np.testing.assert_allclose(record.logits, alone.logits, atol=1e-5)
    last = records[-1]
    assert isinstance(last, Prediction)
    assert np.abs(last.logits - alone.logits).max() > 1e-4


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("sys.modules['pydicom'] = None", "a DICOM file, which needs pydicom; pip install "),
        (
            "import pydicom.encaps; del pydicom.encaps.get_frame; pydicom.__version__ = '2.4.4'",
            "a DICOM file, which needs pydicom 3 or newer, found 2.4.4; pip install ",
        ),
        (
            "import pydicom; pydicom.__version__ = '2.4.4'\n"
            "for name in [*sys.modules]:\n  if name.startswith('pydicom.pixels'): sys.modules[name] = None",
            "a DICOM file, which needs pydicom 3 or newer, found 2.4.4; pip install ",
        ),
    ],
    ids=["without pydicom", "without a function", "without a module"],
)
def test_without_a_suitable_pydicom_the_error_names_the_extra(before: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(encoded(make()))
    script = (
        f"import sys; {before}\n"
        "from ctonnx.images.loading import load\n"
        "try: load(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "scan")], check=True, capture_output=True, text=True
    )
    assert done.stdout == f'ImageError {reason}"ctonnx[dicom]"\n'


_TWO_THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from ctonnx.images import load

never = threading.Event()

class Missing:
    def find_spec(self, name, *others):
        if name == "pydicom":
            never.wait(0.5)  # the other threads start in this time
            raise ModuleNotFoundError("No module named 'pydicom'", name=name)

sys.meta_path.insert(0, Missing())

def reason(number):
    try: load(sys.argv[1])
    except Exception as error: return f"{type(error).__name__} {getattr(error, 'reason', error)}"

with ThreadPoolExecutor(4) as pool:
    print(*sorted(set(pool.map(reason, range(4)))), sep="\\n")
"""


def test_without_pydicom_the_error_of_every_thread_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(encoded(make()))
    command = [sys.executable, "-c", _TWO_THREADS, str(tmp_path / "scan")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == 'ImageError a DICOM file, which needs pydicom; pip install "ctonnx[dicom]"\n'
