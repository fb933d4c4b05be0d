"""Header of a slice: its place in a series, under pseudonyms."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.prediction.dicom_slices import CORONAL, write_slice

from ctonnx.errors import CtonnxError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.slices import SliceRecord, slice_reader

NAMES = Pseudonyms(bytes(32))
BLACK = np.zeros((8, 8))


def test_record_has_the_header_under_pseudonyms(tmp_path: Path) -> None:
    file = write_slice(tmp_path / "IM1", BLACK, patient="B", series=4, z=-12.5, instance=3, kernel="B60f", thickness=1)
    found = slice_reader(NAMES, needs_dicom=True)(str(file))
    assert found == SliceRecord(
        str(file),
        patient=NAMES.of("patient", "PID-4711B"),
        study=NAMES.of("study", "1.2.826.77.66.1"),
        series=NAMES.of("series", "1.2.826.77.66.1.4"),
        position=-12.5,
        instance=3,
        plane="axial",
        kernel="B60f",
        thickness=1.0,
        modality="CT",
        is_dicom=True,
        image=NAMES.of("image", "1.2.826.77.66.1.4.3"),
    )


def test_slices_without_a_series_are_those_of_their_study_or_folder() -> None:
    def key(file: str, study: str, series: str) -> tuple[str, str, str]:
        return SliceRecord(file, study=study, series=series).series_key

    assert key("a/1", "s", "1") == key("b/2", "s", "1") != key("a/1", "t", "1")
    assert key("a/1", "s", "") == key("b/2", "s", "") != key("a/1", "t", "")
    assert key("a/1", "", "") == key("a/2", "", "") != key("b/1", "", "")
    assert key("a/1", "", "1") == key("b/1", "", "1")


def test_localizer_and_plane_are_read(tmp_path: Path) -> None:
    file = write_slice(tmp_path / "scout.dcm", BLACK, orientation=CORONAL, localizer=True)
    found = slice_reader(NAMES, needs_dicom=True)(str(file))
    assert (found.plane, found.is_localizer) == ("coronal", True)


def test_texts_that_slices_share_are_kept_once(tmp_path: Path) -> None:
    read = slice_reader(NAMES, needs_dicom=True)
    one, other = (read(str(write_slice(tmp_path / name, BLACK))) for name in ("1.dcm", "2.dcm"))
    assert one.series is other.series
    assert one.kernel is other.kernel


def test_other_files_have_only_their_path(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "empty.dcm").touch()
    read = slice_reader(NAMES, needs_dicom=True)
    for file in (tmp_path / "a.png", tmp_path / "empty.dcm", tmp_path / "missing.dcm", tmp_path):
        assert read(str(file)) == SliceRecord(str(file))


def test_pydicom_is_needed_for_series_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "ctonnx.images.dicom.identity":
            raise ImportError("No module named 'pydicom'", name="pydicom")
        return original(name, *rest, **more)

    file = str(write_slice(tmp_path / "a.dcm", BLACK))
    monkeypatch.setattr(builtins, "__import__", without)
    assert slice_reader(NAMES, needs_dicom=False)(file) == SliceRecord(file, is_dicom=True)
    with pytest.raises(CtonnxError, match=r'found none; pip install "ctonnx\[dicom\]", or use --by folder$'):
        slice_reader(NAMES, needs_dicom=True)(file)


def test_a_file_after_the_first_dicom_file_is_dicom_only_if_it_is(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    read = slice_reader(Pseudonyms(bytes(32)), needs_dicom=True)
    files = [str(get_testdata_file("CT_small.dcm")), str(tmp_path / "a.png"), str(tmp_path / "missing")]
    assert [read(file).is_dicom for file in files] == [True, False, False]
