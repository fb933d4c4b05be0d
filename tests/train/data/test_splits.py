"""Splits taken from the training images: their share, their guarantees, and groups that are kept together."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctonnx.errors import DataError
from ctonnx_train.data.leakage import find_leaks, group_numbers
from ctonnx_train.data.splits import SPLITS, Sample, Split, take_splits

LETTERS = "abcd"


def images(*counts: int) -> dict[Split, tuple[Sample, ...]]:
    """Returns training images, with the given number of each class."""
    samples = (
        Sample(f"{LETTERS[label]}/{n:03}.png", label) for label, count in enumerate(counts) for n in range(count)
    )
    return {"train": tuple(samples), "valid": (), "test": ()}


def counted(splits: Mapping[Split, Sequence[Sample]], classes: int) -> dict[str, list[int]]:
    return {
        split: [sum(sample.label == label for sample in splits[split]) for label in range(classes)] for split in SPLITS
    }


def rejected(
    splits: Mapping[Split, tuple[Sample, ...]],
    made: Sequence[Split],
    message: str,
    groups: Mapping[str, int] | None = None,
) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        take_splits(splits, made, LETTERS[:2], seed=0, groups=groups)


@pytest.mark.parametrize(
    ("counts", "taken"),
    [((20, 20), [3, 3]), ((20, 40), [3, 6]), ((100, 7), [15, 1]), ((148, 195), [22, 29]), ((10, 11), [2, 2])],
)
def test_each_made_split_takes_fifteen_percent_of_each_class_and_no_image_twice(
    counts: tuple[int, ...], taken: list[int]
) -> None:
    there = images(*counts)
    splits = take_splits(there, ("valid", "test"), LETTERS[:2], seed=0)
    left = [count - 2 * part for count, part in zip(counts, taken, strict=True)]
    assert counted(splits, 2) == {"train": left, "valid": taken, "test": taken}
    assert sorted(sample for split in SPLITS for sample in splits[split]) == sorted(there["train"])
    assert all(list(splits[split]) == sorted(splits[split]) for split in SPLITS)


def test_one_split_is_made_and_the_other_is_unchanged() -> None:
    test = (Sample("test/a/1.png", 0),)
    splits = take_splits(images(20, 20) | {"test": test}, ("valid",), LETTERS[:2], seed=0)
    assert counted(splits, 2) == {"train": [17, 17], "valid": [3, 3], "test": [1, 0]}
    assert splits["test"] == test


def test_existing_splits_are_unchanged() -> None:
    there = images(1, 1)
    assert take_splits(there, (), LETTERS[:2], seed=0) == there


def test_same_seed_takes_the_same_images_and_another_does_not() -> None:
    groups = {sample.path: number // 2 for number, sample in enumerate(images(40, 40)["train"])}
    for chosen in (None, groups):
        first, again, other = (
            take_splits(images(40, 40), ("valid", "test"), LETTERS[:2], seed, chosen) for seed in (1, 1, 2)
        )
        assert first == again
        assert all(first[split] != other[split] for split in SPLITS)


@pytest.mark.parametrize("counts", [(3, 3), (20, 4), (4, 5, 6), (60, 3), (60, 4, 4)])
def test_class_with_few_images_is_in_every_split(counts: tuple[int, ...]) -> None:
    for seed in range(5):
        splits = take_splits(images(*counts), ("valid", "test"), LETTERS[: len(counts)], seed)
        assert [split for split, found in counted(splits, len(counts)).items() if 0 in found] == []


@pytest.mark.parametrize(
    ("count", "made", "message"),
    [
        (1, ("valid",), "expected at least 2 images of each class to take valid from, found 1 of 'b'"),
        (2, ("valid", "test"), "expected at least 3 images of each class to take valid and test from, found 2 of 'b'"),
        (0, ("test",), "expected at least 2 images of each class to take test from, found 0 of 'b'"),
    ],
)
def test_class_with_too_few_images_is_named(count: int, made: tuple[Split, ...], message: str) -> None:
    rejected(images(20, count), made, f"{message}; add images, or make 'train' and 'valid' folders")
    assert take_splits(images(20, len(made) + 1), made, LETTERS[:2], seed=0)


def test_class_that_is_copies_of_too_few_images_is_named() -> None:
    there = images(20, 9)
    groups = {sample.path: 99 if sample.label else number for number, sample in enumerate(there["train"])}
    rejected(
        there,
        ("valid",),
        "expected at least 2 images that are not copies or of one group of each class to take valid from, "
        "found 1 of 'b'; add images, or make 'train' and 'valid' folders",
        groups,
    )


def test_group_goes_into_one_split_as_a_whole() -> None:
    there = images(60, 60)
    groups = {sample.path: number // 3 for number, sample in enumerate(there["train"])}
    splits = take_splits(there, ("valid", "test"), LETTERS[:2], seed=0, groups=groups)
    assert counted(splits, 2) == {"train": [42, 42], "valid": [9, 9], "test": [9, 9]}
    held = [{groups[sample.path] for sample in splits[split]} for split in SPLITS]
    assert sum(map(len, held)) == len(set.union(*held)) == 40


def test_smallest_group_is_taken_if_all_are_larger_than_the_share() -> None:
    there = images(20, 40)
    sizes = [9, 6, 5]
    large = iter([number for number, size in enumerate(sizes) for _ in range(size)])
    groups = {sample.path: 100 + n if sample.label else next(large) for n, sample in enumerate(there["train"])}
    for seed in range(4):
        splits = take_splits(there, ("valid",), LETTERS[:2], seed, groups)
        assert counted(splits, 2) == {"train": [15, 34], "valid": [5, 6], "test": [0, 0]}


def test_small_groups_are_distributed_if_the_rest_of_a_class_is_one_group() -> None:
    there = images(60, 60)
    groups = {sample.path: min(number, 2) if number < 60 else number for number, sample in enumerate(there["train"])}
    splits = take_splits(there, ("valid", "test"), LETTERS[:2], seed=0, groups=groups)
    assert counted(splits, 2) == {"train": [58, 42], "valid": [1, 9], "test": [1, 9]}


def test_group_of_two_classes_counts_for_both() -> None:
    there = images(20, 20)
    pairs = {sample.path: int(sample.path[2:5]) for sample in there["train"]}
    splits = take_splits(there, ("valid",), LETTERS[:2], seed=0, groups=pairs)
    assert counted(splits, 2) == {"train": [17, 17], "valid": [3, 3], "test": [0, 0]}
    assert Counter(pairs[sample.path] for sample in splits["valid"]).most_common()[-1][1] == 2


LABELS_AND_GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=4, max_size=40)
MADE: st.SearchStrategy[tuple[Split, ...]] = st.sampled_from([("valid",), ("test",), ("valid", "test")])


def taken(
    drawn: Sequence[tuple[int, int]], made: tuple[Split, ...], seed: int, *, classes_share_groups: bool
) -> dict[Split, tuple[Sample, ...]] | None:
    """Returns the splits of images with drawn classes and digests; None if a class has too few."""
    samples = tuple(Sample(f"{number}.png", label) for number, (label, _) in enumerate(drawn))
    digests = {
        sample.path: str(digest) if classes_share_groups else f"{digest} of {sample.label}"
        for sample, (_, digest) in zip(samples, drawn, strict=True)
    }
    classes = LETTERS[: max(sample.label for sample in samples) + 1]
    there: dict[Split, tuple[Sample, ...]] = {"train": samples, "valid": (), "test": ()}
    try:
        splits = take_splits(there, made, classes, seed, group_numbers(samples, digests))
    except DataError:
        return None
    leaks = find_leaks(splits, digests)
    assert (leaks.groups_across_splits, leaks.leaked) == (0, {"valid": 0, "test": 0})
    assert sorted(sample for split in SPLITS for sample in splits[split]) == sorted(samples)
    assert [split for split in SPLITS[1:] if splits[split] and split not in made] == []
    return splits


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(LABELS_AND_GROUPS, MADE, st.integers(0, 3))
def test_no_copy_crosses_the_splits_and_each_has_every_class(
    drawn: list[tuple[int, int]], made: tuple[Split, ...], seed: int
) -> None:
    if splits := taken(drawn, made, seed, classes_share_groups=False):
        labels = {label for label, _ in drawn}
        assert [split for split in ("train", *made) if {sample.label for sample in splits[split]} != labels] == []


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(LABELS_AND_GROUPS, MADE, st.integers(0, 3))
def test_copies_with_several_labels_do_not_cross_the_splits_and_train_has_every_class(
    drawn: list[tuple[int, int]], made: tuple[Split, ...], seed: int
) -> None:
    if splits := taken(drawn, made, seed, classes_share_groups=True):
        assert {sample.label for sample in splits["train"]} == {label for label, _ in drawn}
        assert [split for split in made if not splits[split]] == []


def patients_with(*sizes: tuple[int, ...]) -> tuple[dict[Split, tuple[Sample, ...]], dict[str, int]]:
    """Returns training images of patients, given their numbers of images of each class, and their group numbers."""
    samples = [
        Sample(f"{LETTERS[label]}/{number:03}-{image}.png", label)
        for number, counts in enumerate(sizes)
        for label, count in enumerate(counts)
        for image in range(count)
    ]
    return {"train": tuple(samples), "valid": (), "test": ()}, {path: int(path[2:5]) for path, _ in samples}


def test_patients_are_in_one_split_each_and_shares_are_near_fifteen_percent() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(rng.integers(1, 12)), 0) if number % 3 else (0, int(rng.integers(1, 12))) for number in range(60)]
    there, groups = patients_with(*sizes)
    total = [sum(size[label] for size in sizes) for label in range(2)]
    for seed in range(5):
        splits = take_splits(there, ("valid", "test"), LETTERS[:2], seed, groups, by_patient=True)
        found = {split: {groups[path] for path, _ in splits[split]} for split in SPLITS}
        assert sum(map(len, found.values())) == 60
        for split in ("valid", "test"):
            shares = np.divide(counted(splits, 2)[split], total)
            assert (np.abs(shares - 0.15) < 0.05).all()
    assert take_splits(there, ("valid",), LETTERS[:2], 1, groups, by_patient=True) == take_splits(
        there, ("valid",), LETTERS[:2], 1, groups, by_patient=True
    )


def test_folds_by_patient_are_nearer_to_the_share_than_drawn_groups() -> None:
    rng = np.random.default_rng(1)
    sizes = [(int(rng.integers(1, 30)), int(rng.integers(1, 30))) for _ in range(40)]
    there, groups = patients_with(*sizes)
    total = np.array([sum(size[label] for size in sizes) for label in range(2)])

    def distance(*, by_patient: bool) -> float:
        made = (take_splits(there, ("valid",), LETTERS[:2], seed, groups, by_patient=by_patient) for seed in range(5))
        return float(np.mean([np.abs(counted(each, 2)["valid"] / total - 0.15).max() for each in made]))

    assert distance(by_patient=True) < 0.7 * distance(by_patient=False)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 1)), min_size=6, max_size=24))
@settings(max_examples=20, deadline=None)
def test_training_images_have_every_class_whatever_the_patients(sizes: list[tuple[int, ...]]) -> None:
    there, groups = patients_with(*sizes)
    if any(sum(size[label] > 0 for size in sizes) < 3 for label in range(3)):
        with pytest.raises(DataError, match="expected at least 3 patients of each class"):
            take_splits(there, ("valid", "test"), LETTERS[:3], 0, groups, by_patient=True)
        return
    splits = take_splits(there, ("valid", "test"), LETTERS[:3], 0, groups, by_patient=True)
    assert all(counted(splits, 3)["train"])
    assert splits["valid"]
    assert splits["test"]


def test_a_class_with_three_patients_is_in_every_split() -> None:
    there, groups = patients_with(*[(4, 0)] * 40, *[(0, 5)] * 3)
    splits = take_splits(there, ("valid", "test"), LETTERS[:2], 0, groups, by_patient=True)
    assert [counts[1] for counts in counted(splits, 2).values()] == [5, 5, 5]


def test_too_few_patients_are_reported() -> None:
    there, groups = patients_with(*[(4, 0)] * 9, *[(0, 50)] * 2)
    message = (
        "expected at least 3 patients of each class to take valid and test from, found 2 of 'b'; add patients, or name "
        "the splits: 'train' and 'valid' folders, or the column 'split' of --labels"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        take_splits(there, ("valid", "test"), LETTERS[:2], 0, groups, by_patient=True)
