"""Compares a contender's outputs with a reference by a gate: the verdict of a benchmark."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.golden import FILE_NAME, load_golden
from ctonnx.inference.providers import Provider, computed_precision
from ctonnx.parity.acceptance_gates import DEVICE_GATES, GATES, Gate
from ctonnx.parity.comparison import Parity, accuracy_change, compare
from ctonnx.parity.golden_gate import allow
from ctonnx.parity.intervals import share_interval
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.contenders import Contender, Model
from ctonnx_bench.cases.images import CheckImages

__all__ = ["Verdict", "altered", "gate_of", "judge"]


@dataclass(frozen=True)
class Verdict:
    """Verdict on a contender's outputs.

    Attributes:
        parity: Comparison with the reference.
        gate: Gate that the outputs must pass.
        accuracy: `value`, `low`, `high` (95 %, Wilson 1927) on `images`, and `change`: the difference to the
            reference's accuracy with its interval; None without labels.
        failures: Broken bounds and other reasons why the outputs are wrong.
        not_shown: Bounds that the measured values miss, although the images do not show that the outputs miss them.
        unproven: Reason why agreement with the reference proves nothing: `reference` (the file is compared only with
            itself) or `unjudged` (the reference is wrong); None if it does.
    """

    parity: Parity
    gate: Gate
    accuracy: dict[str, Any] | None = None
    failures: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()
    unproven: Literal["reference", "unjudged"] | None = None

    @property
    def state(self) -> str:
        """One of `wrong`, `not shown`, `right` and the values of `unproven`."""
        return "wrong" if self.failures else self.unproven or ("not shown" if self.not_shown else "right")


_FEW = 50  # images: two of eight that change places have a rank correlation of 0.976, as in `golden_gate.allow`


def judge(
    contender: Contender,
    outputs: Outputs,
    reference: Outputs,
    images: CheckImages,
    gate: Gate | None,
    *,
    novelty_threshold: float | None = None,
    provider: Provider = "cpu",
) -> Verdict:
    """Compares a contender's outputs for all images with the reference, by the measured values without rounding.

    If a share of the images misses its bound, but its 95 % interval includes the bound, the images show neither: the
    outputs are not wrong, and are not called right. The gate is the one that the model was shipped with; None uses its
    precision's. A provider that computes an FP32 file in FP16 has FP16's gates. An image whose novelty exceeds the
    threshold is flagged.
    """
    if outputs.novelty is None or reference.novelty is None:  # a model of schema 1 has none
        outputs, reference = replace(outputs, novelty=None), replace(reference, novelty=None)
    parity = compare(reference, outputs, threshold=novelty_threshold)
    change = accuracy_change(reference, outputs, images.labels)
    precision = computed_precision(provider, contender.precision) if contender.own else contender.precision
    if gate is None or precision != contender.precision:
        gate = GATES[precision]
    if parity.images < _FEW:
        gate = replace(gate, min_novelty_correlation=None, min_novelty_agreement=None)
    broken = gate.broken(parity, change)
    certain = [bound for bound in broken if not bound.interval]
    not_shown = [
        f"{bound.phrase}, which its 95 % interval, {bound.interval}, includes: {parity.images} images do not show "
        "which it is"
        for bound in broken
        if bound.interval
    ]
    golden, failures = images.golden, [bound.phrase for bound in certain]
    if golden is not None and contender.own and contender.precision in golden.model_outputs:
        kept = golden.model_outputs[contender.precision]
        still = {bound.bound for bound in allow(gate, golden.outputs, kept).gate.broken(parity, change)}
        failures = [bound.phrase for bound in certain if bound.bound in still]
        not_shown += [
            f"{bound.phrase}; the export measured the same on these few images, and passed its gate on more images"
            for bound in certain
            if bound.bound not in still
        ]
        failures += [
            f"compared with its own outputs at export, {failure}"
            for failure in DEVICE_GATES[precision].failures(compare(kept, outputs))
        ]
    return Verdict(parity, gate, _accuracy(outputs, images.labels, change), tuple(failures), tuple(not_shown))


def altered(model: Model) -> str | None:
    """Returns a failure if a file is not the one that its golden inputs were exported with, else None.

    Its outputs may be right nevertheless: outputs do not show another order of the class names in the file. Also None
    if the file has no golden inputs, or they lack its precision.
    """
    file = model.path.parent / FILE_NAME
    if not file.is_file():
        return None
    exported = load_golden(file).model_sha256.get(model.spec.precision)
    if exported in (None, model.sha256):
        return None
    return (
        f"its SHA-256 is {model.sha256[:12]}, that of the exported one {exported[:12]}: it was altered since, or its "
        f"{FILE_NAME} is of another export"
    )


def gate_of(model: Model) -> Gate | None:
    """Returns the gate that a model was shipped with; None if the file has none."""
    kept = model.spec.gate
    if kept is None:
        return None
    names = {item.name for item in fields(Gate)}
    return Gate(**{name: value for name, value in kept.items() if name in names})


def _accuracy(outputs: Outputs, labels: NDArray[np.int64], change: Any) -> dict[str, Any] | None:
    known = labels >= 0
    if not known.any():
        return None
    right, images = int((outputs.probabilities.argmax(axis=1) == labels)[known].sum()), int(known.sum())
    low, high = share_interval(right / images, images)
    return {"images": images, "value": right / images, "low": low, "high": high, "change": change.as_dict()}
