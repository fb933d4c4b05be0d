"""The gate: changes that break a bound, exactly, and changes that the images cannot show to keep it."""

import pytest
from tests.train.stress.made import document, strength

from ctonnx_train.stress.gate import counted_strengths, exceeds, failures, holds_until, judged_by, unshown


def broken(bound: float) -> list[tuple[str, str]]:
    return [(title, of["shown"]) for title, of in failures(document(), bound)]


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
    ],
)
def test_a_share_is_compared_without_rounding(count: int, images: int, bound: float, expected: bool) -> None:
    assert exceeds({"count": count}, images, bound) is expected


def test_decisions_that_become_refer_break_no_bound() -> None:
    made = document(("noise", [strength("5", 0, referred=90)]))
    assert failures(made, 0.05) == []


def test_without_an_operating_point_classes_are_compared() -> None:
    made = document(("noise", [strength("5", 9)]))
    made["decided_by"]["operating_point"] = False
    del made["transforms"][0]["strengths"][0]["flipped"]
    assert judged_by(made) == "class_changed"
    assert [title for title, _ in failures(made, 0.05)] == ["noise"]


def test_kept_bounds_whose_interval_reaches_beyond_are_not_shown() -> None:
    made = document(("noise", [strength("5", 0), strength("10", 2), strength("20", 50)]))
    assert [of["shown"] for _, of in unshown(made, 0.05)] == ["10"]  # 0 of 100: 3.7 % at most
    assert unshown(made, 0.5) == []


def test_a_change_holds_until_the_first_strength_that_breaks_the_bound() -> None:
    made = document()
    found = [holds_until(made, transform, 0.05) for transform in made["transforms"]]
    assert [of and of["shown"] for of in found] == ["x 0.6", "quality 75", None, None]
