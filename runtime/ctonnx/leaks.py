"""What stood in more than one split of a model's training data, in words: its figures flatter."""

from collections.abc import Mapping
from typing import Any

__all__ = ["leaks_in_words"]

_SPLITS = {"valid": "validation", "test": "test"}


def leaks_in_words(data: Mapping[str, Any]) -> str | None:
    """Returns how many images leaked from an earlier split, or None where none did or nothing is known.

    Args:
        data: of the model's spec.

    >>> leaks_in_words({"images": {"valid": {"normal": 40, "tumor": 32}}, "leaks": {"leaked": {"valid": 10}}})
    '10 of 72 validation images have a copy, or an image of their group, in an earlier split: figures on them flatter'
    """
    leaks = data.get("leaks") or {}
    leaked, dropped = leaks.get("leaked", {}), leaks.get("dropped", {})
    counted = []
    for split, name in _SPLITS.items():
        if count := leaked.get(split):
            images = sum(data.get("images", {}).get(split, {}).values()) + dropped.get(split, 0)
            counted.append(f"{count} of {images} {name} images")
    if not counted:
        return None
    verb, end = ("had", "they were left out") if any(dropped.values()) else ("have", "figures on them flatter")
    return f"{' and '.join(counted)} {verb} a copy, or an image of their group, in an earlier split: {end}"
