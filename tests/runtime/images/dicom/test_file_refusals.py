"""DICOM files that are no picture end in an error, which tells nothing of the patient."""

import logging
import subprocess
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.errors import ImageError
from ctonnx.images import load

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.test_file import HU, LUNG, PATIENT, encoded, make, refusal  # noqa: E402 - it needs pydicom


def without_pixels() -> bytes:
    image = pydicom.Dataset()
    image.file_meta = make().file_meta
    image.SOPClassUID, image.SOPInstanceUID, image.PatientName = uid.BasicTextSRStorage, "1.2.3", PATIENT
    return encoded(image)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (without_pixels, "a DICOM Basic Text SR Storage without pixels"),
        (
            lambda: encoded(make(Modality="SEG", SOPClassUID=uid.SegmentationStorage)),
            "a DICOM Segmentation Storage, whose pixels are no picture",
        ),
        (
            lambda: encoded(make(Modality="SEG ", SOPClassUID=uid.SegmentationStorage)).replace(b"SEG ", b"seg "),
            "a DICOM Segmentation Storage, whose pixels are no picture",
        ),
        (lambda: encoded(make())[:-100], "damaged DICOM file: its PixelData ends too early"),
        (
            lambda: encoded(make(PixelData=None)),
            "a DICOM CT Image Storage without pixels (it has no PixelData)",
        ),
        (lambda: encoded(make())[:200], "a DICOM CT Image Storage without pixels"),
        (lambda: b"\0" * 128 + b"DICM", "not a DICOM file"),
        (lambda: b"\0" * 128 + b"DICM" + b"GEHEIM^PETER" * 50, "not a DICOM file"),
        (lambda: encoded(make(Rows=0)), "the image has no pixels: 40 x 0 (Columns x Rows)"),
        (
            lambda: encoded(make(Rows=65535, Columns=65535)),
            "too large to decode safely: 65535 x 65535 pixels, and an image may have 178956970",
        ),
        (
            lambda: encoded(make(NumberOfFrames=10**8)),
            "damaged DICOM file: its PixelData cannot hold 100000000 frames (NumberOfFrames)",
        ),
    ],
)
def test_what_is_no_picture_is_refused(data: Callable[[], bytes], reason: str) -> None:
    assert refusal(data()) == reason


def test_compression_that_nothing_decodes_is_named() -> None:
    image = make()
    image.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    image.PixelData = pydicom.encaps.encapsulate([b"film"])
    image["PixelData"].is_undefined_length = True
    expected = "a DICOM file compressed as MPEG2 Main Profile / Main Level, which is not read"
    assert refusal(encoded(image)) == expected


def test_deflated_bomb_is_refused_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    from ctonnx.images.dicom import dataset as module

    data = encoded(make(syntax=uid.DeflatedExplicitVRLittleEndian))
    begin = 144 + int.from_bytes(data[140:144], "little")
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(30_000_000)) + bomb.flush()
    monkeypatch.setattr(module, "_MOST_INFLATED", 10_000_000)
    reason = refusal(data[:begin] + packed)
    assert reason == "too large to decode safely: it inflates to more than 10000000 bytes"


@pytest.mark.parametrize("empty", [("RescaleSlope",), ("RescaleIntercept",), ("RescaleSlope", "RescaleIntercept")])
def test_rescale_that_an_anonymizer_emptied_is_as_none(empty: tuple[str, ...]) -> None:
    nothing: dict[str, Any] = {"": dict.fromkeys(empty, ""), "none": dict.fromkeys(empty)}
    emptied, absent = make(**nothing[""]), make(**nothing["none"])
    assert refusal(encoded(emptied)) == refusal(encoded(absent))
    assert refusal(encoded(emptied)).startswith(f"a DICOM CT Image Storage without {' and '.join(empty)}, so that")
    kind: dict[str, Any] = {"SOPClassUID": uid.MRImageStorage, "Modality": "MR"}
    emptied, absent = make(**kind, **nothing[""]), make(**kind, **nothing["none"])
    assert load(encoded(emptied)) == load(encoded(absent))


