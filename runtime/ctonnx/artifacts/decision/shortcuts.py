"""Shortcuts: facts of the training images that are not anatomy and predict the class, in sentences.

The values may come from a model file: parts of another type are treated as absent.
"""

from collections.abc import Mapping
from typing import Any, get_args

from ctonnx.artifacts.json_schema import number_at, part_at
from ctonnx.artifacts.report_schema import Verdict

__all__ = ["describe_shortcuts", "shortcut_caveats"]

_EXAMPLES = {False: "size", True: "grey at the border"}  # of facts, by whether they are of the network's input


def shortcut_caveats(shortcuts: Mapping[str, Any] | None) -> list[str]:
    """Returns the caveat of strong shortcuts in the training images; an empty list if there are none or for None."""
    classes = part_at(shortcuts, "classes")
    strong = {name: part_at(classes, name) for name in classes if part_at(classes, name).get("verdict") == "strong"}
    if not strong:
        return []
    of_input = _is_of_input(shortcuts)
    ranked = sorted(strong, key=lambda name: -(number_at(strong[name], "auroc") or 0))
    worst, *others = ranked
    facts = "; ".join(str(fact) for fact in strong[worst].get("facts") or ())
    named = f"'{worst}' with an AUROC of {number_at(strong[worst], 'auroc') or 0:.3f}" + (
        f" ({facts})" if facts else ""
    )
    if others:
        named += " and also " + ", ".join(f"'{name}' ({number_at(strong[name], 'auroc') or 0:.3f})" for name in others)
    return [
        f"facts of the {_audited(shortcuts)} that are not anatomy, such as their {_EXAMPLES[of_input]}, distinguish "
        f"{named}: the model may have learned these instead, and its metrics may not hold on other scans"
    ]


def describe_shortcuts(shortcuts: Mapping[str, Any] | None) -> str | None:
    """Returns the verdict on each class as a sentence, the worst first; None if they are unknown.

    >>> describe_shortcuts({"classes": {"a": {"verdict": "none"}, "b": {"verdict": "strong", "auroc": 0.9906}}})
    "shortcuts in the training images: strong for 'b' (AUROC 0.991); none for 'a'"
    """
    classes = part_at(shortcuts, "classes")
    parts = []
    for verdict in reversed(get_args(Verdict)):
        found = {name: part_at(classes, name) for name in classes if part_at(classes, name).get("verdict") == verdict}
        named = [
            f"'{name}'" + (f" (AUROC {number_at(of, 'auroc') or 0:.3f})" if verdict in ("some", "strong") else "")
            for name, of in found.items()
        ]
        if named:
            parts.append(f"{verdict} for {', '.join(named)}")
    return f"shortcuts in the {_audited(shortcuts)}: {'; '.join(parts)}" if parts else None


def _is_of_input(shortcuts: Mapping[str, Any] | None) -> bool:
    return isinstance(shortcuts, Mapping) and shortcuts.get("audited") == "input"


def _audited(shortcuts: Mapping[str, Any] | None) -> str:
    return "training images as the network sees them" if _is_of_input(shortcuts) else "training images"
