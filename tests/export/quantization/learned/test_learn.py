"""Fine-tuning within the search: from calibration images alone, judged as any candidate."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.builders import image_set

from ctonnx.errors import CheckFailed
from ctonnx.parity.acceptance_gates import Gate
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import Ranges, collect_ranges
from ctonnx_export.quantization.learned import learn as module
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized
from ctonnx_export.quantization.learned.fine_tuning import fine_tune
from ctonnx_export.quantization.learned.learn import learn
from ctonnx_export.quantization.qdq import quantized_tensors
from ctonnx_export.quantization.search.scheme_search import Search, search
from ctonnx_export.trial import ComparisonSet, judge, measure

EPOCHS = 20
STRICT = Gate(max_dp=0.03, min_agreement=0.9)


def compared_with(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> ComparisonSet:
    reference = run_onnx(model, [pixels])
    labels = reference.probabilities.argmax(axis=1)
    return ComparisonSet(
        parts=(image_set(pixels[:10], labels[:10]), image_set(pixels[10:], labels[10:])), reference=reference, seed=3
    )


@pytest.fixture(scope="module")
def compared(small_model: onnx.ModelProto, others: NDArray[np.uint8]) -> ComparisonSet:
    """Pictures that are not trained on."""
    return compared_with(small_model, others)


@pytest.fixture(scope="module")
def correction(small_model: onnx.ModelProto, images: ImageSet) -> BiasCorrection:
    return BiasCorrection(small_model, images)


@pytest.fixture(scope="module")
def found(small_model: onnx.ModelProto, narrow: Ranges, correction: BiasCorrection, compared: ComparisonSet) -> Search:
    """Result of a search whose candidates all clip most activations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_export.quantization.search.scheme_search._MOST_EXCLUDED", 1)
        return search(small_model, narrow, correction, compared, STRICT)


def test_a_network_that_no_plain_candidate_passes_with_passes_after_fine_tuning(
    small_model: onnx.ModelProto,
    narrow: Ranges,
    correction: BiasCorrection,
    images: ImageSet,
    compared: ComparisonSet,
    found: Search,
    large_steps: None,
) -> None:
    messages: list[str] = []
    assert all(trial.broken for trial in found.trials)
    learned = learn(found, small_model, narrow, correction, images, compared, STRICT, epochs=60, log=messages.append)
    assert learned.facts["learned"]["chosen"]
    assert learned.scheme["learned"]["exactness"] == learned.facts["learned"]["exactness"]
    assert not judge(measure(learned.model, compared), compared, STRICT).broken
    assert learned.judging.method == "folds"
    assert set(learned.judging.folds) <= {f"fine-tuned from {found.start.label}{end}" for end in ENDS}
    assert (learned.scheme["calibrator"], learned.scheme["layers_in_float"]) == (found.start.calibrator, [])
    assert len(learned.trials) == 2
    assert learned.trials[0].parity.images == len(compared)
    assert messages[0] == (
        f"int8: fine-tuning {found.start.label} on 24 calibration images, 60 epochs, with the outputs of FP32 as the "
        "target"
    )
    assert messages[1].startswith("int8: fine-tuning, epoch 1 of 60: loss ")
    assert " left" in messages[1]
    assert " left" not in messages[60]
    assert messages[61].startswith("int8: PyTorch and onnxruntime compute the fine-tuned model alike: max |dp| ")
    assert messages[62].startswith(f"int8, fine-tuned from {found.start.label}: agreement ")
    assert messages[-1] == "int8: the fine-tuned model is chosen"


ENDS = ("", ", bias corrected")


