"""Order of slices: position, Instance Number, name."""

import pytest

from ctonnx.prediction.series.ordering import in_order, natural_key
from ctonnx.prediction.series.slices import SliceRecord


def names(*slices: SliceRecord) -> tuple[list[str], str]:
    ordered = in_order(slices)
    return [one.file for one in ordered.slices], ordered.axis


def test_position_comes_first() -> None:
    slices = [SliceRecord(name, position=z, instance=n) for name, z, n in (("a", 5.0, 1), ("b", -5.0, 2), ("c", 0, 3))]
    assert names(*slices) == (["b", "c", "a"], "mm")


def test_equal_positions_are_in_the_order_of_the_instance_numbers_and_names() -> None:
    slices = [SliceRecord("x10", position=0.0), SliceRecord("x9", position=0.0), SliceRecord("a", "", position=-1.0)]
    assert names(*slices, SliceRecord("b", position=0.0, instance=-1)) == (["a", "b", "x9", "x10"], "mm")


def test_instance_number_counts_if_a_position_is_missing() -> None:
    slices = [SliceRecord("a", position=-5.0, instance=10), SliceRecord("b", instance=9)]
    assert names(*slices) == (["b", "a"], "instance")


def test_name_counts_if_a_slice_has_neither() -> None:
    slices = [SliceRecord("slice_10", instance=1), SliceRecord("slice_2", instance=2), SliceRecord("slice_1")]
    assert names(*slices) == (["slice_1", "slice_2", "slice_10"], "count")


def test_file_with_frames_is_ordered_by_name() -> None:
    assert names(SliceRecord("b", position=0.0, frames=3), SliceRecord("a", position=1.0)) == (["a", "b"], "count")


def test_no_slices_have_an_order_too() -> None:
    assert names() == ([], "count")


@pytest.mark.parametrize(
    "expected",
    [
        ["p1/s2.png", "p1/s10.png", "p2/s1.png", "p10/s1.png"],
        ["1.png", "2.png", "a.png"],
        ["A1.png", "a2.png", "A10.png"],
        ["s01.png", "s1.png", "s2.png"],
    ],
)
def test_numbers_in_names_are_compared_as_numbers(expected: list[str]) -> None:
    assert sorted(set(expected), key=natural_key) == expected
