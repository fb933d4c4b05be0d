"""Patients of phantoms: one anatomy, scanner and noise, and a lesion in some of the slices."""

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from ctonnx_train.data.phantom.anatomy import CLASSES
from ctonnx_train.data.phantom.patient import Patient, draw_scout, draw_slice, invent_patient, uid_of
from ctonnx_train.data.phantom.scanner import Hounsfield, windowed


def patient(number: int = 1, *, seed: int = 0, slices: int = 8, size: int = 64) -> Patient:
    return invent_patient(number, seed=seed, slices=slices, size=size)


def lung_slice(one: Patient, index: int) -> Hounsfield:
    return draw_slice(one, index, [one.scanner.lung])[0]


@pytest.mark.parametrize("seed", range(4))
def test_of_each_four_patients_one_is_of_each_class_and_two_have_a_localizer_and_a_second_series(seed: int) -> None:
    for block in range(3):
        four = [patient(4 * block + number, seed=seed) for number in range(1, 5)]
        assert sorted(one.kind for one in four) == sorted(CLASSES)
        assert [sum(one.has_scout for one in four), sum(one.has_soft for one in four)] == [2, 2]


def test_class_does_not_follow_from_the_number_sex_or_scanner() -> None:
    found = Counter((CLASSES.index(one.kind), number % 4) for number in range(1, 201) for one in [patient(number)])
    assert len(found) == 16
    several = [patient(number) for number in range(1, 201)]
    for value in ("sex", "scanner"):
        assert {one.kind for one in several} == {
            kind
            for kind in CLASSES
            if {getattr(one, value) for one in several if one.kind == kind} == {getattr(one, value) for one in several}
        }


@pytest.mark.parametrize("slices", [2, 3, 8, 300])
def test_lesion_is_in_some_neighbouring_slices_only(slices: int) -> None:
    for number in range(1, 41):
        one = patient(number, slices=slices)
        classes = [one.class_of(index) for index in range(slices)]
        with_lesion = [index for index, kind in enumerate(classes) if kind != "normal"]
        assert set(classes) == ({"normal"} if one.kind == "normal" else {"normal", one.kind})
        assert with_lesion == list(one.with_lesion)
        assert len(with_lesion) <= max(1, 0.6 * slices + 1)


def test_lesion_is_drawn_where_the_class_states_it() -> None:
    one = next(one for number in range(1, 9) for one in [patient(number)] if one.kind == "small.peripheral")
    without = replace(one, kind="normal")
    for index in range(one.slices):
        differs = np.abs(lung_slice(one, index) - lung_slice(without, index)).max() > 300
        assert differs == (index in one.with_lesion)


def test_identifiers_are_unique_and_do_not_contain_the_number() -> None:
    several = [patient(number) for number in range(1, 1001)]
    assert len({one.identifier for one in several}) == 1000
    assert all(len(one.identifier) == 10 and one.identifier.startswith("SYN") for one in several)
    assert several[16].identifier != patient(17, seed=1).identifier


def test_uids_are_valid_and_the_same_for_the_same_names_only() -> None:
    one = patient()
    found = [one.uid("study"), one.uid("series", 1), one.uid("series", 2), patient(2).uid("study")]
    found += [patient(seed=1).uid("study"), patient(size=65).uid("study"), uid_of("study")]
    assert len(set(found)) == 7
    assert one.uid("study") == patient().uid("study")
    assert all(uid.startswith("2.25.") and uid[5:].isdecimal() and len(uid) <= 64 for uid in found)


def difference(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    return float(np.abs(one - other).mean())


def test_neighbouring_slices_are_more_alike_than_slices_of_other_patients_and_distant_ones() -> None:
    shown = [
        [np.asarray(windowed(lung_slice(one, index), *one.window), np.float32) for index in (0, 1, 7)]
        for one in (patient(1), patient(2), patient(4))
    ]
    near = [difference(slices[0], slices[1]) for slices in shown]
    far = [difference(slices[0], slices[2]) for slices in shown]
    others = [difference(shown[a][0], shown[b][0]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert max(near) < min(far)
    assert max(near) < 0.6 * min(others)


def test_noise_differs_between_slices_and_its_strength_between_patients() -> None:
    one = patient(1)
    air = [lung_slice(one, index)[4:9, 24:40] for index in (0, 1)]
    assert abs(np.corrcoef(air[0].ravel(), air[1].ravel())[0, 1]) < 0.7
    spread = {round(float(lung_slice(patient(number), 0)[4:9, 24:40].std())) for number in range(1, 5)}
    assert len(spread) > 1


def test_kernels_of_a_slice_show_the_same_anatomy_and_the_soft_one_less_noise() -> None:
    one = patient(1, size=128)
    lung, soft = draw_slice(one, 0, [one.scanner.lung, one.scanner.soft])
    assert np.corrcoef(lung.ravel(), soft.ravel())[0, 1] > 0.97
    assert soft[8:16, 48:80].std() < 0.8 * lung[8:16, 48:80].std()


def test_outside_of_the_field_of_view_is_no_noise() -> None:
    assert set(lung_slice(patient(1), 0)[:4, :4].ravel().tolist()) == {-1400.0}


def test_scout_is_labelled_and_another_picture_than_the_slices() -> None:
    one = patient(1, size=128)
    scout = draw_scout(one)
    assert scout.shape == (128, 128)
    assert abs(np.corrcoef(scout.ravel(), lung_slice(one, 3).ravel())[0, 1]) < 0.6
