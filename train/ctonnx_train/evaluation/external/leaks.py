"""Scans of an external dataset that the model was trained on or chosen by, and those of its training patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.errors import DataError
from ctonnx.system.text import Log, counted
from ctonnx_train.data.leakage import Digests
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel

__all__ = ["Unleaked", "find_leaks", "reasons_against"]


@dataclass(frozen=True, kw_only=True)
class Unleaked:
    """Rows to evaluate, and numbers of scans and patients that were in the training.

    Attributes:
        rows: Rows of the samples.
        seen_in_training: Numbers of evaluated scans that the model was `trained_on` and `chosen_by`, None if unknown,
            and of those `dropped`.
        patients: `origin`, number of evaluated `patients`, and how many of these the model was `trained_on` and
            `chosen_by`, None if unknown; None if no patient is known. See `EvaluatedModel.count_patients`.
    """

    rows: list[int]
    seen_in_training: dict[str, int | None]
    patients: dict[str, Any] | None


def find_leaks(
    samples: Sequence[Sample],
    rows: Sequence[int],
    digests: Digests,
    model: EvaluatedModel,
    patients: Patients | None,
    root: Path,
    *,
    drop_leaks: bool,
    log: Log,
) -> Unleaked:
    """Counts the scans of the training and of its patients, as far as they are comparable, or leaves them out.

    Args:
        samples: Scans of the dataset.
        rows: Rows of the samples to evaluate.
        digests: Digest of each sample's pixels, by path.
        model: Model, with what is known of its training.
        patients: Patients of the samples, if known.
        root: Folder of the dataset.
        drop_leaks: Whether to leave these scans out.
        log: Called with each progress message.

    Raises:
        DataError: The training images are unknown and must be left out, or no scan is left.
    """
    trained_on, chosen_by = model.trained_on, model.chosen_by
    if trained_on is None and drop_leaks:
        raise DataError(
            f"expected to know which images '{model.path}' was trained on, for --drop-leaks, found no run with "
            "their digests next to it; leave out --drop-leaks"
        )
    names = {} if patients is None else patients.names
    known = model.seen_patients(patients, root)
    if drop_leaks and patients is not None and known is None:
        log("warning: the training patients of the model are unknown here: --drop-leaks compares its images only")
    kept = list(rows)
    if drop_leaks:
        kept = [
            row
            for row in rows
            if digests[samples[row].path] not in (trained_on or ())
            and (known is None or names.get(samples[row].path) not in known.trained_on)
        ]
        if not kept:
            raise DataError(f"expected images that '{model.path}' was not trained on, found none")
    seen = [
        None if images is None else sum(digests[samples[row].path] in images for row in kept)
        for images in (trained_on, chosen_by)
    ]
    if seen[0]:
        log(f"warning: the model was trained on {seen[0]} of the {counted(len(kept), 'image')}")
    paths = [samples[row].path for row in kept]
    people = model.count_patients(known, [names.get(path) for path in paths], [digests[path] for path in paths])
    if count := people["trained_on"]:
        log(f"warning: the model was trained on {count} of the {counted(people['patients'] or 0, 'patient')}")
    return Unleaked(
        rows=kept,
        seen_in_training={"trained_on": seen[0], "chosen_by": seen[1], "dropped": len(rows) - len(kept)},
        patients=None if patients is None else {"origin": patients.origin, **people},
    )


def reasons_against(data: Mapping[str, Any], *, recalibrated_on: bool) -> list[str]:
    """Returns the reasons why these scans cannot show that the operating point holds.

    Args:
        data: `seen_in_training` and `patients` of `Unleaked`.
        recalibrated_on: Whether the model was recalibrated on these scans.
    """
    reasons = ["the model was recalibrated on these very scans"] if recalibrated_on else []
    for name, what in (("chosen_by", "chosen by"), ("trained_on", "trained on")):
        if count := data["seen_in_training"][name]:
            reasons.append(f"the model was {what} {count} of these scans")
    patients = data["patients"] or {}
    if count := patients.get("chosen_by"):
        reasons.append(f"the model was chosen by other scans of {count} of these patients")
    if count := patients.get("trained_on"):
        reasons.append(f"the model was trained on {count} of these patients")
    return reasons
