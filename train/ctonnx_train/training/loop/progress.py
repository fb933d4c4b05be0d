"""How long a training will take still, judged by its epochs so far."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.system.text import duration
from ctonnx_train.training.recipe import Phase, image_size

__all__ = ["seconds_left", "time_left"]

_RECENT = 3  # epochs: on a machine with other work, what was long ago tells little


def seconds_left(rows: Sequence[Mapping[str, Any]], phases: Sequence[Phase], size: int) -> float:
    """Returns how many seconds the epochs that remain will take, if none of their phases ends early.

    Steps take as long as their images have pixels; validation takes the same in every epoch. A phase that has not begun
    is judged by the one that runs.

    Args:
        rows: of the epochs that ended, one or more.
        phases: of the training.
        size: Height and width of the whole images, in pixels.
    """
    names = [phase.name for phase in phases]
    current = names.index(rows[-1]["phase"])
    recent = [row for row in rows if row["phase"] == names[current]][-_RECENT:]
    a_pixel = float(statistics.median(row["train_seconds"] / row["image_size"] ** 2 for row in recent))
    validation = float(statistics.median(row["seconds"] - row["train_seconds"] for row in recent))
    ended = sum(row["phase"] == names[current] for row in rows)
    return sum(
        a_pixel * image_size(size, phase, epoch) ** 2 + validation
        for phase in phases[current:]
        for epoch in range(ended if phase is phases[current] else 0, phase.epochs)
    )


def time_left(rows: Sequence[Mapping[str, Any]], phases: Sequence[Phase], size: int) -> str:
    """Returns `about 3 min left`; `at most` where a phase may end early; nothing after the last epoch.

    Args:
        rows: of the epochs that ended, one or more.
        phases: of the training.
        size: Height and width of the whole images, in pixels.
    """
    if not (seconds := seconds_left(rows, phases, size)):
        return ""
    return f"{'about' if phases[-1].patience is None else 'at most'} {duration(seconds)} left"
