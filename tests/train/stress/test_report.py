"""The stress test as text, and its file in a run."""

import json
from pathlib import Path

from tests.train.stress.made import document, strength

from ctonnx.artifacts.run import Run
from ctonnx_train.stress.report import as_markdown, gate_lines, write_of_run


def rows(text: str) -> list[list[str]]:
    """Returns the cells of the lines of tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_first_table_shows_how_far_each_change_may_go() -> None:
    found = rows(as_markdown(document()))
    assert found[0] == ["change", "5% or less decision changed up to", "most"]
    assert found[2:6] == [
        ["lower contrast", "x 0.6", "47.0% at x 0.4"],
        ["JPEG", "quality 75", "30.0% at quality 25"],
        ["padded", "none", "20.0% at square + 25%"],
        ["inverted", "none", "100.0% flipped at black to white"],
    ]


def test_the_second_has_flips_and_referrals_apart_with_intervals_and_the_third_classes() -> None:
    found = rows(as_markdown(document()))
    assert found[6] == [
        "change",
        "strength",
        "decision changed",
        "flipped",
        "newly referred",
        "no longer referred",
        "class changed",
    ]
    assert found[10] == [
        "lower contrast",
        "x 0.4",
        "47.0% [37.5%, 56.7%]",
        "40.0% [30.9%, 49.8%]",
        "7.0% [3.4%, 13.7%]",
        "-",
        "40.0% [30.9%, 49.8%]",
    ]
    assert found[18] == ["change", "strength", "normal (100)"]
    assert found[20:] == [
        ["lower contrast", "x 0.6", "5.0%"],
        ["JPEG", "quality 50", "8.0%"],
        ["padded", "square + 10%", "1.0%"],
        ["inverted", "black to white", "100.0%"],
    ]


def test_the_measured_file_and_the_data_are_named() -> None:
    assert (
        "\nPyTorch checkpoint `model.safetensors` (SHA-256 abababababab) on scans (test, fingerprint cdcdcdcdcdcd).\n"
    ) in as_markdown(document())


def test_what_the_decision_rests_on_is_stated() -> None:
    made = document()
    assert (
        "The decisions rest on the operating point and the warnings about an image alone, without prediction sets and "
        "novelty; of 100 unchanged scans, 60 are positive, 40 negative, 0 referred."
    ) in as_markdown(made)
    made["decided_by"] |= {"prediction_sets": True, "novelty": True}
    assert "the prediction sets, the novelty and the warnings about an image; of 100" in as_markdown(made)


def test_without_an_operating_point_the_tables_are_about_classes() -> None:
    made = document(("noise", [strength("5 grey values", 3)]))
    made["decided_by"]["operating_point"], made["decisions"] = False, None
    made["transforms"][0]["judged_by"] = "class_changed"
    of = made["transforms"][0]["strengths"][0]
    for kinds in (of, of["by_class"]["normal"]):
        for kind in ("decision_changed", "flipped", "newly_referred", "newly_decided"):
            del kinds[kind]
    text = as_markdown(made)
    assert "The model has no operating point: only its predicted classes are compared." in text
    assert rows(text)[0] == ["change", "5% or less class changed up to", "most"]
    assert rows(text)[3] == ["change", "strength", "class changed"]


def test_the_lines_of_the_gate_name_each_change_and_those_that_cannot_be_shown() -> None:
    assert list(gate_lines(document(), 0.05)) == [
        "JPEG, quality 50: 8.0% of the decisions change (8 of 100): 6 flipped, 2 newly referred",
        "padded, square + 0%: 9.0% of the decisions change (9 of 100): 9 flipped, 0 newly referred",
        "inverted, black to white: 100.0% of the decisions flip (100 of 100)",
        "note: 3 changes keep 5% on these 100 images, but the 95 % interval reaches beyond it: more images can show it",
        "gate of 5%: failed by 3 changes",
    ]
    assert list(gate_lines(document(("noise", [strength("5", 0)])), 0.05)) == ["gate of 5%: passed"]


def test_without_a_decision_the_gate_and_the_tables_report_it() -> None:
    made = document(("noise", [strength("5", 0, decided=0)]), ("inverted", [strength("1", 0, decided=0)]), referred=100)
    assert list(gate_lines(made, 0.0)) == [
        "gate of 0%: failed: all of the 100 unchanged scans are referred, so that no decision could keep it"
    ]
    text = as_markdown(made)
    assert "**All are referred before any change: there is no decision that could change.**" in text
    assert rows(text)[2:4] == [["noise", "-", "-"], ["inverted", "-", "-"]]


def test_few_decisions_are_named_in_the_gate_and_in_the_report() -> None:
    made = document(("noise", [strength("5", 0, decided=20)]), referred=80)
    assert list(gate_lines(made, 0.0)) == [
        "note: only 20 of 100 unchanged scans are decided, the others referred: the gate is about these alone",
        "note: 1 change keeps 0% on these 20 images, but the 95 % interval reaches beyond it: more images can show it",
        "gate of 0%: passed",
    ]
    assert "**Only 20 are decided: what follows is about these.**" in as_markdown(made)
    assert ["change", "strength", "normal (20)"] in rows(as_markdown(made))


def test_a_share_just_over_the_bound_is_not_rounded_to_it() -> None:
    made = document(("noise", [strength("5", 5001, images=100_000)]))
    line, verdict = gate_lines(made, 0.05)
    assert line.startswith("noise, 5: 5.001% of the decisions change (5001 of 100000): 5001 flipped, 0 newly")
    assert verdict == "gate of 5%: failed by 1 change"


def test_the_file_of_a_run_is_the_document(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_of_run(document(), run)
    assert run.stress_file == tmp_path / "evaluation" / "stress.json"
    assert json.loads(run.stress_file.read_text(encoding="utf-8")) == document()
