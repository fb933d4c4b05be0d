"""`verify`: replays the golden inputs of an exported model on this device."""

from dataclasses import dataclass
from pathlib import Path

from ctonnx.artifacts.golden import FILE_NAME, load_golden
from ctonnx.errors import CheckFailed, ModelError
from ctonnx.inference.providers import Provider
from ctonnx.parity.comparison import Parity, compare
from ctonnx.parity.gates import DEVICE_GATES, GATES, Gate
from ctonnx.parity.golden_gate import allow, disagreements
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.files import sha256_of

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of a replay.

    Attributes:
        model: The file.
        provider: that ran it.
        precision: of the model.
        with_pytorch: how far its answers here lie from its PyTorch original's.
        with_export: how far they lie from its own where it was exported.
        pytorch_gate: what they have to keep against PyTorch's: the precision's gate, without what the exporting
            machine's did not keep for these few images either, so that this device is not to blame.
        export_gate: what they have to keep against their own.
        disagreements: The number of images whose most probable class is not PyTorch's.
        disagreements_allowed: The number of images that may have another one; None allows any.
        allowed_because: Why so many.
        failures: what is wrong; none where the model says here what its original said.
    """

    model: Path
    provider: Provider
    precision: str
    with_pytorch: Parity
    with_export: Parity
    pytorch_gate: Gate
    export_gate: Gate
    disagreements: int
    disagreements_allowed: int | None
    allowed_because: str
    failures: tuple[str, ...]


def verify(
    model: Path, *, golden: Path | None = None, provider: Provider = "cpu", threads: int | None = None
) -> Verification:
    """Replays the golden inputs of a model on this device and compares the answers; needs no PyTorch.

    The answers must stay near those that the same file gave where it was exported, and keep the precision's gate
    against PyTorch's where those did. The file must be the one that was exported, byte for byte.

    Args:
        model: The `.onnx` file.
        golden: Its golden inputs; None takes those beside it.
        provider: that is to run it, one of `ctonnx.inference.providers.PROVIDERS`.
        threads: for the session; None takes every core that this process may use.

    Raises:
        ModelError: A file is missing or damaged, or the golden inputs belong to another model.
        CheckFailed: The file was altered so that it cannot be run.
        ProviderError: The provider cannot run here.
    """
    if not model.is_file():
        raise ModelError(f"expected an .onnx file, found no file at '{model}'; see which there are: ls runs/*/export")
    file = golden or model.parent / FILE_NAME
    if not file.is_file():
        raise ModelError(
            f"expected the model's golden inputs at '{file}', found none; copy {FILE_NAME} from the export folder with "
            "the model, or name it with --golden"
        )
    kept = load_golden(file)
    digest = sha256_of(model)
    try:
        # What its checksum says, the digest says too; here its answers say how far it is from what it was.
        predictor = Predictor(model, provider=provider, threads=threads, check=False)
    except ModelError as error:
        if digest in kept.model_sha256.values():
            raise
        raise CheckFailed(
            f"'{model}' was altered since it was exported, or its {FILE_NAME} is of another export (its SHA-256 is "
            f"{digest[:12]}), and cannot be replayed: {error}"
        ) from error
    with predictor:
        spec = predictor.spec
        if kept.checkpoint_sha256 != spec.checkpoint_sha256:
            raise ModelError(
                f"expected golden inputs of checkpoint {spec.checkpoint_sha256[:12]}, found those of "
                f"{kept.checkpoint_sha256[:12]} in '{file}': they belong to another model; copy the model and its "
                f"{FILE_NAME} from one export folder"
            )
        if spec.precision not in kept.answers:
            found = ", ".join(kept.answers) or "no model"
            raise ModelError(
                f"expected answers of the {spec.precision} model in '{file}', found those of {found}: they belong to "
                "another export of the run; copy both from one export folder, or export again"
            )
        size = spec.preprocessing.size
        if kept.pixels.shape[1:] != (size, size, 3):
            raise ModelError(
                f"expected golden pixels of {size} x {size}, found {list(kept.pixels.shape)} in '{file}'; export again"
            )
        if (found := kept.outputs.probabilities.shape[1]) != len(spec.classes):
            raise ModelError(
                f"expected golden answers of {len(spec.classes)} classes, found those of {found} in '{file}'; export "
                "again"
            )
        outputs = predictor.predict_pixels(kept.pixels)
        if kept.outputs.heatmap.shape != outputs.heatmap.shape:
            raise ModelError(
                f"expected golden heatmaps of {list(outputs.heatmap.shape)}, found {list(kept.outputs.heatmap.shape)} "
                f"in '{file}'; export again"
            )
    with_pytorch = compare(kept.outputs, outputs)
    with_export = compare(kept.answers[spec.precision], outputs)
    export_gate = DEVICE_GATES[spec.precision]
    allowed = allow(GATES[spec.precision], kept.outputs, kept.answers[spec.precision])
    failures = [f"against PyTorch, {failure}" for failure in allowed.gate.failures(with_pytorch)]
    failures += [
        f"against its own answers where it was exported, {failure}" for failure in export_gate.failures(with_export)
    ]
    if digest != kept.model_sha256[spec.precision]:
        failures.insert(
            0,
            f"the file's SHA-256 is {digest[:12]}, that of the exported one {kept.model_sha256[spec.precision][:12]}: "
            f"it was altered since, or its {FILE_NAME} is of another export; copy both from one export folder",
        )
    return Verification(
        model=model,
        provider=provider,
        precision=spec.precision,
        with_pytorch=with_pytorch,
        with_export=with_export,
        pytorch_gate=allowed.gate,
        export_gate=export_gate,
        disagreements=disagreements(kept.outputs, outputs),
        disagreements_allowed=allowed.disagreements,
        allowed_because=allowed.reason,
        failures=tuple(failures),
    )
