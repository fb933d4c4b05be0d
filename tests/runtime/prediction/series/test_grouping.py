"""Grouping of files, and the errors of files without a group."""

import os
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.grouping import group_files, unique
from ctonnx.prediction.series.ordering import in_order
from ctonnx.prediction.series.slices import SliceRecord


def dicom(file: str, patient: str, study: str, series: str, **more: object) -> SliceRecord:
    one = SliceRecord(file, patient, study, series, plane="axial", is_dicom=True)
    return one._replace(**more)  # type: ignore[arg-type]


RECORDS = {
    one.file: one
    for one in (
        dicom("d/a1", "A", "a", "a1", kernel="B30f"),
        dicom("d/b1", "B", "b", "b1"),
        dicom("e/a1", "A", "a", "a1", kernel="B30f"),
        dicom("e/a2", "A", "a2", "a2", kernel="B60f"),
    )
}


def read(file: str) -> SliceRecord:
    return RECORDS.get(file, SliceRecord(file))


def files_of(by: str, *files: str, series_filter: str | None = None) -> list[tuple[str | None, list[str]]]:
    grouping = group_files(files or list(RECORDS), by, read, series_filter=series_filter)  # type: ignore[arg-type]
    return [(group.name, [one.file for one in group.files]) for group in grouping.groups]


def test_groups_are_in_the_order_of_their_first_files() -> None:
    assert files_of("series") == [("a1", ["d/a1", "e/a1"]), ("b1", ["d/b1"]), ("a2", ["e/a2"])]
    assert files_of("study") == [("a", ["d/a1", "e/a1"]), ("b", ["d/b1"]), ("a2", ["e/a2"])]
    assert files_of("folder") == [("d", ["d/a1", "d/b1"]), ("e", ["e/a1", "e/a2"])]


def test_of_a_patient_one_series_is_taken() -> None:
    grouping = group_files(list(RECORDS), "patient", read)
    first = grouping.groups[0]
    assert (first.name, first.folders, [one.file for one in first.files]) == ("A", ("d", "e"), ["d/a1", "e/a1"])
    assert first.taken == "2 slices, kernel B30f: most slices"
    assert first.left_out == (LeftOut("of another study", 1, "1 slice, kernel B60f"),)
    assert grouping.files == 3


def test_headers_of_a_folder_are_read_when_it_is_reached() -> None:
    def fail(file: str) -> SliceRecord:
        raise AssertionError(file)

    (group,) = group_files(["x/s10.png", "x/s2.png"], "folder", fail).groups
    assert [one.file for one in in_order(group.with_headers(read).files).slices] == ["x/s2.png", "x/s10.png"]


def test_folder_of_a_bare_name_is_the_working_folder() -> None:
    assert files_of("folder", "a.png", "./b.png", "x/../c.png") == [(".", ["a.png", "./b.png", "x/../c.png"])]


def test_files_without_a_group_are_an_error_of_their_folder() -> None:
    RECORDS["d/anonymous"] = dicom("d/anonymous", "", "", "")
    try:
        groups = group_files(["d/a1", "d/x.png", "d/anonymous", "e/y.png"], "patient", read).groups
    finally:
        del RECORDS["d/anonymous"]
    assert [(group.name, group.folders, group.failed, group.error) for group in groups] == [
        ("A", ("d",), 0, None),
        (
            None,
            ("d",),
            2,
            "1 DICOM file without a PatientID and 1 file that cannot be read as DICOM, such as 'd/x.png'; use "
            "--by folder",
        ),
        (None, ("e",), 1, "1 file that cannot be read as DICOM, such as 'e/y.png'; use --by folder"),
    ]


def test_no_file_with_a_group_is_an_error() -> None:
    message = (
        "expected DICOM files with a SeriesInstanceUID for --by series, found none in 2 files, such as 'x.png'; "
        "use --by folder"
    )
    with pytest.raises(CtonnxError) as caught:
        group_files(["x.png", "y.png"], "series", read)
    assert str(caught.value) == message


def test_study_without_an_axial_series_has_an_error() -> None:
    def scouts(file: str) -> SliceRecord:
        return dicom(file, "A", "a", file, is_localizer=True)

    (group,) = group_files(["1", "2"], "study", scouts).groups
    assert (group.files, group.error) == ((), "no axial CT series: 2 localizer")


def mixed(file: str) -> SliceRecord:
    """A localizer in an axial series, a coronal series, and a series of another modality."""
    name = {"1": "a", "2": "a", "3": "b", "4": "c"}[file]
    plane = "coronal" if file == "3" else "axial"
    return dicom(file, "A", "a", name, is_localizer=file == "1", plane=plane, modality="MR" if file == "4" else "")


