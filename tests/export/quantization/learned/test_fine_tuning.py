"""Quantization-aware fine-tuning: an INT8 model that rounding has spoiled comes close to its original again."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tests.export.conftest import make_small_ensemble
from tests.export.quantization.learned.conftest import Narrow

from ctonnx.artifacts.report_schema import TARGETS, Target
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.calibration import Ranges, collect_ranges
from ctonnx_export.quantization.learned import fine_tuning
from ctonnx_export.quantization.learned.fine_tuning import Step, feature_tensors, fine_tune
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors


@pytest.fixture(scope="module")
def spoiled(small_model: onnx.ModelProto, narrow: Ranges) -> onnx.ModelProto:
    return quantize(small_model, narrow, Scheme(calibrator="minmax"))


def error(model: onnx.ModelProto, original: onnx.ModelProto, pixels: NDArray[np.uint8]) -> float:
    found, expected = (run_onnx(of, [pixels]).probabilities for of in (model, original))
    return float(np.abs(found - expected).mean())


def test_a_spoiled_model_comes_close_to_its_original_on_other_images(
    small_model: onnx.ModelProto,
    spoiled: onnx.ModelProto,
    images: ImageSet,
    others: NDArray[np.uint8],
    large_steps: None,
) -> None:
    steps: list[Step] = []
    learned = fine_tune(spoiled, small_model, images, epochs=60, progress=steps.append).as_onnx()
    assert error(spoiled, small_model, others) > 0.02
    assert error(learned, small_model, others) < error(spoiled, small_model, others) / 2
    assert sum(step.images for step in steps) == 60 * len(images)
    assert (steps[0].epoch, steps[-1].epoch) == (1, 60)
    assert steps[-1].loss < steps[0].loss / 2


@pytest.mark.parametrize("target", TARGETS)
def test_the_graph_and_its_types_stay_as_they_are(
    small_model: onnx.ModelProto, narrow: Ranges, images: ImageSet, target: Target
) -> None:
    spoiled = quantize(small_model, narrow, Scheme(calibrator="minmax", target=target))
    learned = fine_tune(spoiled, small_model, images, epochs=1).as_onnx()
    assert [node.SerializeToString() for node in learned.graph.node] == [
        node.SerializeToString() for node in spoiled.graph.node
    ]
    before, after = (
        {weight.name: (weight.data_type, tuple(weight.dims)) for weight in model.graph.initializer}
        for model in (spoiled, learned)
    )
    assert before == after
    zeros = [
        {of.name: numpy_helper.to_array(of).tolist() for of in model.graph.initializer if "zero_point" in of.name}
        for model in (spoiled, learned)
    ]
    assert zeros[0] == zeros[1]
    types = {weight.data_type for weight in learned.graph.initializer}
    assert types >= {onnx.TensorProto.INT8, *([] if target == "tensorrt" else [onnx.TensorProto.INT32])}
    biases = [of for of in learned.graph.initializer if of.name.startswith("a1.bias")]
    assert biases
    assert biases != [of for of in spoiled.graph.initializer if of.name.startswith("a1.bias")]


def test_networks_of_an_ensemble_learn_together(images: ImageSet, scans: NDArray[np.uint8], large_steps: None) -> None:
    ensemble = make_small_ensemble()
    ranges = collect_ranges(ensemble, quantized_tensors(ensemble), [scans])
    ranges.__class__ = Narrow
    before = quantize(ensemble, ranges, Scheme(calibrator="minmax"))
    learned = fine_tune(before, ensemble, images, epochs=8).as_onnx()
    assert feature_tensors(ensemble) == (["b.out.0", "b.out.1"], ["features.0", "features.1"])
    assert error(learned, ensemble, scans) < error(before, ensemble, scans)


def test_the_seed_decides_everything(small_model: onnx.ModelProto, spoiled: onnx.ModelProto, images: ImageSet) -> None:
    one, same, other = (
        fine_tune(spoiled, small_model, images, epochs=1, seed=seed).as_onnx().SerializeToString() for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def test_learning_rate_rises_and_falls_to_nothing() -> None:
    shares = [fine_tuning._share_of_rate(step, 100) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert shares.index(max(shares)) == 9
    assert shares[55] < shares[45] < shares[20]
    assert shares[100] == pytest.approx(0)
    assert fine_tuning._share_of_rate(0, 1) == 1


def test_weights_stay_symmetric(small_model: onnx.ModelProto, spoiled: onnx.ModelProto, images: ImageSet) -> None:
    learned = fine_tune(spoiled, small_model, images, epochs=2).as_onnx()
    weights = [
        numpy_helper.to_array(weight)
        for weight in learned.graph.initializer
        if weight.data_type == onnx.TensorProto.INT8 and len(weight.dims) == 4
    ]
    assert len(weights) == 6
    assert min(weight.min() for weight in weights) >= -127


def test_maps_and_pooled_features_are_found(small_model: onnx.ModelProto) -> None:
    assert feature_tensors(small_model) == (["b.out"], ["features"])