@pytest.mark.parametrize(
    ("written", "found", "reason"),
    [
        (b"", b"", "its RescaleSlope is 0, so that all its values would be one"),
        (b"-1024", b"PETER", "its RescaleIntercept is no number"),
        (b"-1024", b"nan  ", "its RescaleIntercept is no number"),
        (b"MONOCHROME2", b"GEHEIMPETER", "its PhotometricInterpretation is none that is known"),
        (b"\x28\0\3\1US\2\0\1", b"\x28\0\3\1US\2\0\2", "its PixelRepresentation is none that is known"),
        (b"\x28\0\0\1US", b"\x28\0\0\0US", "it has no BitsAllocated"),
    ],
)
def test_element_at_fault_is_named_without_its_value(written: bytes, found: bytes, reason: str) -> None:
    slope = 1 if written else 0
    data = encoded(make(RescaleSlope=slope, RescaleIntercept="-1024"))
    assert written in data
    assert refusal(data.replace(written, found)) == f"damaged DICOM file: {reason}"


@pytest.mark.parametrize(("rows", "columns", "frames"), [(30, 39, 1), (29, 40, 1), (15, 40, 1), (10, 20, 5)])
def test_more_pixels_than_the_geometry_has_are_refused(rows: int, columns: int, frames: int) -> None:
    sheared = make(Rows=rows, Columns=columns, NumberOfFrames=frames)
    assert refusal(encoded(sheared)) == (
        f"damaged DICOM file: its PixelData has 2400 bytes, where {frames} x {rows} x {columns} pixels "
        f"(NumberOfFrames, Rows, Columns) take {2 * rows * columns * frames}"
    )


@pytest.mark.parametrize("padding", [2, 4, 16, 58])
def test_padding_after_the_pixels_is_passed_over(padding: int) -> None:
    assert load(encoded(make(PixelData=HU.tobytes() + bytes(padding)))).image.tobytes() == LUNG.tobytes()


def test_tiny_image_may_be_padded() -> None:
    data = encoded(make(HU[:1, :1], PixelData=HU[:1, :1].tobytes() + bytes(14)))
    assert load(data).size == (1, 1)


