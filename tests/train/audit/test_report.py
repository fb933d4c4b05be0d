"""An audit as text: every number in its place, and no list longer than a screen unless requested."""

from dataclasses import replace
from typing import Any

import pytest

from ctonnx.artifacts.report_schema import Shortcuts
from ctonnx.images import Preprocessing
from ctonnx_train.audit.audit import Audit, Copy
from ctonnx_train.audit.report import format_audit
from ctonnx_train.data.leakage import Leaks

CLEAN = Audit(
    root="scans",
    images=9,
    folder_classes={"normal": "normal", "Bengin cases": "benign"},
    counts={
        "train": {"benign": 4, "normal": 3},
        "valid": {"benign": 0, "normal": 2},
        "test": {"benign": 0, "normal": 0},
    },
    widths=(64, 96, 200),
    heights=(80, 96, 1024),
    modes={"L": 8, "RGBA": 1},
    formats={"PNG": 9},
    passed_over=0,
    unreadable={},
    exact=[],
    near=[],
    near_distance=16,
    near_across_splits=0,
    near_with_several_labels=0,
    leaks=Leaks(
        groups=0,
        files=0,
        groups_across_splits=0,
        files_across_splits=0,
        groups_with_several_labels=0,
        files_with_several_labels=0,
        leaked={"valid": 0, "test": 0},
        dropped={},
    ),
    shortcuts={
        "verdict": "untested",
        "classes": {
            "benign": {"verdict": "untested", "images": 4, "facts": []},
            "normal": {"verdict": "untested", "images": 5, "facts": []},
        },
        "images": 9,
        "groups": 9,
        "permutations": 999,
    },
)
HEADING = "shortcuts: how well size, file, grey values near the border, marks and scanner predict the class"
UNTESTED = (
    HEADING,
    "  class    verdict  AUROC  p",
    "  benign  untested      -  -",
    "  normal  untested      -  -",
    "  untested: a class and the rest each need 10 or more images, copies counted once",
    "  9 images in 9 groups of copies, 5 folds, 999 permutations",
    "",
)
STRONG: Shortcuts = {
    "verdict": "strong",
    "classes": {
        "benign": {"verdict": "none", "auroc": 0.53, "auroc_interval": [0.41, 0.6], "p_value": 0.31, "facts": []},
        "normal": {
            "verdict": "strong",
            "auroc": 0.97,
            "auroc_interval": [0.93, 0.99],
            "p_value": 0.001,
            "auroc_by_kind": {"size": 0.95, "file": 0.5},
            "facts": ["wider, median 581 against 400 pixels", "format JPEG, 98 % against 12 %"],
        },
    },
    "images": 90,
    "groups": 80,
    "permutations": 999,
}
LEAKS = Leaks(
    groups=3,
    files=7,
    groups_across_splits=1,
    files_across_splits=3,
    groups_with_several_labels=1,
    files_with_several_labels=2,
    leaked={"valid": 2, "test": 0},
    dropped={},
)
ACROSS = [Copy("train/a/1.png", "train", "a"), Copy("train/a/2.png", "train", "a"), Copy("valid/a/1.bmp", "valid", "a")]
CONFLICTING = [Copy("train/a/3.png", "train", "a"), Copy("train/b/3.png", "train", "b")]
WITHIN = [Copy("train/b/4.png", "train", "b"), Copy("train/b/5.png", "train", "b")]


def changed(**changes: Any) -> Audit:
    return replace(CLEAN, **changes)


def test_clean_dataset_as_a_table() -> None:
    assert format_audit(CLEAN) == (
        "scans: 9 images\n"
        "\n"
        "class    train   valid\n"
        "benign       4       0\n"
        "normal       3       2\n"
        "\n"
        "'Bengin cases' is read as 'benign'\n"
        "width 64/96/200, height 80/96/1024 pixels (smallest, median, largest)\n"
        "modes: L 8, RGBA 1; formats: PNG 9\n"
        "unreadable: 0\n"
        "\n"
        "exact duplicates (identical pixels): 0 groups, 0 files\n"
        "  across splits: 0 groups, 0 files\n"
        "  with different labels: 0 groups, 0 files\n"
        "  files that leak from an earlier split: valid 0, test 0\n"
        "near duplicates (perceptual hashes that differ in at most 16 of 256 bits): 0 groups, 0 files\n"
        "  across splits: 0 groups\n"
        "  with different labels: 0 groups\n"
        "\n" + "\n".join(UNTESTED) + "\n"
        "no leak between splits was found"
    )


