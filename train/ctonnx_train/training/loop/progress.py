"""Estimate of the remaining time of a training from its finished epochs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.system.text import duration
from ctonnx_train.training.recipe import Phase, image_size

__all__ = ["seconds_left", "time_left"]

_RECENT = 3  # epochs: on a busy machine, earlier ones are not representative


def seconds_left(rows: Sequence[Mapping[str, Any]], phases: Sequence[Phase], size: int) -> float:
    """Returns the number of seconds for the remaining epochs if no phase stops early.

    The time of a step is assumed to be proportional to the pixels of its images, and that of validation to be constant.
    Later phases are assumed to be as fast as the current one.

    Args:
        rows: Rows of metrics.csv of the finished epochs, at least one.
        phases: Phases of the training.
        size: Height and width of the full-size images, in pixels.
    """
    names = [phase.name for phase in phases]
    current = names.index(rows[-1]["phase"])
    recent = [row for row in rows if row["phase"] == names[current]][-_RECENT:]
    per_pixel = float(statistics.median(row["train_seconds"] / row["image_size"] ** 2 for row in recent))
    validation = float(statistics.median(row["seconds"] - row["train_seconds"] for row in recent))
    ended = sum(row["phase"] == names[current] for row in rows)
    return sum(
        per_pixel * image_size(size, phase, epoch) ** 2 + validation
        for phase in phases[current:]
        for epoch in range(ended if phase is phases[current] else 0, phase.epochs)
    )


def time_left(rows: Sequence[Mapping[str, Any]], phases: Sequence[Phase], size: int) -> str:
    """Returns `seconds_left` as `about 3 min left` (`at most`, if a phase may stop early); empty after the last."""
    if not (seconds := seconds_left(rows, phases, size)):
        return ""
    return f"{'about' if phases[-1].patience is None else 'at most'} {duration(seconds)} left"
