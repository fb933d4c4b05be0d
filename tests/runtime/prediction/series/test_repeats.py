"""Slices in several files count once; a UID that a whole series shares makes no copies of it."""

import pytest

from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.repeats import without_repeats
from ctonnx.prediction.series.slices import SliceRecord

ONE = SliceRecord("a", "P", "st", "se", position=1.0, instance=1, image="uid", is_dicom=True)


def kept(*slices: SliceRecord) -> tuple[list[str], tuple[LeftOut, ...]]:
    found, left_out = without_repeats(slices)
    return [one.file for one in found], left_out


def test_first_file_of_a_slice_stays() -> None:
    other = ONE._replace(file="c", image="other", position=2.0)
    assert kept(ONE, other, ONE._replace(file="b")) == (["a", "c"], (LeftOut("exported twice", 1),))
    assert kept(ONE, other) == (["a", "c"], ())
    frames = ONE._replace(frames=4)
    assert kept(frames, frames._replace(file="b"))[1] == (LeftOut("exported twice", 4),)


@pytest.mark.parametrize(
    "change",
    [{"image": "other"}, {"position": 2.0}, {"instance": 2}, {"series": "other"}, {"study": "other"}],
)
def test_slices_that_differ_in_anything_are_none(change: dict[str, object]) -> None:
    assert kept(ONE, ONE._replace(file="b", **change)) == (["a", "b"], ())  # type: ignore[arg-type]


def test_a_uid_alone_is_not_enough() -> None:
    anonymous = ONE._replace(position=None, instance=None)
    assert kept(anonymous, anonymous._replace(file="b")) == (["a", "b"], ())
    unknown = ONE._replace(image="")
    assert kept(unknown, unknown._replace(file="b")) == (["a", "b"], ())
    numbered = ONE._replace(position=None)
    assert kept(numbered, numbered._replace(file="b"))[0] == ["a"]


def test_another_key_decides() -> None:
    slices = [SliceRecord("a.png"), SliceRecord("b.png"), SliceRecord("c.png")]
    found, left_out = without_repeats(slices, lambda one: one.file == "b.png")
    assert ([one.file for one in found], left_out) == (["a.png", "b.png"], (LeftOut("exported twice", 1),))
