"""The Secondary Capture: its picture and its references."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from tests.runtime.server.pacs.results.made_results import change, faults_of, needs_dciodvfy, result_of

from ctonnx.server.pacs.results.document import SeriesResult
from ctonnx.server.pacs.results.picture import draw_picture
from ctonnx.server.pacs.results.secondary_capture import secondary_capture

SCAN = Image.new("L", (64, 48), 90)


def written(result: SeriesResult, folder: Path) -> Any:
    file = folder / "capture.dcm"
    secondary_capture(result, SCAN).save_as(file, enforce_file_format=True)
    return pydicom.dcmread(file)


def test_pixels_are_those_of_the_picture(positive: SeriesResult, tmp_path: Path) -> None:
    found = written(positive, tmp_path)
    assert np.array_equal(found.pixel_array, np.asarray(draw_picture(positive, SCAN)))
    assert (found.Modality, found.ConversionType, found.BurnedInAnnotation) == ("OT", "WSD", "YES")
    assert list(found.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert "lungs" in found.DerivationDescription
    assert found.DerivationDescription.endswith("Research, not for diagnosis.")


def test_slice_and_series_are_referenced(positive: SeriesResult, tmp_path: Path) -> None:
    found = written(positive, tmp_path)
    (source,) = found.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == positive.source.instances[1]
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (series,) = found.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == positive.source.series
    uids = [one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence]
    assert sorted(uids) == positive.source.instances


def test_lossy_compression_of_the_source_is_stated(files: list[str], tmp_path: Path) -> None:
    change(files[0], LossyImageCompression="01", LossyImageCompressionRatio="12.5")
    found = written(result_of(files, (0.1, 0.9, 0.6)), tmp_path)
    assert (found.LossyImageCompression, found.LossyImageCompressionRatio) == ("01", 12.5)


def test_no_time_of_the_capture_is_stated(positive: SeriesResult, tmp_path: Path) -> None:
    found = written(positive, tmp_path)
    assert not [name for name in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture") if name in found]


@needs_dciodvfy
def test_dciodvfy_finds_no_error(positive: SeriesResult, tmp_path: Path) -> None:
    written(positive, tmp_path)
    (warning, kind) = sorted(faults_of(tmp_path / "capture.dcm"), reverse=True)
    assert kind == "SCImage"
    assert warning.startswith("Warning - </Laterality(0020,0060)> - is only permitted to be empty when actually unk")