def test_slices_that_are_not_axial_are_left_out_of_a_series() -> None:
    groups = group_files(list("1234"), "series", mixed).groups
    assert [(group.name, [one.file for one in group.files], group.left_out, group.error) for group in groups] == [
        ("a", ["2"], (LeftOut("localizer", 1),), None),
        ("b", [], (LeftOut("coronal", 1),), None),
        ("c", [], (LeftOut("not a CT", 1),), None),
    ]
    assert [group.taken for group in groups] == ["", "", ""]


def test_filter_selects_a_series_of_any_plane_but_no_localizer_in_an_axial_one() -> None:
    def in_folders(file: str) -> SliceRecord:
        return mixed(file[-1])._replace(file=file)

    def selected(text: str) -> list[tuple[list[str], str]]:
        groups = group_files(["ax/1", "ax/2", "cor/3", "mr/4"], "series", in_folders, series_filter=text).groups
        return [([one.file for one in group.files], group.taken) for group in groups]

    assert selected("cor") == [(["cor/3"], "1 slice, coronal: selected by the filter")]
    assert selected("ax") == [(["ax/2"], "")]


def test_no_axial_slice_at_all_is_an_error() -> None:
    message = (
        "expected axial CT slices for --by series, found none (1 coronal, 1 not a CT); --series-filter selects other "
        "series, and --by folder takes all files"
    )
    with pytest.raises(CtonnxError) as caught:
        group_files(["3", "4"], "series", mixed)
    assert str(caught.value) == message


def test_filter_drops_whole_series() -> None:
    grouping = group_files(list(RECORDS), "series", read, series_filter="b60")
    assert [group.name for group in grouping.groups] == ["a2"]
    assert grouping.left_out == (LeftOut("not matching the filter", 2), LeftOut("not matching the filter", 1))


@pytest.mark.parametrize("by", ["series", "study", "patient"])
def test_filter_that_matches_no_series_is_an_error_with_the_kernels(by: str) -> None:
    message = "expected series whose kernel or folder matches 'x', found none; their kernels are: B30f, B60f"
    with pytest.raises(CtonnxError) as caught:
        files_of(by, series_filter="x")
    assert str(caught.value) == message


def copies(file: str) -> SliceRecord:
    """Slices of one series, each of which the files `x/N` and `y/N` have."""
    place = int(file[2:])
    return dicom(file, "A", "a", "a1", position=float(place), instance=place, image=f"image {place}")


@pytest.mark.parametrize("by", ["series", "study", "patient"])
def test_slice_that_was_exported_twice_counts_once(by: str) -> None:
    (group,) = group_files(["x/1", "x/2", "y/1", "y/2", "y/3"], by, copies).groups  # type: ignore[arg-type]
    assert [one.file for one in group.files] == ["x/1", "x/2", "y/3"]
    assert group.left_out == (LeftOut("exported twice", 2),)
    assert group.folders == ("x", "y")


def test_slice_that_is_twice_in_a_folder_counts_once() -> None:
    (group,) = group_files(["x/1", "x/01", "x/2"], "folder", copies).groups
    assert len(group.files) == 3
    group = group.with_headers(copies)
    assert ([one.file for one in group.files], group.left_out) == (["x/1", "x/2"], (LeftOut("exported twice", 1),))


def test_files_without_a_series_are_one_series_of_each_study() -> None:
    def nameless(file: str) -> SliceRecord:
        return dicom(file, "A", file[0], "")

    (group,) = group_files(["a/1", "a/2", "b/1", "b/2", "b/3"], "patient", nameless).groups
    assert [one.file for one in group.files] == ["b/1", "b/2", "b/3"]
    assert group.left_out == (LeftOut("of another study", 2, "2 slices"),)


def test_file_that_is_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert unique(["a.png", "./a.png", os.path.join(tmp_path, "a.png"), "b.png"]) == ["a.png", "b.png"]


def test_series_of_two_patients_with_one_uid_are_two() -> None:
    """A damaged anonymization may number the series of each patient from 1."""
    found = {one.file: one for one in (dicom("a", "A", "a", "1"), dicom("b", "B", "b", "1"), dicom("c", "A", "a", "1"))}
    groups = group_files(list(found), "series", found.__getitem__).groups
    assert [(group.name, [one.file for one in group.files]) for group in groups] == [("1", ["a", "c"]), ("1-2", ["b"])]
