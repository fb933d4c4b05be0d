"""Copies and groups: their counts, the samples that leak, and the splits without these."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctonnx.errors import DataError
from ctonnx_train.data.leakage import (
    Leaks,
    drop_leaks,
    duplicate_groups,
    extra_copies,
    find_leaks,
    group_names,
    group_numbers,
    groups_across_splits,
    labelled_fingerprint,
)
from ctonnx_train.data.splits import SPLITS, Sample, Split

# Each image's path, the letter of its pixels, and its class. `train` has two copies of p and a conflicting pair q;
# `valid` repeats p and q and has r twice; `test` repeats p and r and has s twice, with different labels.
SPLIT_SET: dict[Split, tuple[Sample, ...]] = {
    "train": (Sample("train/p1", 0), Sample("train/p2", 0), Sample("train/q1", 0), Sample("train/q2", 1)),
    "valid": (Sample("valid/p3", 0), Sample("valid/q3", 1), Sample("valid/r1", 1), Sample("valid/r2", 1)),
    "test": (Sample("test/p4", 0), Sample("test/r3", 1), Sample("test/s1", 0), Sample("test/s2", 1)),
}
DIGESTS = {sample.path: sample.path.split("/")[1][0] for split in SPLITS for sample in SPLIT_SET[split]}


def paths(samples: Iterable[Sample]) -> list[str]:
    return [sample.path for sample in samples]


def named(*names: str) -> list[Sample]:
    return [Sample(name, 0) for name in names]


def partition(numbers: Mapping[str, int]) -> set[frozenset[str]]:
    """Returns the groups of paths with equal numbers."""
    return {frozenset(path for path in numbers if numbers[path] == number) for number in numbers.values()}


def test_groups_are_of_two_or_more_copies_in_the_order_of_their_first() -> None:
    samples = named("a", "b", "c", "d", "e")
    digests = {"a": "1", "b": "2", "c": "3", "d": "2", "e": "1"}
    assert [paths(group) for group in duplicate_groups(samples, digests)] == [["a", "e"], ["b", "d"]]
    assert duplicate_groups(samples[:3], digests) == []


def test_leaks_are_counted() -> None:
    assert find_leaks(SPLIT_SET, DIGESTS) == Leaks(
        groups=4,
        files=12,
        groups_across_splits=3,
        files_across_splits=10,
        groups_with_several_labels=2,
        files_with_several_labels=5,
        leaked={"valid": 2, "test": 2},
        dropped={},
    )


def test_leaks_are_described_in_a_sentence_and_stored_as_a_record() -> None:
    leaks = find_leaks(SPLIT_SET, DIGESTS)
    assert leaks.sentence() == (
        "12 files in 4 groups of identical pixels: 3 groups (10 files) across splits, 2 with different labels; "
        "files that leaked from an earlier split: 2 of valid, 2 of test"
    )
    assert Leaks(**asdict(leaks)) == leaks
    assert asdict(leaks)["leaked"] == {"valid": 2, "test": 2}


def test_sentence_without_leaks_and_without_copies() -> None:
    copies = SPLIT_SET | {"valid": (), "test": ()}
    assert find_leaks(copies, DIGESTS).sentence() == (
        "4 files in 2 groups of identical pixels: 0 groups (0 files) across splits, 1 with different labels; "
        "files that leaked from an earlier split: none"
    )
    alone: dict[Split, tuple[Sample, ...]] = {"train": SPLIT_SET["train"][1:3], "valid": (), "test": ()}
    assert find_leaks(alone, DIGESTS).sentence() == "no image is in the dataset twice"


def test_sentence_lists_the_files_left_out() -> None:
    leaks = replace(find_leaks(SPLIT_SET, DIGESTS), dropped={"train": 3, "valid": 0, "test": 2})
    assert leaks.sentence().endswith(
        "files that leaked from an earlier split: 2 of valid, 2 of test; left out: 3 of train, 2 of test"
    )
    groups = replace(leaks, groups=0, leaked={"valid": 1, "test": 0}, dropped={"train": 0, "valid": 1, "test": 0})
    assert groups.sentence() == "files whose group is in an earlier split: 1 of valid; left out: 1 of valid"


def test_dropping_keeps_leaked_files_out_of_valid_and_test_and_conflicting_copies_out_of_train() -> None:
    kept = drop_leaks(SPLIT_SET, DIGESTS)
    assert {split: paths(samples) for split, samples in kept.items()} == {
        "train": ["train/p1", "train/p2"],
        "valid": ["valid/r1", "valid/r2"],
        "test": ["test/s1", "test/s2"],
    }


def test_copy_in_train_is_dropped_if_its_other_label_is_in_another_split() -> None:
    splits: dict[Split, tuple[Sample, ...]] = {
        "train": (Sample("train/1", 0), Sample("train/2", 0)),
        "valid": (),
        "test": (Sample("test/1", 1),),
    }
    kept = drop_leaks(splits, {"train/1": "x", "train/2": "y", "test/1": "x"})
    assert {split: paths(samples) for split, samples in kept.items()} == {"train": ["train/2"], "valid": [], "test": []}


def test_other_images_of_a_patient_leak_too() -> None:
    splits: dict[Split, tuple[Sample, ...]] = {
        "train": (Sample("train/p1_1", 0), Sample("train/p2_1", 1)),
        "valid": (Sample("valid/p1_2", 0), Sample("valid/p3_1", 1)),
        "test": (Sample("test/p3_2", 1), Sample("test/p4_1", 0), Sample("test/unnamed", 0)),
    }
    samples = [sample for split in SPLITS for sample in splits[split]]
    digests = {path: path for path in paths(samples)}
    names = group_names(samples, r"p\d")
    leaks = find_leaks(splits, digests, names)
    assert (leaks.groups, leaks.leaked) == (0, {"valid": 1, "test": 1})
    assert leaks.sentence() == "files whose group is in an earlier split: 1 of valid, 1 of test"
    assert {split: paths(kept) for split, kept in drop_leaks(splits, digests, names).items()} == {
        "train": ["train/p1_1", "train/p2_1"],
        "valid": ["valid/p3_1"],
        "test": ["test/p4_1", "test/unnamed"],
    }


@pytest.mark.parametrize(
    ("regex", "names"),
    [
        (None, {}),
        (r"patient_\d+", {"a/patient_1 x.png": "patient_1", "b/patient_12.png": "patient_12"}),
        (r"patient_(\d+)", {"a/patient_1 x.png": "1", "b/patient_12.png": "12"}),
        (r"patient_(?P<who>\d)(\d?)", {"a/patient_1 x.png": "1", "b/patient_12.png": "1"}),
        (r"patient_\d(\d)?", {"b/patient_12.png": "2"}),
        (r"^[^/]+", {"a/patient_1 x.png": "a", "b/patient_12.png": "b", "b/other.png": "b"}),
    ],
)
def test_group_is_named_by_what_the_expression_finds_in_the_path(regex: str | None, names: dict[str, str]) -> None:
    assert group_names(named("a/patient_1 x.png", "b/patient_12.png", "b/other.png"), regex) == names


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        (
            r"patient_(\d+",
            "expected a regular expression for --group-regex, found 'patient_(\\d+' "
            "(missing ), unterminated subpattern at position 8)",
        ),
        (
            r"case_(\d+)",
            "expected --group-regex 'case_(\\d+)' to match paths such as 'a/1.png', found that it matches none",
        ),
    ],
)
def test_invalid_expression_and_one_without_a_match_are_rejected(regex: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        group_names(named("a/1.png", "a/2.png"), regex)


def test_group_is_joined_by_pixels_by_names_and_by_chains_of_both() -> None:
    samples = named("a", "b", "c", "d", "e")
    digests = {"a": "1", "b": "1", "c": "2", "d": "3", "e": "4"}
    by_pixels = {frozenset(group) for group in ("ab", "c", "d", "e")}
    assert partition(group_numbers(samples, digests)) == by_pixels
    names = {"b": "patient", "c": "patient", "d": "other"}
    assert partition(group_numbers(samples, digests, names)) == {frozenset(group) for group in ("abc", "d", "e")}


def test_name_that_is_anothers_path_joins_nothing() -> None:
    samples = named("a", "b")
    assert partition(group_numbers(samples, {"a": "1", "b": "2"}, {"b": "a"})) == {frozenset("a"), frozenset("b")}


IMAGES = st.lists(
    st.tuples(st.sampled_from(SPLITS), st.integers(0, 2), st.integers(0, 9), st.none() | st.integers(0, 5)), max_size=25
)
"""Split, class, pixels and optional patient of each image."""


def drawn_set(
    images: list[tuple[Split, int, int, int | None]],
) -> tuple[dict[Split, tuple[Sample, ...]], dict[str, str], dict[str, str]]:
    splits = {
        split: tuple(Sample(f"{split}/{row}", label) for row, (of, label, _, _) in enumerate(images) if of == split)
        for split in SPLITS
    }
    digests = {f"{split}/{row}": f"pixels {number}" for row, (split, _, number, _) in enumerate(images)}
    names = {f"{split}/{row}": f"patient {who}" for row, (split, _, _, who) in enumerate(images) if who is not None}
    return splits, digests, names


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(IMAGES)
def test_after_dropping_nothing_leaks_nothing_in_train_conflicts_and_nothing_else_is_gone(
    images: list[tuple[Split, int, int, int | None]],
) -> None:
    splits, digests, names = drawn_set(images)
    kept = drop_leaks(splits, digests, names)
    after = find_leaks(kept, digests, names)
    assert (after.leaked, after.groups_across_splits) == ({"valid": 0, "test": 0}, 0)
    labels: dict[str, set[int]] = {}
    for sample in (sample for split in SPLITS for sample in splits[split]):
        labels.setdefault(digests[sample.path], set()).add(sample.label)
    assert kept["train"] == tuple(sample for sample in splits["train"] if len(labels[digests[sample.path]]) == 1)
    before = find_leaks(splits, digests, names)
    assert {split: len(splits[split]) - len(kept[split]) for split in SPLITS[1:]} == before.leaked
    assert all(set(kept[split]) <= set(splits[split]) for split in SPLITS)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(IMAGES)
def test_groups_are_those_found_by_joining_pairs(images: list[tuple[Split, int, int, int | None]]) -> None:
    splits, digests, names = drawn_set(images)
    samples = [sample for split in SPLITS for sample in splits[split]]
    groups = [{path} for path in paths(samples)]
    for keys in (digests, names):
        for key in set(keys.values()):
            joined = [group for group in groups if any(keys.get(path) == key for path in group)]
            groups = [group for group in groups if group not in joined] + ([set.union(*joined)] if joined else [])
    assert partition(group_numbers(samples, digests, names)) == {frozenset(group) for group in groups}


def test_groups_in_several_splits_are_counted_in_each_by_name() -> None:
    names = {"train/p1": "B", "train/p2": "B", "valid/p3": "B", "test/p4": "A", "valid/q3": "A", "test/s1": "C"}
    assert groups_across_splits(SPLIT_SET, names) == {"A": {"valid": 1, "test": 1}, "B": {"train": 2, "valid": 1}}
    assert groups_across_splits(SPLIT_SET, {}) == {}


def test_each_image_counts_once_and_one_of_two_kinds_not_at_all() -> None:
    digests = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c": "c"}
    samples = [Sample("a1", 0), Sample("a2", 0), Sample("b1", 0), Sample("b2", 2), Sample("c", 1)]
    assert extra_copies(samples, digests, lambda sample: sample.label) == ({samples[2], samples[3]}, {samples[1]})
    assert extra_copies(samples, digests, lambda sample: sample.label == 1) == (set(), {samples[1], samples[3]})


def test_fingerprint_of_labelled_images_changes_with_their_classes_alone() -> None:
    digests = {"a": "1", "b": "2", "c": "1", "d": "2"}
    found = labelled_fingerprint([Sample("a", 0), Sample("b", 1)], digests, ("x", "y"))
    assert labelled_fingerprint([Sample("d", 0), Sample("c", 1)], digests, ("y", "x")) == found
    assert labelled_fingerprint([Sample("a", 1), Sample("b", 1)], digests, ("x", "y")) != found
