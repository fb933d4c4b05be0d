"""Shortcuts of the training images, in sentences."""

from typing import Any

import pytest

from ctonnx.artifacts.decision.shortcuts import describe_shortcuts, shortcut_caveats

STRONG: dict[str, Any] = {"verdict": "strong", "auroc": 0.9906, "facts": ["taller, median 476 against 261 pixels", "x"]}


def test_strong_shortcuts_of_the_training_images_are_a_caveat() -> None:
    strong = {"tumor": {"verdict": "strong", "auroc": 0.77}, "normal": STRONG, "benign": {"verdict": "some"}}
    caveat = (
        "facts of the training images that are not anatomy, such as their size, distinguish 'normal' with an AUROC of "
        "0.991 (taller, median 476 against 261 pixels; x) and also 'tumor' (0.770): the model may have learned these "
        "instead, and its metrics may not hold on other scans"
    )
    assert shortcut_caveats({"verdict": "strong", "classes": strong}) == [caveat]
    (of_input,) = shortcut_caveats({"audited": "input", "classes": strong})
    assert of_input.startswith(
        "facts of the training images as the network sees them that are not anatomy, such as their grey at the border, "
        "distinguish 'normal' "
    )
    (alone,) = shortcut_caveats({"classes": {"normal": {"verdict": "strong"}}})
    assert "distinguish 'normal' with an AUROC of 0.000: the model" in alone


def test_shortcuts_are_described_the_worst_first() -> None:
    classes = {
        "a": {"verdict": "none", "auroc": 0.5},
        "b": {"verdict": "untested"},
        "c": {"verdict": "some", "auroc": 0.72},
        "d": STRONG,
        "e": {"verdict": "none", "auroc": 0.5},
    }
    assert describe_shortcuts({"classes": classes}) == (
        "shortcuts in the training images: strong for 'd' (AUROC 0.991); some for 'c' (AUROC 0.720); untested for 'b'; "
        "none for 'a', 'e'"
    )
    of_input = describe_shortcuts({"audited": "input", "classes": {"a": {"verdict": "none"}}})
    assert of_input == "shortcuts in the training images as the network sees them: none for 'a'"
    assert describe_shortcuts(None) is None


@pytest.mark.parametrize("shortcuts", [None, {}, {"classes": {"normal": STRONG | {"verdict": "some"}}}, {"classes": 3}])
def test_no_strong_shortcut_is_no_caveat(shortcuts: Any) -> None:
    assert shortcut_caveats(shortcuts) == []
