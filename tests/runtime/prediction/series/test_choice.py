"""Choice of a series: axial, most slices, thinnest, first; filter; and what is left out."""

import pytest

from ctonnx.prediction.series.choice import LeftOut, choose_series, matches_filter
from ctonnx.prediction.series.slices import SliceRecord


def series(
    name: str, count: int = 2, *, thickness: float | None = 5.0, plane: str | None = "axial", **more: object
) -> list[SliceRecord]:
    one = SliceRecord("", series=name, thickness=thickness, plane=plane)
    return [one._replace(file=f"disc/{name}/{number}.dcm", **more) for number in range(count)]  # type: ignore[arg-type]


def chosen(*slices: list[SliceRecord], series_filter: str | None = None) -> tuple[set[str], str, list[tuple[str, int]]]:
    choice = choose_series([one for some in slices for one in some], series_filter=series_filter)
    return {one.series for one in choice.slices}, choice.why, [(out.kind, out.slices) for out in choice.left_out]


def test_most_slices_win() -> None:
    thick = series("thick", 3, kernel="B30f")
    assert chosen(thick, series("thin", 9, thickness=1.25, kernel="B60f")) == (
        {"thin"},
        "9 slices, kernel B60f, 1.25 mm: most slices",
        [("of another series", 3)],
    )


def test_of_as_many_slices_the_thinnest_win() -> None:
    assert chosen(series("a"), series("b", thickness=1.0), series("c", thickness=None)) == (
        {"b"},
        "2 slices, 1 mm: thinnest slices",
        [("of another series", 2), ("of another series", 2)],
    )


def test_of_equal_series_the_first_wins() -> None:
    assert chosen(series("b"), series("a"))[:2] == ({"b"}, "2 slices, 5 mm: the first of equal series")


def test_frames_count_as_slices() -> None:
    assert chosen(series("files", 3), series("frames", 1, frames=4))[0] == {"frames"}


def test_localizers_other_planes_and_other_modalities_are_left_out_by_slice() -> None:
    axial = series("a")
    scout = series("a", 1, is_localizer=True)  # some scanners put it into the axial series
    others = (series("b", 9, plane="coronal"), series("c", 9, plane="oblique"), series("d", 9, modality="PT"))
    assert chosen(scout, axial, *others) == (
        {"a"},
        "2 slices, 5 mm: the only suitable series",
        [("coronal", 9), ("localizer", 1), ("not a CT", 9), ("oblique", 9)],
    )


def test_series_of_unknown_plane_is_taken_without_an_axial_one_only() -> None:
    assert chosen(series("unknown", 9, plane=None), series("axial"))[:2] == ({"axial"}, "2 slices, 5 mm: axial")
    assert chosen(series("unknown", 9, plane=None))[:2] == ({"unknown"}, "9 slices, 5 mm: the only series")


def test_study_without_a_suitable_series_has_none() -> None:
    assert chosen(series("a", plane="sagittal")) == (set(), "", [("sagittal", 2)])


def test_filter_leaves_out_other_series() -> None:
    assert chosen(series("a", 9, kernel="B30f"), series("b", kernel="B60f"), series_filter="b6") == (
        {"b"},
        "2 slices, kernel B60f, 5 mm: the only suitable series",
        [("not matching the filter", 9)],
    )


@pytest.mark.parametrize("text", ["b60", "B60F", "lung", "LUNG*", "b6??", "*/lung*", "disc", "B60[ef]"])
def test_filter_matches_the_kernel_or_the_folder(text: str) -> None:
    assert matches_filter([SliceRecord("disc/LUNG 1.0 B60f/1.dcm", kernel="B60f")], text)


@pytest.mark.parametrize("text", ["b30", "lung?", "b6", "1.dcm"])
def test_filter_that_does_not_match(text: str) -> None:
    assert not matches_filter([SliceRecord("disc/LUNG 1/1.dcm", kernel="B70f")], text)


def test_reason_has_the_details_of_a_series() -> None:
    assert LeftOut("of another series", 9, "9 slices, 5 mm").reason == "of another series (9 slices, 5 mm)"
    assert LeftOut("localizer", 2).reason == "localizer"


def test_series_of_two_studies_with_one_number_are_two() -> None:
    slices = [*series("1", 2, study="a"), *series("1", 3, study="b")]
    assert chosen(slices)[1:] == ("3 slices, 5 mm: most slices", [("of another study", 2)])


def test_slices_without_a_series_are_those_of_their_study() -> None:
    slices = [*series("", 2, study="a"), *series("", 3, study="b")]
    assert chosen(slices)[1:] == ("3 slices, 5 mm: most slices", [("of another study", 2)])


def test_series_of_another_study_is_described_as_one() -> None:
    slices = chosen(series("new", 3, study="2"), series("old", 5, study="1"), series("scout", 1, study="1"))
    assert slices[2] == [("of another study", 3), ("of another series", 1)]


def test_slices_of_another_study_that_may_show_a_finding_are_counted_as_such_whatever_their_reason() -> None:
    mine, other = series("a", 3, kernel="B60f", study="1"), series("b", 2, kernel="B30f", study="2")
    assert chosen(mine, other, series_filter="B60f")[2] == [("of another study", 2)]
    assert chosen(mine, series("b", 2, plane="coronal", study="2"))[2] == [("of another study", 2)]
    assert chosen(mine, series("b", 2, plane="coronal", study="1"))[2] == [("coronal", 2)]
    assert chosen(mine, series("b", 2, is_localizer=True, study="2"))[2] == [("localizer", 2)]
    assert chosen(mine, series("b", 2, modality="CR", study="2"))[2] == [("not a CT", 2)]