def test_facts_describe_the_training_and_its_exactness(
    small_model: onnx.ModelProto,
    narrow: Ranges,
    correction: BiasCorrection,
    images: ImageSet,
    compared: ComparisonSet,
    found: Search,
) -> None:
    learned = learn(found, small_model, narrow, correction, images, compared, STRICT, epochs=EPOCHS)
    facts = learned.facts["learned"]
    exactness = facts["exactness"]
    assert {**facts, "chosen": None, "exactness": None} == {
        "images": 24,
        "epochs": EPOCHS,
        "seed": 3,
        "from": found.start.label,
        "chosen": None,
        "exactness": None,
    }
    assert (exactness["images"], exactness["bound"]) == (40, 1e-4)
    assert exactness["max_dp"] < 1e-6
    assert facts["chosen"] == ("learned" in learned.scheme)
    assert {trial.scheme["learned"]["bias_corrected"] for trial in learned.trials} == {False, True}
    assert all(trial.scheme["learned"]["epochs"] == EPOCHS for trial in learned.trials)


def test_no_compared_image_changes_the_trained_model(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    others: NDArray[np.uint8],
    images: ImageSet,
    correction: BiasCorrection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither those that choose nor those that judge: with others, the bytes are the same."""
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    trained = []

    def noted(*arguments: Any, **settings: Any) -> FakeQuantized:
        network = fine_tune(*arguments, **settings)
        trained.append(network.as_onnx().SerializeToString())
        return network

    monkeypatch.setattr(module, "fine_tune", noted)
    monkeypatch.setattr("ctonnx_export.quantization.search.scheme_search._MOST_EXCLUDED", 1)
    gate = Gate(max_dp=-1.0, min_agreement=0.5)  # that nothing passes: the search ends with layers in float
    for pixels in (others, 255 - others[:30]):
        of = compared_with(small_model, pixels)
        learn(
            search(small_model, ranges, correction, of, gate),
            small_model,
            ranges,
            correction,
            images,
            of,
            gate,
            epochs=1,
        )
    assert trained[0] == trained[1]


def test_a_fine_tuning_that_does_not_help_is_not_chosen(
    small_model: onnx.ModelProto,
    narrow: Ranges,
    correction: BiasCorrection,
    images: ImageSet,
    compared: ComparisonSet,
    found: Search,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ruined(quantized: onnx.ModelProto, *arguments: Any, **settings: Any) -> FakeQuantized:
        network = FakeQuantized(quantized, small_model, ["probabilities"])
        for value in network.values.values():
            value.data.zero_()
        return network

    monkeypatch.setattr(module, "fine_tune", ruined)
    plain = replace(found, measured=measure(small_model, compared, found.scheme.as_dict()))
    messages: list[str] = []
    learned = learn(plain, small_model, narrow, correction, images, compared, STRICT, epochs=1, log=messages.append)
    assert messages[-1] == "int8: no fine-tuned model is better: chosen is the one without"
    assert learned.model is found.model
    assert "learned" not in learned.scheme
    assert learned.facts["learned"]["chosen"] is False


def test_few_calibration_images_do_not_correct_the_bias(
    small_model: onnx.ModelProto,
    narrow: Ranges,
    scans: NDArray[np.uint8],
    compared: ComparisonSet,
    found: Search,
) -> None:
    few = image_set(scans[:4], np.zeros(4, np.int64))
    learned = learn(found, small_model, narrow, BiasCorrection(small_model, few), few, compared, STRICT, epochs=1)
    assert len(learned.trials) == 1


def test_a_graph_that_onnxruntime_computes_otherwise_is_rejected(
    small_model: onnx.ModelProto,
    narrow: Ranges,
    correction: BiasCorrection,
    images: ImageSet,
    compared: ComparisonSet,
    found: Search,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(FakeQuantized):
        """A module whose graph is not its own."""

        def as_onnx(self) -> onnx.ModelProto:
            model = super().as_onnx()
            weight = next(weight for weight in model.graph.initializer if weight.name == "stem.relu_scale")
            values = onnx.numpy_helper.to_array(weight) * np.float32(1.02)
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weight.name))
            return model

    def altered(quantized: onnx.ModelProto, original: onnx.ModelProto, *arguments: Any, **of: Any) -> FakeQuantized:
        return Other(quantized, original, ["probabilities"])

    monkeypatch.setattr(module, "fine_tune", altered)
    with pytest.raises(CheckFailed, match="expected onnxruntime to compute the fine-tuned INT8 model as its training"):
        learn(found, small_model, narrow, correction, images, compared, STRICT, epochs=1)
