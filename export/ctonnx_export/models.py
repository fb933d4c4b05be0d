"""The models of one run, one function for each precision: made, compared, and described in their spec."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from ctonnx.artifacts.golden import Golden
from ctonnx.artifacts.onnx_file.integrity import content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx.artifacts.spec import ModelSpec, Precision
from ctonnx.errors import CheckFailed
from ctonnx.parity.comparison import Parity, compare
from ctonnx.parity.gates import GATES, Gate
from ctonnx.parity.outputs import Outputs
from ctonnx.system.packages import versions_of
from ctonnx.system.text import Log
from ctonnx_export.graph.conversion import convert, strip
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_onnx, run_pytorch
from ctonnx_export.graph.fp16 import find_overflowing, to_half
from ctonnx_export.graph.simplification import simplify
from ctonnx_export.image_sets import ImageSet, golden_rows, held_out_images, shown
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.input_stem import for_integers
from ctonnx_export.quantization.qdq import quantized_tensors
from ctonnx_export.quantization.search import search
from ctonnx_export.quantization.settings import Quantization
from ctonnx_export.trial import ComparisonSet, Trial, try_model
from ctonnx_train.runs.checkpoint import Checkpoint

__all__ = ["ExportedModel", "images_to_compare", "make_fp16", "make_fp32", "make_int8"]

_COMPARED_IMAGES = 1000
_FEW = 4  # images whose activations are all in memory at a time: some 100 MB each at 224 pixels
_LIBRARIES = ("ctonnx", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A model that was made.

    Attributes:
        precision: Its own.
        model: with its spec in it.
        spec: what it says about itself.
        gate: that it has to pass.
        trial: how it did against FP32; None for FP32 itself.
        facts: what else the report tells of it.
    """

    precision: Precision
    model: onnx.ModelProto
    spec: ModelSpec
    gate: Gate
    trial: Trial | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each bound of the gate that it breaks."""
        return self.trial.failures if self.trial else ()


def make_fp32(checkpoint: Checkpoint, validation: ImageSet, log: Log) -> tuple[ExportedModel, Golden]:
    """Returns the FP32 model, which agrees with PyTorch, and golden inputs with PyTorch's answers.

    Args:
        checkpoint: of the run.
        validation: Its validation images.
        log: Called with each progress message.

    Raises:
        CheckFailed: it does not agree.
        ModelError: The run's record lacks what an export shows.
    """
    checkpoint.record.require_metrics()
    size = checkpoint.record.preprocessing.size
    graph = DeployGraph(checkpoint.network, checkpoint.record.temperature)
    reference = run_pytorch(graph, shown("answers of PyTorch", validation))
    chosen = golden_rows(validation.labels.tolist())
    pixels = validation.pixels(chosen)
    log("converting to ONNX and simplifying")
    simplified = simplify(convert(graph, size), pixels)
    log(f"parity with PyTorch on {len(validation)} validation images")
    parity = compare(reference, run_onnx(simplified.model, shown("answers of ONNX", validation)))
    gate = GATES["fp32"]
    if failures := gate.failures(parity):
        raise CheckFailed(
            f"the FP32 model of '{checkpoint.run.folder}' does not agree with its PyTorch original on {parity.images} "
            f"validation images: {'; '.join(failures)}. Nothing was written. Look for NaN or very large weights in the "
            "checkpoint, or train again"
        )
    spec = _sealed(simplified.model, _spec(checkpoint, parity))
    made = ExportedModel(
        precision="fp32",
        model=_embed(simplified.model, spec),
        spec=spec,
        gate=gate,
        facts={"onnxsim": simplified.note, "answered": _answered(reference, checkpoint.record.classes)},
    )
    return made, Golden(pixels, reference[chosen], checkpoint.sha256)


def images_to_compare(
    checkpoint: Checkpoint,
    root: Path,
    fp32: ExportedModel,
    validation: ImageSet,
    calibration: ImageSet | None,
    log: Log,
) -> ComparisonSet:
    """Returns the images that FP16 and INT8 are judged by, with FP32's answers.

    Agreement needs no images that the network has not seen, only such that calibration has not. So training images
    stand beside the validation images, up to 1,000 in all or as many as there are for validation. One borderline scan
    in a small validation folder decides nothing then.

    Args:
        checkpoint: of the run.
        root: The folder or `.npz` file with its images.
        fp32: The reference.
        validation: Its validation images.
        calibration: what INT8 is calibrated on; None where it is not made.
        log: Called with each progress message.
    """
    count = _COMPARED_IMAGES - len(validation)
    others = (
        held_out_images(checkpoint, root, count=count, avoid=validation.digests, calibration=calibration)
        if count > 0
        else None
    )
    parts = (validation, others) if others else (validation,)
    log(
        f"comparing on {sum(map(len, parts))} images: {len(validation)} for validation, "
        f"{len(others) if others else 0} for training that calibration does not use"
    )
    reference = run_onnx(fp32.model, shown("answers of FP32", *parts))
    return ComparisonSet(parts=parts, reference=reference, spec=fp32.spec)


def make_fp16(fp32: ExportedModel, compared: ComparisonSet, gate: Gate, log: Log) -> ExportedModel:
    """Returns the FP16 model, whether it passes its gate or not.

    Args:
        fp32: what it is made from.
        compared: what it is compared on.
        gate: that it has to pass.
        log: Called with each progress message.
    """
    plain = _with_shapes(fp32.model)
    overflowing = find_overflowing(plain, shown("what fp16 can hold", *compared.parts, count=_FEW))
    if overflowing:
        log(f"fp16: {len(overflowing)} nodes stay in fp32, real images come near what fp16 can hold there")
    return _finish("fp16", to_half(plain, overflowing), fp32, compared, gate, {"in_fp32": list(overflowing)}, log)


def make_int8(
    fp32: ExportedModel,
    compared: ComparisonSet,
    calibration: ImageSet,
    quantization: Quantization,
    gate: Gate,
    log: Log,
) -> ExportedModel:
    """Returns the best INT8 model that was found, whether it passes its gate or not.

    Args:
        fp32: what it is made from.
        compared: what the candidates are compared on.
        calibration: The images that the activations' ranges are taken from.
        quantization: how it is to be made.
        gate: that it has to pass.
        log: Called with each progress message.
    """
    plain = _with_shapes(for_integers(fp32.model, quantization.target))
    with tqdm(total=len(calibration), desc="calibrating", unit="image", leave=False, disable=None) as bar:
        batches = calibration.batches(_FEW)
        ranges = collect_ranges(plain, quantized_tensors(plain), batches, progress=bar.update)
    correction = BiasCorrection(plain, calibration)
    found = search(plain, ranges, correction, compared, gate, target=quantization.target, log=log)
    calibrated = {
        "images": len(calibration),
        "asked_for": quantization.samples,
        "blank": calibration.blank(),
        "foreign": quantization.calibrate is not None,
        "of": "the run's training images" if quantization.calibrate is None else quantization.calibrate.resolve().name,
    }
    facts: dict[str, Any] = {"calibration": calibrated, "attempts": [attempt.as_dict() for attempt in found.attempts]}
    corrected = {"images": len(correction.rows)}
    described = {**found.scheme.as_dict(), "bias_correction": corrected, "calibration": calibrated}
    return _finish("int8", found.model, fp32, compared, gate, facts, log, quantization=described)


def _finish(
    precision: Precision,
    model: onnx.ModelProto,
    fp32: ExportedModel,
    compared: ComparisonSet,
    gate: Gate,
    facts: dict[str, Any],
    log: Log,
    *,
    quantization: dict[str, Any] | None = None,
) -> ExportedModel:
    """Checks a model made from FP32, tries it, and describes it."""
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    trial = try_model(model, compared, gate)
    spec = replace(
        fp32.spec, precision=precision, parity=trial.parity.as_dict(), gate=asdict(gate), quantization=quantization
    )
    spec = _sealed(model, spec)
    log(f"{precision}: {trial.summary}")
    facts = {**facts, "compared": compared.counts}
    return ExportedModel(precision=precision, model=_embed(model, spec), spec=spec, gate=gate, trial=trial, facts=facts)


def _answered(outputs: Outputs, classes: Sequence[str]) -> dict[str, int]:
    """Returns how often each class is the most probable one."""
    counts = np.bincount(outputs.probabilities.argmax(axis=1), minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(model)


def _spec(checkpoint: Checkpoint, parity: Parity) -> ModelSpec:
    record = checkpoint.record
    return ModelSpec(
        name=checkpoint.run.name,
        classes=record.classes,
        preprocessing=record.preprocessing,
        precision="fp32",
        created=record.created,
        checkpoint_sha256=checkpoint.sha256,
        data={name: value for name, value in record.data.items() if name != "folder"},
        synthetic=record.synthetic,
        metrics=record.metrics,
        parity=parity.as_dict(),
        gate=asdict(GATES["fp32"]),
        versions=versions_of(_LIBRARIES),
        temperature=record.temperature,
        operating_point=record.operating_point,
    )


def _sealed(model: onnx.ModelProto, spec: ModelSpec) -> ModelSpec:
    """Returns the spec with the checksum of a model, once it is one that the runtime runs."""
    content = model.SerializeToString()
    check_graph(content, name="the model that was made")
    return replace(spec, content_checksum=content_checksum(content))


def _embed(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return model
