"""What each made model is told and described by: its golden inputs, its spec, and the images it is judged on."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.comparison import Parity
from ctonnx.parity.gates import GATES
from ctonnx.parity.outputs import Outputs
from ctonnx_export import models
from ctonnx_export.image_sets import ImageSet, calibration_images, golden_rows, validation_images
from ctonnx_export.models import ExportedModel, images_to_compare
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint


def test_golden_images_are_taken_from_each_class_in_turn() -> None:
    labels = [0] * 20 + [1] * 2 + [2] * 20
    assert [labels[row] for row in golden_rows(labels)] == [0, 0, 0, 1, 1, 2, 2, 2]


def test_run_of_an_earlier_release_is_exported_without_what_it_lacks(exported_run: Run) -> None:
    checkpoint = load_checkpoint(exported_run)
    data = {name: value for name, value in checkpoint.record.data.items() if name != "leaks"}
    record = replace(checkpoint.record, temperature=1.0, operating_point=None, data=data)
    parity = Parity(
        images=8,
        max_dp=0.0,
        mean_dp=0.0,
        max_dlogit=0.0,
        max_dheatmap=0.0,
        agreement=1.0,
        heatmap_correlation=1.0,
        lowest_heatmap_correlation=1.0,
    )
    spec = models._spec(replace(checkpoint, record=record), parity)
    assert (spec.temperature, spec.operating_point, "leaks" in spec.data) == (1.0, None, False)
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Notes how many images FP32 is run on, in place of running it."""
    seen: list[int] = []

    def note(model: object, batches: Iterable[NDArray[np.uint8]]) -> Outputs:
        seen.append(sum(len(pixels) for pixels in batches))
        return Outputs(*(np.zeros((1, 2), np.float32),) * 3)

    monkeypatch.setattr(models, "run_onnx", note)
    return seen


def compared_parts(
    exported_run: Run, phantoms: Path, *, calibrated: int | None
) -> tuple[Checkpoint, tuple[ImageSet, ...], list[str]]:
    checkpoint = load_checkpoint(exported_run)
    validation = validation_images(checkpoint, phantoms)
    calibration = (
        None
        if calibrated is None
        else calibration_images(checkpoint, phantoms, calibrate=None, count=calibrated, avoid=validation.digests)
    )
    said: list[str] = []
    spec = models._spec(checkpoint, NOTHING)
    fp32 = ExportedModel(precision="fp32", model=None, spec=spec, gate=GATES["fp32"])  # type: ignore[arg-type]
    compared = images_to_compare(checkpoint, phantoms, fp32, validation, calibration, said.append)
    return checkpoint, compared.parts, said


NOTHING = Parity(
    images=8,
    max_dp=0.0,
    mean_dp=0.0,
    max_dlogit=0.0,
    max_dheatmap=0.0,
    agreement=1.0,
    heatmap_correlation=1.0,
    lowest_heatmap_correlation=1.0,
)


def test_validation_images_come_first_and_training_images_that_calibration_left_follow(
    exported_run: Run, phantoms: Path, answers: list[int]
) -> None:
    checkpoint, (first, second), said = compared_parts(exported_run, phantoms, calibrated=10)
    assert first.samples == checkpoint.samples("valid")
    assert (len(first), len(second), answers) == (8, 6, [14])
    assert said == ["comparing on 14 images: 8 for validation, 6 for training that calibration does not use"]


def test_fp16_alone_is_judged_on_all_training_images_too(exported_run: Run, phantoms: Path, answers: list[int]) -> None:
    _, parts, _ = compared_parts(exported_run, phantoms, calibrated=None)
    assert [len(part) for part in parts] == [8, 16]


def test_no_more_than_a_bound_of_images_are_compared_but_all_validation_images_are(
    exported_run: Run, phantoms: Path, answers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models._COMPARED_IMAGES == 1000
    monkeypatch.setattr(models, "_COMPARED_IMAGES", 12)
    assert [len(part) for part in compared_parts(exported_run, phantoms, calibrated=4)[1]] == [8, 4]
    monkeypatch.setattr(models, "_COMPARED_IMAGES", 5)
    assert [len(part) for part in compared_parts(exported_run, phantoms, calibrated=4)[1]] == [8]
