"""What every answer is held against: images, whose answers count as right, and the gate that must be kept."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.golden import FILE_NAME, load_golden
from ctonnx.parity.comparison import Parity, accuracy_change, compare, share_interval
from ctonnx.parity.gates import DEVICE_GATES, GATES, Gate
from ctonnx.parity.golden_gate import allow
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.contenders import Contender, Model
from ctonnx_bench.cases.images import CheckImages

__all__ = ["Judgement", "altered", "gate_of", "judge"]


@dataclass(frozen=True)
class Judgement:
    """How a contender's answers stand.

    Attributes:
        parity: to the reference's.
        accuracy: `value`, `low`, `high` (95 %, Wilson 1927) on `images`, and `change`: the difference to the
            reference's with its interval; None without labels.
        failures: what is wrong with them; none where they are right or not shown to be.
        not_shown: The bounds that the measured values miss while these images do not show that the answers miss them.
        asked: The gate that they were held against, in words.
        bounds: That gate, as a document holds it.
    """

    parity: Parity
    accuracy: dict[str, Any] | None
    failures: tuple[str, ...]
    asked: str
    not_shown: tuple[str, ...] = ()
    bounds: dict[str, Any] = field(default_factory=dict)


def judge(
    contender: Contender, outputs: Outputs, reference: Outputs, images: CheckImages, gate: Gate | None
) -> Judgement:
    """Judges a contender's answers for all images, by the measured values as they are.

    Where a share of the images misses its bound and its 95 % interval reaches it, the images show neither: that is no
    failure, and the answers are not called right.

    Args:
        contender: who gave them.
        outputs: The answers.
        reference: Those that count as right.
        images: what was asked.
        gate: that the model was shipped with; None takes its precision's.
    """
    parity = compare(reference, outputs)
    change = accuracy_change(reference, outputs, images.labels)
    gate = gate or GATES[contender.precision]
    broken = gate.broken(parity, change)
    failures = [bound.phrase for bound in broken if not bound.interval]
    not_shown = [
        f"{bound.phrase}, which its 95 % interval, {bound.interval}, reaches: {parity.images} images do not show which "
        "it is"
        for bound in broken
        if bound.interval
    ]
    golden = images.golden
    if golden is not None and contender.own and contender.precision in golden.model_outputs:
        kept = golden.model_outputs[contender.precision]
        still = {bound.bound for bound in allow(gate, golden.outputs, kept).gate.broken(parity, change)}
        certain = [bound for bound in broken if not bound.interval]
        failures = [bound.phrase for bound in certain if bound.bound in still]
        not_shown += [
            f"{bound.phrase}; on these few images it was so where it was exported too, by which its gate was passed on "
            "more"
            for bound in certain
            if bound.bound not in still
        ]
        failures += [
            f"against its own answers where it was exported, {failure}"
            for failure in DEVICE_GATES[contender.precision].failures(compare(kept, outputs))
        ]
    return Judgement(
        parity,
        _accuracy(outputs, images.labels, change),
        tuple(failures),
        gate.summary,
        tuple(not_shown),
        asdict(gate),
    )


def altered(model: Model) -> str | None:
    """Returns what is wrong with a file that is not the one which its golden inputs were exported with, or None.

    Its answers may be right all the same: names of classes stand in the file, and no answer of the network tells them.
    Without golden inputs beside it, or with some that do not know its precision, nothing is known.
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
    """Returns the gate that a model was shipped with, as far as it says so."""
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
