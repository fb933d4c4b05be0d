"""Models of a run: the spec of an early run, and the reference outputs of the comparison."""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from tests.export.builders import SAME, SPEC

from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.acceptance_gates import GATES
from ctonnx_export import models
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import ImageSets
from ctonnx_export.models import ExportedModel, comparison_set
from ctonnx_export.trial import ComparisonSet
from ctonnx_train.runs.checkpoint import load_checkpoint


def test_run_of_an_earlier_release_is_exported_without_missing_values(exported_run: Run) -> None:
    checkpoint = load_checkpoint(exported_run)
    data = {name: value for name, value in checkpoint.record.data.items() if name != "leaks"}
    record = replace(checkpoint.record, temperature=1.0, operating_point=None, data=data)
    spec = models._spec(replace(checkpoint, record=record), SAME)
    assert (spec.temperature, spec.operating_point, "leaks" in spec.data) == (1.0, None, False)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_reference_of_the_comparison_is_fp32_on_all_compared_images(
    small_model: onnx.ModelProto, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    first, second = compared.parts
    images = ImageSets(validation=first, golden=np.arange(6), choose_held_out=lambda: second)
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=SPEC, gate=GATES["fp32"])
    messages: list[str] = []
    found = comparison_set(fp32, images, messages.append)
    assert messages == ["comparing on 24 images: 6 validation, 18 training (not used for calibration)"]
    assert (found.parts, found.spec, found.counts) == (compared.parts, SPEC, {"valid": 6, "train": 18})
    np.testing.assert_allclose(found.reference.logits, run_onnx(small_model, [scans]).logits, rtol=0, atol=1e-5)
