"""Rows of groups: table, CSV and JSON lines have the same facts."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.prediction.made_groups import SPEC, group_of, predicted, prediction, reduced, with_rule

from ctonnx.prediction.output.group_rows import GROUP_FORMATS
from ctonnx.prediction.results import Failure
from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.reduction import GroupFailure, GroupRecord, GroupRule

RULE = with_rule("top-k", 2)
BROKEN = Failure("scans/4.dcm", "the file is empty")
FOUND = predicted(
    [0.25, 0.75, 0.5, BROKEN],
    RULE,
    positions=True,
    left_out=(LeftOut("localizer", 2), LeftOut("of another series", 9, "9 slices, kernel B30f")),
    taken="4 slices: most slices",
)
NONE = GroupFailure(by="series", name=None, folders=("x",), error="2 files that cannot be read", failed=2)


def rows(name: str, *records: GroupRecord, top_k: int = 1, picture: Path | None = None) -> list[str]:
    rule = GroupRule.of(RULE)
    assert rule is not None
    groups = [group_of([], name=record.name, by=record.by, folders=record.folders) for record in records]
    origin = {"model_sha256": "cd", "threshold": None, "time": "now"}
    head, line = GROUP_FORMATS[name](groups, SPEC, rule, top_k, lambda: origin)
    return [head, *(line(record, picture) for record in records)]


def test_table_has_the_decision_and_what_it_rests_on() -> None:
    assert rows("table", FOUND, NONE, picture=Path("maps/a.png")) == [
        "series  folder  decision     score  class   probability  slices  carried by",
        "ab12    scans   positive  0.625000  tumor        0.6250       3  2.dcm at -97.5 mm and 1 other; 1 failed: "
        "4.dcm (the file is empty); left out: 2 localizer, 9 of another series; heatmap: maps/a.png",
        "-       error: 2 files that cannot be read",
    ]


def folders_of(*groups: tuple[str, ...], by: str = "patient") -> list[str]:
    """Returns the second column of the table's rows of groups with these folders."""
    records = [predicted([0.25], RULE, by=by, name="0" * 16, folders=folders) for folders in groups]
    head, *lines = rows("table", *records)
    assert len({len(line.partition("  negative")[0]) for line in lines}) == 1
    assert head.index("decision") == lines[0].index("negative")
    return [line.split("  ")[1].rstrip() for line in lines]


def test_table_has_the_common_folder_of_a_groups_files_below_that_of_all() -> None:
    first, second = ("export/PA1/ST1/SE1", "export/PA1/ST1/SE2"), ("export/PA2/ST1/SE1",)
    assert folders_of(first, second) == ["PA1/ST1", "PA2/ST1/SE1"]
    assert folders_of(("/a/PA1", "/a/PA1/SE2"), ("/a/PA2",)) == ["PA1", "PA2"]
    assert folders_of(("export/PA1",)) == ["PA1"]
    assert folders_of(("export",), ("export/PA2",)) == ["export", "export/PA2"]
    assert folders_of(("export",), ("export",)) == ["export", "export"]
    assert folders_of(("/",), ("/a",))[1].endswith("a")


def test_long_folder_is_cut_in_the_middle_and_control_characters_are_escaped() -> None:
    long, other = folders_of((f"x/PA1/{'1.2.840' * 20}/{'9.8' * 9}7",), ("x/b\x1bc",))
    assert (len(long), long[:15], long[-14:]) == (32, "PA1/1.2.8401.2.", "8" + "9.8" * 4 + "7")
    assert "..." in long
    assert other == "b\\x1bc"


def test_table_of_folders_has_no_other_folder() -> None:
    head, line = rows("table", predicted([0.25], RULE, by="folder", name="scans/a", folders=("scans/a",)))
    assert head.startswith("folder   decision ")
    assert line.startswith("scans/a  negative ")


def test_error_of_a_group_has_its_folder() -> None:
    failed = GroupFailure(by="patient", name="cd34", folders=("x/PA1/1", "x/PA1/2"), error="no axial CT series")
    other = GroupFailure(by="patient", name="ef56", folders=("x/PA2",), error="no axial CT series")
    assert rows("table", failed, other)[1:] == [
        "cd34     error: no axial CT series in 'PA1'",
        "ef56     error: no axial CT series in 'PA2'",
    ]


def test_table_has_the_reason_to_refer() -> None:
    found = predicted([prediction("scans/1.dcm", 0.75, is_novel=True)])
    assert rows("table", found)[1].endswith(
        "1.dcm at slice 1; reason: the slice that carried the score is flagged: unlike the training images"
    )


@pytest.mark.parametrize("top_k", [1, 2])
def test_csv_has_a_field_for_each_fact(top_k: int) -> None:
    head, first, second = csv.reader(io.StringIO("\n".join(rows("csv", FOUND, NONE, top_k=top_k))))
    assert len(head) == len(first) == len(second)
    found, none = dict(zip(head, first, strict=True)), dict(zip(head, second, strict=True))
    label, share = ("label", "probability") if top_k == 1 else ("label_1", "probability_1")
    expected = {
        "group": "ab12",
        "by": "series",
        "folders": "scans",
        "decision": "positive",
        "reason": "",
        "score": "0.625000000",
        label: "tumor",
        share: "0.625000",
        "set": "",
        "novelty": "10",
        "novel_share": "0.0000",
        "carried_by": "scans/2.dcm|scans/3.dcm",
        "places": "-97.5 mm|-95.0 mm",
        "carrying": "2",
        "used": "3",
        "failed": "1",
        "failures": "scans/4.dcm: the file is empty",
        "left_out": "2 localizer|9 of another series (9 slices, kernel B30f)",
        "taken": "4 slices: most slices",
        "error": "",
        "heatmap": "",
        "model_sha256": "cd",
        "threshold": "0.5",
        "time": "now",
    }
    assert {name: found[name] for name in expected} == expected
    assert {name for name, value in none.items() if value} == {
        *("by", "folders", "carrying", "used", "failed", "error", "model_sha256", "threshold", "time"),
    }
    assert none["error"] == "2 files that cannot be read"


def test_json_lines_have_all_fields_and_the_threshold_of_the_rule() -> None:
    empty, found, none = rows("jsonl", FOUND, NONE, top_k=1)
    documents: list[dict[str, Any]] = [json.loads(line) for line in (found, none)]
    assert empty == ""
    assert documents[0] == {
        **FOUND.as_dict(),
        "probabilities": {"tumor": 0.625},
        "heatmap": None,
        "model_sha256": "cd",
        "threshold": 0.5,
        "time": "now",
    }
    assert list(documents[0]) == list(documents[1])
    assert documents[1]["error"] == "2 files that cannot be read"


def test_control_characters_do_not_reach_the_terminal() -> None:
    found = reduced([Failure("scans/1.dcm", "a\x1bb")], name="c\nd")
    assert rows("table", found)[1] == "c\\nd    error: a\\x1bb in 'scans'"
