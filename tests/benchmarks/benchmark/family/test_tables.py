"""The table and the Markdown of a family: nothing is rounded in a model's favour."""

from collections.abc import Callable
from typing import Any

from ctonnx_bench.benchmark.family.document import mark_front
from ctonnx_bench.benchmark.family.tables import columns, markdown, notes, terminal


def test_row_has_speed_size_and_accuracy_against_the_first(family_document: dict[str, Any]) -> None:
    heads, *rows = columns(family_document)
    assert heads == [
        "model",
        "batch",
        "verdict",
        "ms/image",
        "x FP32",
        "MB",
        "accuracy [95 %]",
        "points to FP32 [95 %]",
        "agree with FP32 [95 %]",
        "front",
    ]
    assert len(rows) == 12
    assert rows[2] == [
        "INT8",
        "1",
        "right",
        "13.00",
        "3.46 (3.38 to 3.54)",
        "26.0",
        "0.709 [0.587, 0.808]",  # 0.70968 [0.58732, 0.80784]
        "-1.7 [-4.1, +4.1]",  # -1.61290 [-4.05, +4.01]
        "0.967 [0.890, 0.990]",  # 0.96774
        "-",
    ]
    assert rows[0][7:9] == ["-", "-"]  # the first is not compared with itself
    assert [row[-1] for row in rows[:6]] == ["-", "-", "-", "yes", "-", "yes"]


def test_difference_of_nothing_has_no_negative_0(family_document: dict[str, Any]) -> None:
    family_document["cases"][1]["accuracy"]["change"] = {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert columns(family_document)[2][7] == "+0.0 [+0.0, +0.0]"


def test_model_that_is_surpassed_except_in_size_is_marked(family_document: dict[str, Any]) -> None:
    cases = family_document["cases"]
    cases[1]["bytes"] = 1
    family_document["cases"] = mark_front(cases)
    assert columns(family_document)[2][-1] == "with size"


def test_terminal_has_the_notes(family_document: dict[str, Any]) -> None:
    text = terminal(family_document)
    assert text.startswith("6 models on cpu, 2 threads, 224 pixels, from pixels to the prediction; Some CPU\n\n")
    assert "compared on 62 labelled images (test) of data; all models in turn, 3 rounds of processes, 10 s" in text
    assert "one that includes 0 shows neither a difference nor that there is none" in text
    assert "independent images" not in text
    family_document["checked_on"] |= {"effective_images": 20.55, "cautions": ["accuracy: x"], "unjudged": ["INT8"]}
    found = notes(family_document)
    assert "the intervals are those of 20.5 independent images, as some are of one patient, or copies" in found
    assert "accuracy: x" in found
    assert "unjudged: no golden.npz is beside 'INT8', which would show whether the outputs are right" in found


def test_failures_come_first_and_unreliable_measurements_have_their_reason(family_document: dict[str, Any]) -> None:
    family_document["cases"][2]["failures"] = ["max |dp| is 1"]
    family_document["cases"][3]["doubts"] = ["noisy: the range is 20%"]
    family_document["broken"] = {"FP16 | batch 4": "no memory"}
    found = notes(family_document)
    assert found[:2] == ["FAILED: INT8, batch 1: max |dp| is 1", "FAILED: FP16 | batch 4: no memory"]
    assert found[-1] == "noisy: the range is 20%: INT8 learned, batch 1"
    rows = columns(family_document)
    assert (rows[3][2], rows[4][0]) == ("FAILED", "INT8 learned ~")


def test_table_without_labels_has_no_accuracy(make_family_document: Callable[..., dict[str, Any]]) -> None:
    document = make_family_document(is_labelled=False)
    assert "accuracy [95 %]" not in columns(document)[0]
    assert "no accuracy without labelled images: name a dataset with --data DIR" in notes(document)


def test_markdown_has_the_command_the_picture_and_the_files(family_document: dict[str, Any]) -> None:
    family_document["cases"][0]["contender"] = "a|b"
    family_document["models"][5]["title"] = "pruned INT8"
    text = markdown(family_document, "family.png")
    assert "$ ctonnx bench runs/a runs/b --family\n" in text
    assert "![accuracy against latency](family.png)" in text
    assert "| a\\|b | 1 | right |" in text
    assert "- pruned INT8: `model.int8.onnx`: int8, 28.5 MB, SHA-256 `abab" in text
    assert "- processor: Some CPU (avx2), 2 of 4 cores" in text
