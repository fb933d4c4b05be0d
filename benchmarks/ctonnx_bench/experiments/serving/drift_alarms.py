"""Alarms of `ctonnx drift` without a change and with one: a simulation on phantoms.

    python -m ctonnx_bench.experiments.serving.drift_alarms MODEL [--images 3000] [--months 1000] [--reference 100]

The model predicts a pool of phantoms of its training's kind. A month draws a reference and then 30 days from this pool,
each image once, and looks at the latest images every day, as a person would with `ctonnx drift`. Each month has a
reference of its own. The model's own reference, its validation images, is compared with new images, too: it chose the
epoch, and fitted the thresholds. A change is applied to further phantoms; it counts as found if the look at 200 changed
images alarms. The exit code is 1 if more than 1 % of the months have an alarm.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image

from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.parity.intervals import share_interval
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx.server.monitoring.drift import FALSE_ALARMS, LOOKS, compare

__all__ = ["CHANGES", "Month", "has_false_alarm", "is_found", "main", "own_alarms", "predicted"]

_SIDE = 256
_TODAY = date(2026, 12, 1)
_FOUND_WITHIN = 200  # images
_RUNS = 100  # of each change
_LOOKS = 1000  # with the model's own reference

Bins = Mapping[str, str]


class Month(NamedTuple):
    """Setting of a simulated month.

    Attributes:
        reference: Number of images of the reference.
        daily: Number of images a day.
        window: Number of latest images that a look compares.
    """

    reference: int = 100
    daily: int = 40
    window: int = 200


def _brighter(image: Image.Image) -> Image.Image:
    return image.point([min(255, round(1.25 * value + 12)) for value in range(256)])


def _turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _larger(image: Image.Image) -> Image.Image:
    return image.resize((384, 384), Image.Resampling.BICUBIC)


def _same(image: Image.Image) -> Image.Image:
    return image


CHANGES: Mapping[str, tuple[Callable[[Image.Image], Image.Image], tuple[float, ...]]] = {
    "another window: brighter": (_brighter, (0.25, 0.25, 0.25, 0.25)),
    "turned by 90 degrees": (_turned, (0.25, 0.25, 0.25, 0.25)),
    "another size: 384 pixels": (_larger, (0.25, 0.25, 0.25, 0.25)),
    "other classes: 70 % normal instead of 25 %": (_same, (0.7, 0.1, 0.1, 0.1)),
}
"""Changes: of each image, and the share of each class."""


def predicted(
    predictor: Predictor,
    count: int,
    random: np.random.Generator,
    *,
    change: Callable[[Image.Image], Image.Image] = _same,
    shares: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
) -> list[Bins]:
    """Draws phantoms and returns the bins of each, as a server counts it."""
    from ctonnx_train.data.phantom.drawing import CLASSES, draw

    def images() -> Iterator[Image.Image]:
        for _ in range(count):
            yield change(draw(str(random.choice(CLASSES, p=shares)), random.spawn(1)[0], _SIDE))

    return [record.bins for record in predictor.predict_many(images()) if isinstance(record, Prediction)]


def _counts(images: Sequence[Bins]) -> UsageReference:
    found = UsageReference.of(images)
    if found is None:
        raise ValueError("expected images to count, found none")
    return found


def _alarms(reference: UsageReference, now: Sequence[Bins]) -> list[str]:
    return compare(reference, _counts(now).counts, since=_TODAY, until=_TODAY).alarms


def has_false_alarm(pool: Sequence[Bins], month: Month, random: np.random.Generator) -> bool:
    """Simulates a month without a change, and returns whether any of its looks alarms."""
    drawn = [pool[int(row)] for row in random.permutation(len(pool))[: month.reference + LOOKS * month.daily]]
    before, stream = _counts(drawn[: month.reference]), drawn[month.reference :]
    ends = range(month.daily, len(stream) + 1, month.daily)
    return any(_alarms(before, stream[max(0, end - month.window) : end]) for end in ends)


def is_found(pool: Sequence[Bins], changed: Sequence[Bins], month: Month, random: np.random.Generator) -> bool:
    """Returns whether a look at 200 changed images alarms, with a reference from the pool."""
    before = _counts([pool[int(row)] for row in random.permutation(len(pool))[: month.reference]])
    now = [changed[int(row)] for row in random.permutation(len(changed))[:_FOUND_WITHIN]]
    return bool(_alarms(before, now))


def own_alarms(own: UsageReference, pool: Sequence[Bins], random: np.random.Generator) -> int:
    """Returns the number of alarms in 1,000 looks at new images, with the model's own reference."""
    looks = (random.permutation(len(pool))[:_FOUND_WITHIN] for _ in range(_LOOKS))
    return sum(bool(_alarms(own, [pool[int(row)] for row in rows])) for rows in looks)


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--images", type=click.IntRange(1400), default=3000, show_default=True, help="Phantoms of the pool.")
@click.option("--months", type=click.IntRange(1), default=1000, show_default=True, help="Months without a change.")
@click.option("--reference", type=click.IntRange(50), default=100, show_default=True, help="Images of the reference.")
def main(model: Path, images: int, months: int, reference: int) -> None:
    """Measure false alarms and found changes with MODEL, which was trained on phantoms."""
    month, random = Month(reference=reference), np.random.default_rng(0)
    with Predictor(model) as predictor:
        pool, own = predicted(predictor, images, random), predictor.spec.usage
        changed = {
            name: predicted(predictor, 2 * _FOUND_WITHIN, random, change=change, shares=shares)
            for name, (change, shares) in CHANGES.items()
        }
    click.echo(
        f"{model}: {len(pool)} phantoms; {reference} in the reference, {month.daily} a day, {month.window} a look"
    )
    false = sum(has_false_alarm(pool, month, random) for _ in range(months))
    low, high = share_interval(false / months, months)
    click.echo(f"without a change: an alarm in {false} of {months} months (95 % interval {low:.2%} to {high:.2%})")
    if own is not None:
        alarms = own_alarms(own, pool, random)
        click.echo(f"the model's own reference ({own.images} images): an alarm in {alarms} of {_LOOKS} looks")
    for name, bins in changed.items():
        found = sum(is_found(pool, bins, month, random) for _ in range(_RUNS))
        click.echo(f"{name}: found within {_FOUND_WITHIN} images in {found} of {_RUNS} runs")
    if false / months > FALSE_ALARMS:
        raise click.ClickException(f"expected alarms in at most {FALSE_ALARMS:.0%} of the months, found more")


if __name__ == "__main__":
    main()