def broken_values() -> list[bytes]:
    """Files whose elements do not keep to the standard, with the patient's name in the values."""
    good = encoded(make(PatientName=PATIENT, RescaleIntercept="-1024"))
    return [
        good.replace(b"-1024", b"PETER"),
        good.replace(b"PN", b"XX"),
        good.replace(b"PN", b"DS").replace(b"LO", b"IS"),
        good.replace(b"1.2.840.10008.5.1.4.1.1.2", b"GEHEIM^PETER^AND^HIS^NAME"),
        good.replace(b"MONOCHROME2", b"GEHEIMPETER"),
        good.replace(b"CS\x0c\0MONO", b"UI\x0c\0MONO"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_nothing_of_the_patient_is_said(
    number: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            load(broken_values()[number])
        except ImageError as error:
            told = "".join(traceback.format_exception(error))
    out, err = capfd.readouterr()
    said = " ".join([told, out, err, caplog.text, *(str(warning.message) for warning in warned)])
    assert "GEHEIM" not in said
    assert "PETER" not in said
    assert not logging.getLogger("pydicom").disabled


def test_many_threads_read_and_leave_the_warnings_as_they_were() -> None:
    data = [encoded(make()), *broken_values()]
    before = list(warnings.filters)

    def read(number: int) -> bytes | str:
        try:
            return load(data[number % len(data)]).image.tobytes()
        except ImageError as error:
            return error.reason

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(20 * len(data))))
    assert found[:: len(data)] == [LUNG.tobytes()] * 20
    assert found[: len(data)] * 20 == found
    kept = [entry for entry in warnings.filters if "pydicom" not in str(entry[3])]
    assert kept == [entry for entry in before if "pydicom" not in str(entry[3])]


def test_what_others_do_with_pydicom_is_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    load(encoded(make()))
    logging.getLogger("pydicom").warning("of another")
    assert "of another" in caplog.text


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
def test_without_a_pydicom_that_suits_the_error_says_what_to_install(before: str, reason: str, tmp_path: Path) -> None:
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

nobody = threading.Event()

class Missing:
    def find_spec(self, name, *others):
        if name == "pydicom":
            nobody.wait(0.5)  # the other threads come meanwhile
            raise ModuleNotFoundError("No module named 'pydicom'", name=name)

sys.meta_path.insert(0, Missing())

def reason(number):
    try: load(sys.argv[1])
    except Exception as error: return f"{type(error).__name__} {getattr(error, 'reason', error)}"

with ThreadPoolExecutor(4) as pool:
    print(*sorted(set(pool.map(reason, range(4)))), sep="\\n")
"""


def test_without_pydicom_every_thread_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(encoded(make()))
    command = [sys.executable, "-c", _TWO_THREADS, str(tmp_path / "scan")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == 'ImageError a DICOM file, which needs pydicom; pip install "ctonnx[dicom]"\n'


NEEDED = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
]


@pytest.mark.parametrize("keyword", NEEDED)
def test_element_that_is_missing_or_empty_is_named(keyword: str) -> None:
    missing: dict[str, Any] = {keyword: None}
    assert refusal(encoded(make(**missing))) == f"damaged DICOM file: it has no {keyword}"
    image = make()
    image[keyword].value = None
    assert refusal(encoded(image)) == f"damaged DICOM file: its {keyword} is empty"


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.MRImageStorage, uid.SecondaryCaptureImageStorage])
def test_missing_pixels_are_named(kind: str) -> None:
    expected = f"a DICOM {uid.UID(kind).name} without pixels (it has no PixelData)"
    assert refusal(encoded(make(PixelData=None, SOPClassUID=kind))) == expected


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BitsStored": 0}, "its BitsStored is not from 1 to its BitsAllocated"),
        ({"BitsStored": 17}, "its BitsStored is not from 1 to its BitsAllocated"),
        ({"BitsAllocated": 12}, "its BitsAllocated is none that is known"),
        ({"SamplesPerPixel": 2}, "its SamplesPerPixel is none that is known"),
        ({"SamplesPerPixel": [1, 3]}, "its SamplesPerPixel is none that is known"),
        ({"Rows": [30, 40]}, "its Rows is no whole number"),
        ({"NumberOfFrames": -1}, "its NumberOfFrames is below 0"),
        ({"NumberOfFrames": [1, 2]}, "its NumberOfFrames is no whole number"),
    ],
)
def test_element_that_cannot_be_is_named(elements: dict[str, Any], reason: str) -> None:
    assert refusal(encoded(make(**elements))) == f"damaged DICOM file: {reason}"


@pytest.mark.parametrize("frames", [0, ""])
def test_no_number_of_frames_is_one(frames: object) -> None:
    assert load(encoded(make(NumberOfFrames=frames))).image.tobytes() == LUNG.tobytes()


@pytest.mark.parametrize("elements", [{"WindowWidth": 0}, {"WindowCenter": None, "WindowWidth": 100}])
def test_odd_window_that_is_not_needed_does_not_keep_a_picture(elements: dict[str, Any]) -> None:
    image = make()
    for keyword, value in elements.items():
        image.add_new(keyword, "DS", value)
    assert load(encoded(image)).image.tobytes() == LUNG.tobytes()


def palette(**elements: Any) -> Any:
    image = make(HU.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        setattr(image, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(image, f"{color}PaletteColorLookupTableData", bytes(range(256)))
    for keyword, value in elements.items():
        if value is None:
            delattr(image, keyword)
        else:
            image[keyword].value = value
    return image


@pytest.mark.parametrize("color", ["Red", "Green", "Blue"])
def test_element_of_a_palette_is_named(color: str) -> None:
    name = f"{color}PaletteColorLookupTable"
    assert load(encoded(palette())).mode == "RGB"
    missing, odd = palette(**{f"{name}Descriptor": None}), palette(**{f"{name}Descriptor": [256, 0]})
    assert refusal(encoded(missing)) == f"damaged DICOM file: it has no {name}Descriptor"
    assert refusal(encoded(odd)) == f"damaged DICOM file: its {name}Descriptor is not three numbers"
    assert refusal(encoded(palette(**{f"{name}Data": None}))) == f"damaged DICOM file: it has no {name}Data"


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_element_of_a_lookup_table_is_named(sequence: str) -> None:
    item = pydicom.Dataset()
    item.add_new("LUTData", "US", [0, 40, 80, 120])
    image = make(RescaleSlope=None, RescaleIntercept=None, Modality="CR", SOPClassUID=uid.SecondaryCaptureImageStorage)
    setattr(image, sequence, [item])
    assert refusal(encoded(image)) == f"damaged DICOM file: the LUTDescriptor of its {sequence} is missing"
    del item.LUTData
    item.add_new("LUTDescriptor", "US", [4, 0, 16])
    assert refusal(encoded(image)) == "damaged DICOM file: it has no LUTData"
