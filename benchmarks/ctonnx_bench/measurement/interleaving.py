"""Interleaved rounds and paired ratios, for comparisons on a machine whose speed drifts."""

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["interleaved", "measure_in_turn", "paired_ratio", "paired_ratios"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def interleaved(items: Iterable[Item], rounds: int) -> Iterator[Item]:
    """Yields every item in each round, in alternating order (A B C, C B A), so that drift affects all alike.

    >>> "".join(interleaved("ABC", 3))
    'ABCCBAABC'
    """
    order = list(items)
    for _ in range(rounds):
        yield from order
        order.reverse()


def measure_in_turn(
    items: Collection[Item], rounds: int, measure: Callable[[Item], Result]
) -> dict[Item, list[Result]]:
    """Returns each item's measurements, one per round, in the order of `interleaved`."""
    found: dict[Item, list[Result]] = {item: [] for item in items}
    for item in interleaved(items, rounds):
        found[item].append(measure(item))
    return found


def paired_ratios(samples: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Returns the ratio of each sample to the baseline of the same round.

    >>> paired_ratios([2.0, 6.0], [1.0, 2.0])
    [2.0, 3.0]
    """
    return [sample / base for sample, base in zip(samples, baseline, strict=True)]


def paired_ratio(samples: Sequence[float], baseline: Sequence[float]) -> float:
    """Returns the median of `paired_ratios`.

    >>> paired_ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    2.0
    """
    return statistics.median(paired_ratios(samples, baseline))
