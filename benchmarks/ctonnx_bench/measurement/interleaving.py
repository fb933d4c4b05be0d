"""How things are compared on a machine that drifts: in turn, forwards and backwards, and in pairs."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["interleaved", "paired_ratio", "paired_ratios"]

Item = TypeVar("Item")


def interleaved(items: Iterable[Item], rounds: int) -> Iterator[Item]:
    """Yields every item in each round, so that a drift of the machine hits all alike: A B C, C B A, A B C.

    >>> "".join(interleaved("ABC", 3))
    'ABCCBAABC'
    """
    order = list(items)
    for _ in range(rounds):
        yield from order
        order.reverse()


def paired_ratios(samples: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Returns each sample over the one of the same round.

    >>> paired_ratios([2.0, 6.0], [1.0, 2.0])
    [2.0, 3.0]
    """
    return [sample / before for sample, before in zip(samples, baseline, strict=True)]


def paired_ratio(samples: Sequence[float], baseline: Sequence[float]) -> float:
    """Returns the median of `paired_ratios`.

    >>> paired_ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    2.0
    """
    return statistics.median(paired_ratios(samples, baseline))