@pytest.mark.parametrize(
    ("facts", "words"),
    [(["wider", "darker"], "wider; darker"), ([], "no fact alone distinguishes it, but several together do")],
)
def test_a_class_with_some_shortcuts_is_explained(facts: list[str], words: str) -> None:
    of = {"verdict": "some", "auroc": 0.7, "auroc_interval": [0.62, 0.8], "p_value": 0.001, "facts": facts}
    classes = {**STRONG["classes"], "normal": {**of, "auroc_by_kind": {"size": 0.68}}}
    lines = format_audit(changed(shortcuts={**STRONG, "verdict": "some", "classes": classes})).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  normal: "))
    assert lines[start : start + 2] == [
        f"  normal: {words} (AUROC by kind: size 0.68)",
        "  some: the facts distinguish a class from the rest, but the AUROC's interval begins below 0.7, where strong "
        "does: metrics of a network may be optimistic by that",
    ]


def test_shortcuts_are_a_table_with_facts_in_words_and_advice() -> None:
    lines = format_audit(changed(shortcuts=STRONG)).splitlines()
    assert lines[lines.index(HEADING) + 1 :] == [
        "  class   verdict                 AUROC      p",
        "  benign     none  0.530 [0.410, 0.600]  0.310",
        "  normal   strong  0.970 [0.930, 0.990]  0.001",
        "  normal: wider, median 581 against 400 pixels; format JPEG, 98 % against 12 % "
        "(AUROC by kind: size 0.95, file 0.50)",
        "  90 images in 80 groups of copies, 5 folds, 999 permutations",
        "",
        "no leak between splits was found",
        "STRONG SHORTCUTS: a network can predict the class without the anatomy, and fail on other scans",
        "data audit scans --as-seen --crop body --resize pad shows what would be left in the network's input; "
        "train has the same options",
    ]


def test_shortcuts_of_the_networks_input_name_its_preprocessing() -> None:
    seen = Preprocessing(size=128, crop="body", resize="pad")
    text = format_audit(changed(shortcuts=STRONG, as_seen=seen))
    assert "what the network sees (128 pixels, color grey, crop body, resize pad, intensity as-is): " in text
    assert text.endswith("or add images of each class from each source")
    assert "\nSTRONG SHORTCUTS" not in format_audit(changed(shortcuts={**STRONG, "verdict": "some"}))


def test_leaking_dataset_as_a_table() -> None:
    audit = changed(
        passed_over=3,
        notes=("folder 'val' is read as the split 'valid'", "skipped: 3 other files ('readme.md' first)"),
        unreadable={"train/a/9.png": "the file is empty (0 bytes)"},
        exact=[ACROSS, CONFLICTING, WITHIN],
        near=[ACROSS + CONFLICTING, WITHIN],
        near_distance=12,
        near_across_splits=1,
        near_with_several_labels=2,
        leaks=LEAKS,
    )
    lines = format_audit(audit).splitlines()
    assert lines[lines.index("modes: L 8, RGBA 1; formats: PNG 9") + 1 :] == [
        "folder 'val' is read as the split 'valid'",
        "skipped: 3 other files ('readme.md' first)",
        "unreadable: 1",
        "  train/a/9.png: the file is empty (0 bytes)",
        "",
        "exact duplicates (identical pixels): 3 groups, 7 files",
        "  across splits: 1 group, 3 files",
        "  with different labels: 1 group, 2 files",
        "  files that leak from an earlier split: valid 2, test 0",
        "  - train/a/1.png",
        "    train/a/2.png",
        "    valid/a/1.bmp",
        "  - train/a/3.png",
        "    train/b/3.png",
        "  1 more group within one split and class: --all or --json lists them",
        "near duplicates (perceptual hashes that differ in at most 12 of 256 bits): 2 groups, 7 files",
        "  across splits: 1 group",
        "  with different labels: 2 groups",
        "  - train/a/1.png",
        "    train/a/2.png",
        "    valid/a/1.bmp",
        "    train/a/3.png",
        "    train/b/3.png",
        "  1 more group within one split and class: --all or --json lists them",
        "",
        *UNTESTED,
        "THE SPLITS LEAK: metrics on them are optimistic",
        "train --drop-leaks and evaluate --drop-leaks leave the exact copies out",
        "1 file could not be read: fix or remove the files listed above",
    ]


COPIES_ARE_LEFT_OUT = "train --drop-leaks and evaluate --drop-leaks leave the exact copies out"
GROUPS_ARE_LEFT_OUT = "train --drop-leaks leaves out the images of patients that are in an earlier split"


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"near_across_splits": 1}, []),
        ({"leaks": LEAKS}, [COPIES_ARE_LEFT_OUT]),
        ({"leaks": replace(LEAKS, groups_across_splits=0)}, [COPIES_ARE_LEFT_OUT]),
        ({"grouped": 2, "groups_across_splits": {"7": {"train": 1, "test": 1}}}, [GROUPS_ARE_LEFT_OUT]),
    ],
)
def test_last_lines_warn_of_every_kind_of_leak_and_name_the_option_against_it(
    changes: dict[str, Any], advice: list[str]
) -> None:
    lines = format_audit(changed(**changes)).splitlines()
    assert lines[lines.index("THE SPLITS LEAK: metrics on them are optimistic") + 1 :] == advice


