"""The gate: changes that break a bound, exactly, and changes that the images cannot show to keep it."""

import pytest
from tests.train.stress.made import document, strength

from ctonnx_train.stress.gate import counted_strengths, decided_before, exceeds, failures, holds_until, unshown


def broken(bound: float) -> list[tuple[str, str]]:
    return [(title, of["shown"]) for title, of, _ in failures(document(), bound)]


def test_mild_and_middle_strengths_and_the_only_one_count_and_strong_ones_do_not() -> None:
    assert broken(0.05) == [
        ("JPEG", "quality 50"),
        ("padded", "square + 0%"),
        ("inverted", "black to white"),
    ]
    assert [len(counted_strengths(one)) for one in document()["transforms"]] == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("count", "images", "bound", "expected"),
    [
        (7, 100, 0.07, False),  # 0.07 * 100 is 7.000000000000001
        (7, 1000, 0.007, False),
        (8, 1000, 0.007, True),
        (5, 99, 0.05, True),
        (0, 10, 0.0, False),
        (1, 10000, 0.0, True),
        (0, 0, 1.0, True),
    ],
)
def test_a_share_is_compared_without_rounding(count: int, images: int, bound: float, expected: bool) -> None:
    assert exceeds({"count": count, "images": images}, bound) is expected


def test_a_model_that_refers_everything_breaks_the_bound() -> None:
    made = document(("noise", [strength("5", 0, referred=90)]))
    ((title, of, kind),) = failures(made, 0.05)
    assert (title, of["flipped"]["count"], kind) == ("noise", 0, "decision_changed")


def test_an_inverted_scan_may_be_referred_and_not_flip() -> None:
    assert failures(document(("inverted", [strength("black to white", 0, referred=100)])), 0.05) == []
    assert [kind for *_, kind in failures(document(("inverted", [strength("black to white", 9)])), 0.05)] == ["flipped"]


@pytest.mark.parametrize("title", ["noise", "inverted"])
def test_a_model_that_refers_every_unchanged_scan_fails(title: str) -> None:
    made = document((title, [strength("5", 0, decided=0)]), referred=100)
    assert decided_before(made) == 0
    assert [one.title for one in failures(made, 1.0)] == [title]
    assert unshown(made, 1.0) == []
    assert holds_until(made["transforms"][0], 1.0) is None


def test_without_an_operating_point_classes_are_compared() -> None:
    made = document(("noise", [strength("5", 9)]))
    made["decided_by"]["operating_point"] = False
    made["transforms"][0]["judged_by"] = "class_changed"
    del made["transforms"][0]["strengths"][0]["flipped"]
    assert [(title, kind) for title, _, kind in failures(made, 0.05)] == [("noise", "class_changed")]


def test_kept_bounds_whose_interval_reaches_beyond_are_not_shown() -> None:
    made = document(("noise", [strength("5", 0), strength("10", 2), strength("20", 50)]))
    assert [of["shown"] for _, of, _ in unshown(made, 0.05)] == ["10"]  # 0 of 100: 3.7 % at most
    assert unshown(made, 0.5) == []


def test_a_change_holds_until_the_first_strength_that_breaks_the_bound() -> None:
    made = document()
    found = [holds_until(transform, 0.05) for transform in made["transforms"]]
    assert [of and of["shown"] for of in found] == ["x 0.6", "quality 75", None, None]
