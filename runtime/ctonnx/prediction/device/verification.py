"""Replays the golden inputs of an exported model on this device."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.artifacts.golden import FILE_NAME, Golden, load_golden
from ctonnx.artifacts.provenance.trust import check_signature
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CheckFailed, ModelError, SignatureError
from ctonnx.inference.providers import Provider, computed_precision
from ctonnx.parity.acceptance_gates import DEVICE_GATES, GATES, Gate
from ctonnx.parity.comparison import Parity, compare
from ctonnx.parity.golden_gate import allow, disagreements
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.files import sha256_of

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of replaying the golden inputs.

    Attributes:
        model: Model file.
        provider: Execution provider that ran the model.
        precision: Precision of the model.
        computed_in: Precision that the provider computes it in, whose gates are used.
        with_pytorch: Parity of the outputs on this device with those of the PyTorch original.
        with_export: Parity of the outputs on this device with the model's own at export.
        pytorch_gate: Bounds for `with_pytorch`: the precision's gate, without those exceeded at export on these images.
        export_gate: Bounds for `with_export`.
        disagreements: Number of images whose top-1 class is not PyTorch's.
        disagreements_allowed: Maximum number of such images; None allows any.
        allowed_because: Reason for that maximum.
        failures: Bounds that the model exceeds, and a changed file; empty if the model agrees with its original.
    """

    model: Path
    provider: Provider
    precision: str
    computed_in: str
    with_pytorch: Parity
    with_export: Parity
    pytorch_gate: Gate
    export_gate: Gate
    disagreements: int
    disagreements_allowed: int | None
    allowed_because: str
    failures: tuple[str, ...]


def verify(
    model: Path,
    *,
    golden: Path | None = None,
    provider: Provider = "cpu",
    threads: int | None = None,
    trust: Sequence[str | os.PathLike[str]] = (),
) -> Verification:
    """Replays the golden inputs of a model on this device and compares the outputs, without PyTorch.

    The outputs must agree with those of the same file at export, and pass the precision's gate against PyTorch's if
    those at export did. A provider that computes FP32 in FP16 has FP16's gates. The file must be the exported one, byte
    for byte.

    Args:
        model: The `.onnx` file.
        golden: File of the golden inputs; None uses `golden.npz` next to the model.
        provider: Execution provider, one of `ctonnx.inference.providers.PROVIDERS`.
        threads: Number of threads; None uses all available cores.
        trust: PEM files of public keys, of which one must have signed the folder, as for `Predictor`.

    Raises:
        ModelError: If a file is missing or damaged, or the golden inputs belong to another model.
        SignatureError: If no trusted key signed the model, or its folder is not as it was signed.
        CheckFailed: If the file was changed so that it cannot be run.
        ProviderError: If the provider does not run here.
    """
    if not model.is_file():
        raise ModelError(f"expected an .onnx file, found no file at '{model}'; list them with: ls runs/*/export")
    if trust:
        check_signature(model.resolve().parent, trust)  # before any other file is read
    file = golden or model.parent / FILE_NAME
    if not file.is_file():
        raise ModelError(
            f"expected the model's golden inputs at '{file}', found none; copy {FILE_NAME} from the export folder with "
            "the model, or name it with --golden"
        )
    kept = load_golden(file)
    digest = sha256_of(model)
    try:
        # A changed file is reported by its digest below, together with the difference of its outputs.
        predictor = Predictor(model, provider=provider, threads=threads, check=False, trust=trust)
    except SignatureError:
        raise
    except ModelError as error:
        if digest in kept.model_sha256.values():
            raise
        raise CheckFailed(
            f"'{model}' was changed since its export, or its {FILE_NAME} is of another export (its SHA-256 is "
            f"{digest[:12]}), and cannot be replayed: {error}"
        ) from error
    with predictor:
        spec = predictor.spec
        _check_golden(kept, spec, file)
        outputs = predictor.predict_pixels(kept.pixels)
        if kept.outputs.heatmap.shape != outputs.heatmap.shape:
            raise ModelError(
                f"expected golden heatmaps of {list(outputs.heatmap.shape)}, found {list(kept.outputs.heatmap.shape)} "
                f"in '{file}'; export again"
            )
    threshold = None if spec.novelty is None else spec.novelty.threshold
    with_pytorch = compare(kept.outputs, outputs, threshold=threshold)
    with_export = compare(kept.model_outputs[spec.precision], outputs, threshold=threshold)
    precision = computed_precision(provider, spec.precision)
    export_gate = DEVICE_GATES[precision]
    allowed = allow(GATES[precision], kept.outputs, kept.model_outputs[spec.precision])
    failures = [f"against PyTorch, {failure}" for failure in allowed.gate.failures(with_pytorch)]
    failures += [f"against its own outputs at export, {failure}" for failure in export_gate.failures(with_export)]
    if digest != kept.model_sha256[spec.precision]:
        failures.insert(
            0,
            f"the file's SHA-256 is {digest[:12]}, that of the exported one {kept.model_sha256[spec.precision][:12]}: "
            f"it was changed since, or its {FILE_NAME} is of another export; copy both files from one export folder",
        )
    return Verification(
        model=model,
        provider=provider,
        precision=spec.precision,
        computed_in=precision,
        with_pytorch=with_pytorch,
        with_export=with_export,
        pytorch_gate=allowed.gate,
        export_gate=export_gate,
        disagreements=disagreements(kept.outputs, outputs),
        disagreements_allowed=allowed.disagreements,
        allowed_because=allowed.reason,
        failures=tuple(failures),
    )


def _check_golden(kept: Golden, spec: ModelSpec, file: Path) -> None:
    """Raises `ModelError` if golden inputs do not belong to a model."""
    if kept.checkpoint_sha256 != spec.checkpoint_sha256:
        raise ModelError(
            f"expected golden inputs of checkpoint {spec.checkpoint_sha256[:12]}, found those of "
            f"{kept.checkpoint_sha256[:12]} in '{file}': they belong to another model; copy the model and its "
            f"{FILE_NAME} from one export folder"
        )
    if spec.precision not in kept.model_outputs:
        found = ", ".join(kept.model_outputs) or "no model"
        raise ModelError(
            f"expected outputs of the {spec.precision} model in '{file}', found those of {found}: they belong to "
            "another export of the run; copy both files from one export folder, or export again"
        )
    size = spec.preprocessing.size
    if kept.pixels.shape[1:] != (size, size, 3):
        raise ModelError(
            f"expected golden pixels of {size} x {size}, found {list(kept.pixels.shape)} in '{file}'; export again"
        )
    if (found := kept.outputs.probabilities.shape[1]) != len(spec.classes):
        raise ModelError(
            f"expected golden outputs of {len(spec.classes)} classes, found those of {found} in '{file}'; export again"
        )
