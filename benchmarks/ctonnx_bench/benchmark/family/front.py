"""Pareto front: the models that no other model of the family surpasses."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

__all__ = ["pareto_front"]

Name = TypeVar("Name", bound=Hashable)


def pareto_front(costs: Mapping[Name, Sequence[float]]) -> list[Name]:
    """Returns the names whose costs no other's dominate: none is at least as low in every cost and lower in one.

    Names with equal costs are both on the front, or both not. A cost that is NaN dominates nothing.

    >>> pareto_front({"slow": (9.0, 0.2), "fast": (1.0, 0.3), "worse": (9.0, 0.4)})
    ['slow', 'fast']
    """
    return [name for name, own in costs.items() if not any(_dominates(other, own) for other in costs.values())]


def _dominates(other: Sequence[float], own: Sequence[float]) -> bool:
    pairs = list(zip(other, own, strict=True))
    return all(one <= two for one, two in pairs) and any(one < two for one, two in pairs)