def test_groups_in_several_splits_are_a_table_of_their_own() -> None:
    audit = changed(
        grouped=12,
        patients_origin="--group-regex",
        groups_across_splits={"patient 7": {"train": 4, "valid": 1}, "9": {"train": 1, "test": 20}},
    )
    lines = format_audit(audit).splitlines()
    assert lines[lines.index("patients: 12 from --group-regex") - 1 :] == [
        "",
        "patients: 12 from --group-regex",
        "  in several splits: 2",
        "    patient     train   valid    test",
        "    patient 7       4       1       0",
        "    9               1       0      20",
        "  in several classes: 0",
        "",
        *UNTESTED,
        "THE SPLITS LEAK: metrics on them are optimistic",
        GROUPS_ARE_LEFT_OUT,
    ]


def test_groups_within_one_split_are_a_line_without_a_table() -> None:
    lines = format_audit(changed(grouped=3, patients_origin="DICOM headers")).splitlines()
    assert lines[-6 - len(UNTESTED) :] == [
        "",
        "patients: 3 from DICOM headers",
        "  in several splits: 0",
        "  in several classes: 0",
        "",
        *UNTESTED,
        "no leak between splits was found",
    ]


def test_a_patient_with_a_pseudonym_is_shown_by_an_image() -> None:
    audit = changed(
        grouped=3,
        patients_origin="labels file",
        groups_in_several_classes={"0f3a": {"benign": 1, "normal": 2}},
        first_image={"0f3a": "scans/7.png"},
    )
    lines = format_audit(audit).splitlines()
    start = lines.index("patients: 3 from the labels file")
    assert lines[start : start + 5] == [
        "patients: 3 from the labels file",
        "  in several splits: 0",
        "  in several classes: 1",
        "    patient with the image  benign  normal",
        "    scans/7.png                  1       2",
    ]


def test_last_line_reports_unreadable_files_if_nothing_leaks() -> None:
    lines = format_audit(changed(unreadable={"train/a/1.png": "empty", "train/a/2.png": "empty"})).splitlines()
    assert lines[-2:] == [
        "no leak between splits was found",
        "2 files could not be read: fix or remove the files listed above",
    ]


def test_groups_within_a_split_and_a_class_are_listed_only_if_all_are_requested() -> None:
    audit = changed(exact=[WITHIN])
    assert "train/b/4.png" not in format_audit(audit)
    note = "  1 more group within one split and class: --all or --json lists them"
    assert format_audit(audit).splitlines().count(note) == 1
    assert note in format_audit(changed(near=[WITHIN, ACROSS])).splitlines()
    assert "within one split" not in format_audit(audit, show_all=True) + format_audit(changed(exact=[ACROSS]))
    assert "\n  - train/b/4.png\n    train/b/5.png\n" in format_audit(audit, show_all=True)


def test_lists_end_after_ten_unless_all_are_requested() -> None:
    audit = changed(
        unreadable={f"train/a/{number}.png": "empty" for number in range(12)},
        exact=[[Copy(f"train/a/{n}", "train", "a"), Copy(f"valid/a/{n}", "valid", "a")] for n in range(11)],
        near=[WITHIN, *([ACROSS] * 10)],
    )
    lines = format_audit(audit).splitlines()
    assert lines.count("  ... and 2 more: --all or --json lists them") == 1
    assert lines.count("  ... and 1 more: --all or --json lists them") == 1
    assert sum("empty" in line for line in lines) == 10
    assert sum(line.startswith("  - ") for line in lines) == 20
    whole = format_audit(audit, show_all=True)
    assert "more:" not in whole
    assert sum("empty" in line for line in whole.splitlines()) == 12
    assert sum(line.startswith("  - ") for line in whole.splitlines()) == 22


def test_column_is_as_wide_as_the_longest_class_and_renamed_numbers_are_listed() -> None:
    audit = changed(
        counts={"train": {"a": 1, "large cell carcinoma": 12345}, "valid": {"a": 0, "large cell carcinoma": 0}},
        folder_classes={"0": "a", "1": "large cell carcinoma"},
    )
    assert format_audit(audit).splitlines()[2:8] == [
        "class                  train",
        "a                          1",
        "large cell carcinoma   12345",
        "",
        "'0' is read as 'a'",
        "'1' is read as 'large cell carcinoma'",
    ]
