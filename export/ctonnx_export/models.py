"""Models of one run, a function for each precision: converted, compared, and described in their spec."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from ctonnx.artifacts.golden import Golden
from ctonnx.artifacts.onnx_file.integrity import content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CheckFailed
from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.parity.comparison import Parity, compare
from ctonnx.system.packages import versions_of
from ctonnx.system.text import Log
from ctonnx_export.graph.conversion import convert, strip
from ctonnx_export.graph.execution import run_onnx, run_pytorch
from ctonnx_export.graph.fp16 import find_overflowing, to_half
from ctonnx_export.graph.original import Original
from ctonnx_export.graph.simplification import simplify
from ctonnx_export.image_sets import ImageSet, ImageSets, batches_with_progress
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.input_stem import for_integers
from ctonnx_export.quantization.learned.learn import learn
from ctonnx_export.quantization.qdq import quantized_tensors
from ctonnx_export.quantization.search.judging import Judging
from ctonnx_export.quantization.search.scheme_search import search
from ctonnx_export.quantization.settings import Quantization
from ctonnx_export.trial import ComparisonSet, Trial, UnseenSet, compare_on_test, judge, measure
from ctonnx_train.runs.checkpoint import Checkpoint

__all__ = ["ExportedModel", "comparison_set", "make_fp16", "make_fp32", "make_int8"]

_FEW = 4  # images whose activations one network has in memory at the same time: some 100 MB each at 224 pixels
_LIBRARIES = ("ctonnx", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A converted model, whether it passed its gate or not.

    Attributes:
        precision: Precision of the weights and activations.
        model: ONNX model with its spec in the metadata.
        spec: Description of the model.
        gate: Gate that the model must pass.
        trial: Comparison with FP32 on the images that judge the model; None for FP32 itself.
        facts: Further entries for the report.
    """

    precision: Precision
    model: onnx.ModelProto
    spec: ModelSpec
    gate: Gate
    trial: Trial | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each bound of the gate that the model exceeds; empty if it passed."""
        return self.trial.failures if self.trial else ()


@dataclass(frozen=True)
class _Candidate:
    """A model converted from FP32, before its trial."""

    precision: Precision
    model: onnx.ModelProto
    gate: Gate
    facts: dict[str, Any]
    quantization: dict[str, Any] | None = None
    judging: Judging | None = None


def make_fp32(checkpoint: Checkpoint, original: Original, images: ImageSets, log: Log) -> tuple[ExportedModel, Golden]:
    """Converts a run's network, or its ensemble, to FP32; returns the model and golden inputs with PyTorch's outputs.

    Raises:
        CheckFailed: If the model does not agree with PyTorch on the validation images.
        ModelError: If the run's record has no metrics.
    """
    checkpoint.record.require_metrics()
    graph = original.graph
    if not graph.novelty:
        log("note: the run has no novelty, so the models have no such output; train again to have it")
    validation = images.validation
    reference = run_pytorch(graph, batches_with_progress("outputs of PyTorch", validation))
    pixels = validation.pixels(images.golden)
    log("converting to ONNX and simplifying")
    simplified = simplify(convert(graph, checkpoint.record.preprocessing.size), pixels)
    log(f"parity with PyTorch on {len(validation)} validation images")
    outputs = run_onnx(simplified.model, batches_with_progress("outputs of ONNX", validation))
    parity = compare(reference, outputs)
    gate = GATES["fp32"]
    if failures := gate.failures(parity):
        raise CheckFailed(
            f"the FP32 model of '{checkpoint.run.folder}' does not agree with its PyTorch original on {parity.images} "
            f"validation images: {'; '.join(failures)}. Nothing was written. Look for NaN or very large weights in the "
            "checkpoint, or train again"
        )
    spec = _sealed(simplified.model, _spec(checkpoint, original, parity))
    predicted = np.bincount(reference.probabilities.argmax(axis=1), minlength=len(spec.classes)).tolist()
    fp32 = ExportedModel(
        precision="fp32",
        model=_embed(simplified.model, spec),
        spec=spec,
        gate=gate,
        facts={
            "onnxsim": simplified.note,
            "answered": dict(zip(spec.classes, predicted, strict=True)),
            "parent": checkpoint.record.parent and dict(checkpoint.record.parent),
        },
    )
    return fp32, Golden(pixels, reference[images.golden], original.sha256)


def comparison_set(fp32: ExportedModel, images: ImageSets, log: Log) -> ComparisonSet:
    """Returns the images on which FP16 and INT8 are compared, with the outputs of FP32."""
    numbers = dict.fromkeys(("valid", "train"), 0)
    numbers |= {origin: len(part) for origin, part in zip(images.origins, images.compared, strict=True)}
    added = f", {number} added" if (number := numbers.get("added")) else ""
    log(
        f"comparing on {sum(numbers.values())} images: {numbers['valid']} validation, {numbers['train']} training (not "
        f"used for calibration){added}"
    )
    compared = ComparisonSet(
        parts=images.compared,
        reference=run_onnx(fp32.model, batches_with_progress("outputs of FP32", *images.compared)),
        spec=fp32.spec,
        origins=images.origins,
        patients=images.patients,
        seed=images.seed,
    )
    test = images.choose_test()
    if test is None:
        return compared
    log(f"comparing on {len(test)} test images, too, on which no model is selected")
    reference = run_onnx(fp32.model, batches_with_progress("outputs of FP32", test))
    return replace(compared, test=UnseenSet(images=test, reference=reference))


def make_fp16(fp32: ExportedModel, compared: ComparisonSet, gate: Gate, log: Log) -> ExportedModel:
    """Converts the FP32 model to FP16 and compares the two."""
    plain = onnx.shape_inference.infer_shapes(fp32.model)
    overflowing = find_overflowing(plain, batches_with_progress("range of FP16", *compared.parts, count=_few(fp32)))
    if overflowing:
        log(f"fp16: {len(overflowing)} nodes stay in fp32, as their values on real images come near its limit")
    candidate = _Candidate("fp16", to_half(plain, overflowing), gate, {"in_fp32": list(overflowing)})
    return _finish(candidate, fp32, compared, log)


def make_int8(
    fp32: ExportedModel,
    compared: ComparisonSet,
    calibration: ImageSet,
    quantization: Quantization,
    gate: Gate,
    log: Log,
) -> ExportedModel:
    """Quantizes the FP32 model to INT8, with the best scheme that the search finds; other images judge it.

    With `finetune`, a model that is trained from the calibration images competes with it, on the images that choose.

    Raises:
        CheckFailed: If onnxruntime does not compute a fine-tuned model as its training did.
    """
    plain = onnx.shape_inference.infer_shapes(for_integers(fp32.model, quantization.target))
    with tqdm(total=len(calibration), desc="calibrating", unit="image", leave=False, disable=None) as bar:
        batches = calibration.batches(_few(fp32))
        ranges = collect_ranges(plain, quantized_tensors(plain), batches, progress=bar.update)
    correction = BiasCorrection(plain, calibration)
    found = search(plain, ranges, correction, compared, gate, target=quantization.target, log=log)
    calibrated = {
        "images": len(calibration),
        "asked_for": quantization.samples,
        "blank": calibration.count_blank(),
        "foreign": quantization.calibrate is not None,
        "of": "the run's training images" if quantization.calibrate is None else quantization.calibrate.resolve().name,
    }
    model, scheme, judging = found.model, found.scheme.as_dict(), found.judging
    facts: dict[str, Any] = {"calibration": calibrated, "attempts": [trial.as_dict() for trial in found.trials]}
    if quantization.finetune:
        learned = learn(
            found,
            plain,
            ranges,
            correction,
            calibration,
            compared,
            gate,
            epochs=quantization.finetune_epochs,
            networks=fp32.spec.networks,
            log=log,
        )
        model, scheme, judging = learned.model, learned.scheme, learned.judging
        facts["attempts"] += [trial.as_dict() for trial in learned.trials]
        facts |= learned.facts
    corrected = scheme.get("learned", {"bias_corrected": True})["bias_corrected"]
    images = len(correction.rows) if corrected else 0
    described = {**scheme, "bias_correction": {"images": images}, "calibration": calibrated}
    return _finish(_Candidate("int8", model, gate, facts, described, judging), fp32, compared, log)


def _finish(candidate: _Candidate, fp32: ExportedModel, compared: ComparisonSet, log: Log) -> ExportedModel:
    """Checks a candidate, compares it with FP32, and writes its spec into it."""
    model, precision, gate = candidate.model, candidate.precision, candidate.gate
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    trial, judged = _judge(candidate, compared)
    if trial.parity.decision_agreement is None:  # the file does not promise what nothing has checked
        gate = replace(gate, min_decision_agreement=None)
    interval = [round(end, 6) for end in trial.parity.agreement_interval]
    parity = {**trial.parity.as_dict(), "agreement_interval": interval, "judged": judged}
    quantization = candidate.quantization
    spec = replace(fp32.spec, precision=precision, parity=parity, gate=asdict(gate), quantization=quantization)
    spec = _sealed(model, spec)
    log(f"{precision}: {trial.summary}")
    facts = {
        **candidate.facts,
        "compared": judged["judging"],
        "judged": judged,
        **compare_on_test(model, compared),
    }
    return ExportedModel(precision=precision, model=_embed(model, spec), spec=spec, gate=gate, trial=trial, facts=facts)


def _judge(candidate: _Candidate, compared: ComparisonSet) -> tuple[Trial, dict[str, Any]]:
    """Compares a candidate with FP32 on the images that judge it; returns the trial, and how it was judged.

    A candidate that was chosen must pass on all images, too: on those that chose it, its values are optimistic.
    """
    measured, judging = measure(candidate.model, compared), candidate.judging
    everything = judge(measured, compared, candidate.gate)
    if judging is None:
        return everything, {"method": "all", "choosing": {}, "judging": compared.counts()}
    outputs = measured.outputs if judging.outputs is None else judging.outputs
    trial = judge(replace(measured, outputs=outputs), compared, candidate.gate, judging.judging)
    broken, place = trial.broken, judging.place
    if not broken:
        broken, place = everything.broken, f"on all {len(compared)} compared images"
    named = tuple(bound._replace(phrase=f"{bound.phrase} ({place})") for bound in broken)
    return replace(trial, broken=named), judging.as_dict(compared)


def _few(model: ExportedModel) -> int:
    """Returns the number of images whose activations are in memory at the same time."""
    return max(1, _FEW // model.spec.networks)


def _spec(checkpoint: Checkpoint, original: Original, parity: Parity) -> ModelSpec:
    record = checkpoint.record
    return ModelSpec(
        name=checkpoint.run.name,
        classes=record.classes,
        preprocessing=record.preprocessing,
        precision="fp32",
        created=record.created,
        checkpoint_sha256=original.sha256,
        data={name: value for name, value in record.data.items() if name != "folder"},
        synthetic=record.synthetic,
        metrics=original.metrics,
        parity=parity.as_dict(),
        gate=asdict(GATES["fp32"]),
        versions=versions_of(_LIBRARIES),
        networks=original.networks,
        temperature=original.temperature,
        operating_point=record.operating_point,
        prediction_sets=record.prediction_sets,
        patient_rule=record.patient_rule,
        brightness=record.brightness,
        shortcuts=record.shortcuts,
        acquisition=record.acquisition,
        usage=record.usage,
        novelty=record.novelty if original.graph.novelty else None,
    )


def _sealed(model: onnx.ModelProto, spec: ModelSpec) -> ModelSpec:
    """Returns the spec with the checksum of a model, after checking that the runtime supports its operators."""
    content = model.SerializeToString()
    check_graph(content, name="the converted model")
    return replace(spec, content_checksum=content_checksum(content))


def _embed(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return model
