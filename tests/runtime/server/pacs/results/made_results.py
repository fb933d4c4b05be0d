"""Series of DICOM files with chosen scores, and their results, without a model."""

import shutil
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.runtime.prediction.dicom_slices import write_slice
from tests.runtime.prediction.made_groups import SPEC, prediction

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.series.grouping import Group, group_files
from ctonnx.prediction.series.ordering import in_order
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRule, Reduction
from ctonnx.prediction.series.slices import slice_reader
from ctonnx.server.pacs.results.codes import ClassCodes
from ctonnx.server.pacs.results.document import ImageResult, ResultModel, SeriesResult
from ctonnx.server.pacs.results.source import read_source

CODES = {"tumor": ("SCT", "363358000", "Malignant tumor of lung")}
PRIVATE = "Unrecognized defined term = <99CTONNX>"
"""Warning of dciodvfy, which knows no private scheme."""

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed"
)
needs_dsrdump = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump (Debian's dcmtk) is not installed")


def write_series(folder: Path, count: int = 3, **options: Any) -> list[str]:
    """Writes a series of slices of noise, and returns the files in the order of the body."""
    noise = np.random.default_rng(1).integers(0, 256, (count, 48, 64)).astype(float)
    return [
        str(write_slice(folder / f"{number}.dcm", pixels, z=2.5 * number, instance=number + 1, **options))
        for number, pixels in enumerate(noise)
    ]


def change(file: str | Path, **elements: Any) -> None:
    """Changes elements of a DICOM file, also to invalid values; None removes one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(file)
        for keyword, value in elements.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)
        data.save_as(file, enforce_file_format=False)


def model_of(spec: ModelSpec = SPEC, sha256: str = "ab" * 32, codes: ClassCodes | None = None) -> ResultModel:
    rule = GroupRule.of(spec)
    assert rule is not None
    return ResultModel(spec=spec, rule=rule, sha256=sha256, codes=codes or ClassCodes())


def predicted_series(
    files: Sequence[str], scores: Sequence[float], spec: ModelSpec = SPEC
) -> tuple[Group, GroupPrediction, list[Prediction]]:
    """Returns the group of the files, its prediction, and those of its slices, as `ctonnx predict` makes them."""
    read = slice_reader(Pseudonyms(bytes(32)), needs_dicom=True)
    (group,) = group_files(files, "series", read).groups
    rule = GroupRule.of(spec)
    assert rule is not None
    ordered = in_order(group.files)
    reduction, found = Reduction(group, ordered, spec, rule), []
    for one, score in zip(ordered.slices, scores, strict=True):
        decision: Any = "positive" if score >= rule.point.threshold else "negative"
        record = prediction(one.file, score, decision=decision)
        record = replace(record, heatmap=np.tile(record.heatmap, (1, 2, 2)))
        assert reduction.takes(record)
        reduction.add(record)
        found.append(record)
    result = reduction.result()
    assert isinstance(result, GroupPrediction)
    return group, result, found


def result_of(
    files: Sequence[str], scores: Sequence[float], model: ResultModel | None = None, **changes: Any
) -> SeriesResult:
    """Returns the result of a series; changes are made to the results of its images."""
    model = model or model_of()
    _, record, found = predicted_series(files, scores, model.spec)
    images = [ImageResult.of(one)._replace(**changes) for one in found]
    return SeriesResult(source=read_source(files), prediction=record, images=images, model=model)


def faults_of(file: Path) -> list[str]:
    """Returns the lines of dciodvfy about a file, without its warnings about the private scheme and DICOMDIR."""
    done = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, check=False)  # noqa: S607
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line and PRIVATE not in line and "needed to build DICOMDIR" not in line]
