"""A part of a usage log, compared with the images that the model was fitted on."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ctonnx.artifacts.decision.usage import ORDERED, QUANTITIES, UsageReference
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError, ModelError
from ctonnx.server.monitoring.two_sample import DRAWS, p_value, population_stability
from ctonnx.server.monitoring.usage_log import days_in_use, models_in, read_counts
from ctonnx.system.text import counted

__all__ = ["FALSE_ALARMS", "LEAST_IMAGES", "LOOKS", "Comparison", "Drift", "compare", "last_days", "watch"]

FALSE_ALARMS = 0.01
"""Probability of an alarm in a month in which nothing differs."""

LOOKS = 30
"""Comparisons in a month: one a day."""

_DRAWS_OF_LEVEL = 4  # draws of which one is the level, so that p-values below it exist

LEAST_IMAGES = 50
"""Images, of the reference and of the log, below which nothing is compared."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A quantity in use and in the reference.

    Attributes:
        quantity: One of `ctonnx.artifacts.decision.usage.QUANTITIES`.
        index: Population stability index.
        index_by_chance: Its mean if nothing differs.
        p: The p-value of the test.
        alarm: Whether the p-value is at most the level.
        reference: Images of the reference in each bin.
        window: Images of the log in each bin.
    """

    quantity: str
    index: float
    index_by_chance: float
    p: float
    alarm: bool
    reference: Mapping[str, int]
    window: Mapping[str, int]

    @property
    def bins(self) -> list[str]:
        """Bins: numbers from the first to the last with an image, categories by the reference's number of images."""
        names = {*self.reference, *self.window}
        if self.quantity in ORDERED:
            every = ORDERED[self.quantity]
            places = [every.index(name) for name in names if name in every] or [0]
            return list(every[min(places) : max(places) + 1])
        return sorted(names, key=lambda name: (-self.reference.get(name, 0), -self.window.get(name, 0), name))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Comparison of a part of a log with the reference.

    Attributes:
        since: First day.
        until: Last day.
        images: Number of images of the log.
        reference_images: Number of images of the reference.
        level: Level of each test: the probability of an alarm in a month, divided by looks and quantities.
        comparisons: Quantities; empty if there are too few images.
    """

    since: date
    until: date
    images: int
    reference_images: int
    level: float
    comparisons: tuple[Comparison, ...]

    @property
    def has_enough(self) -> bool:
        """Whether there were enough images to compare."""
        return bool(self.comparisons)

    @property
    def alarms(self) -> list[str]:
        """Quantities that differ."""
        return [found.quantity for found in self.comparisons if found.alarm]

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready dictionary."""
        values = asdict(self) | {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return values | {"has_enough": self.has_enough, "alarms": self.alarms}


def compare(
    reference: UsageReference,
    counts: Mapping[str, Mapping[str, int]],
    *,
    since: date,
    until: date,
    looks: int = LOOKS,
    false_alarms: float = FALSE_ALARMS,
) -> Drift:
    """Compares counts of a log with a reference.

    The level of each test is the probability of a false alarm in a month, divided by the number of looks and of
    quantities (Bonferroni), so that the month as a whole keeps it however the looks overlap and the quantities depend
    on each other. The same counts always give the same result.

    Args:
        reference: Reference of the model.
        counts: Number of images in each bin of each quantity.
        since: First day of the counts.
        until: Last day of the counts.
        looks: Comparisons in a month.
        false_alarms: Probability of an alarm in a month in which nothing differs.
    """
    images = sum(counts.get("class", {}).values())
    quantities = [name for name in QUANTITIES if name in reference.counts]
    level = false_alarms / looks / max(1, len(quantities))
    found = []
    for quantity in quantities if min(images, reference.images) >= LEAST_IMAGES else ():
        before, now = reference.counts[quantity], counts.get(quantity, {})
        names = ORDERED.get(quantity) or sorted({*before, *now})
        kind: Literal["ordered", "categories"] = "ordered" if quantity in ORDERED else "categories"
        first, second = (np.array([values.get(name, 0) for name in names], np.int64) for values in (before, now))
        if not (first.any() and second.any()):
            continue
        # Seeded by the counts: the same ones have the same draws, and others have others, so that no set of draws
        # serves all comparisons.
        random = np.random.default_rng([*first.tolist(), *second.tolist()])
        p = p_value(first, second, kind, random, draws=max(DRAWS, math.ceil(_DRAWS_OF_LEVEL / level)))
        index, by_chance = population_stability(first, second, kind)
        found.append(
            Comparison(
                quantity=quantity,
                index=index,
                index_by_chance=by_chance,
                p=p,
                alarm=p <= level,
                reference=before,
                window=now,
            )
        )
    return Drift(
        since=since,
        until=until,
        images=images,
        reference_images=reference.images,
        level=level,
        comparisons=tuple(found),
    )


def _reference_of(spec: ModelSpec) -> UsageReference:
    """Returns the reference of a model.

    Raises:
        ModelError: If it has none.
    """
    if spec.usage is None:
        raise ModelError(
            "expected a model with the counts of the images that it was fitted on, found one without: it was trained "
            "by an earlier release. Train it again, or recalibrate it on scans of the site: ctonnx recalibrate"
        )
    return spec.usage


def last_days(days: Mapping[date, int], images: int) -> date | None:
    """Returns the latest day since which a log has so many images, its first if it has fewer; None if it is empty."""
    total = 0
    for day in sorted(days, reverse=True):
        total += days[day]
        if total >= images:
            return day
    return min(days, default=None)


def watch(
    file: Path,
    model: str,
    spec: ModelSpec,
    *,
    since: date | None = None,
    until: date | None = None,
    images: int = 200,
    looks: int = LOOKS,
) -> Drift:
    """Compares the latest images of a log with the reference of the model.

    Args:
        file: Usage log.
        model: SHA-256 of the model file.
        spec: Spec of the model.
        since: First day; None takes the latest whole days that have at least `images` images.
        until: Last day; None is the last one in the log.
        images: Number of images.
        looks: Comparisons in a month.

    Raises:
        ModelError: If the model has no reference.
        CtonnxError: If the log cannot be read, or has no image of the model on these days.
    """
    reference = _reference_of(spec)
    days = {day: count for day, count in days_in_use(file, model).items() if until is None or day <= until}
    days = {day: count for day, count in days.items() if since is None or day >= since}
    if not days:
        others = ", ".join(f"{name[:12]}... ({counted(count, 'image')})" for name, count in models_in(file).items())
        raise CtonnxError(
            f"expected images of the model {model[:12]}... in '{file}'{_between(since, until)}, found none; the log "
            f"has images of: {others or 'no model'}"
        )
    first = since or last_days(days, images) or min(days)
    last = until or max(days)
    return compare(reference, read_counts(file, model, first, last), since=first, until=last, looks=looks)


def _between(since: date | None, until: date | None) -> str:
    return (f" since {since}" if since else "") + (f" until {until}" if until else "")
