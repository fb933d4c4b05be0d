"""The three formats: golden lines, and reading back what was written."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.prediction.output.row_formats import FORMATS
from ctonnx.prediction.results import Failure, Prediction, Record

PLAIN = ModelSpec(
    name="lungs",
    classes=("normal", "tumor", "large cell"),
    preprocessing=Preprocessing(size=64),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={},
    synthetic=False,
    metrics={},
    parity={},
    versions={},
)
POINTED = replace(
    PLAIN,
    operating_point=OperatingPoint(positive=("tumor", "large cell"), threshold=0.8, sensitivity=0.96, specificity=0.7),
)


def prediction(
    source: str = "a.png", decision: DecisionName | None = None, score: float = 0.8125, **more: Any
) -> Prediction:
    return Prediction(
        source,
        {"tumor": 0.75, "normal": 0.1875, "large cell": 0.0625},
        np.zeros(3, np.float32),
        np.zeros((3, 2, 2), np.float32),
        decision,
        score=None if decision is None else score,
        **more,
    )


def failure(source: str = "empty.png", error: str = "the file is empty (0 bytes)") -> Failure:
    return Failure(source, error)


DECIDED = "score,decision,reason,novelty,novelty_percentile,unlike_training,set"
ORIGIN = {"model_sha256": "cd" * 32, "threshold": None, "time": "2026-11-30T01:02:03+00:00"}
HEAD, TAIL = "heatmap,model_sha256,threshold,time", f",{'cd' * 32},,2026-11-30T01:02:03+00:00"
"""The last columns and their values here."""
ALWAYS = {"heatmap": None, **ORIGIN}
JSON_TAIL = json.dumps(ALWAYS).removeprefix("{")


def text(
    name: str,
    records: Sequence[Record],
    top_k: int = 1,
    spec: ModelSpec = PLAIN,
    origin: Mapping[str, Any] = ORIGIN,
    picture: Path | None = None,
) -> str:
    """Returns the lines of a format for some records."""
    head, line = FORMATS[name]([record.source for record in records], spec, top_k, lambda: origin)
    return "".join(f"{row}\n" for row in ([head] if head else []) + [line(record, picture) for record in records])


NAMES = [
    "a b.png",
    "a,b.png",
    'a"b.png',
    "a\nb.png",
    "a\r\nb.png",
    "a\rb.png",
    "a[1].png",
    "a'b.png",
    "größe.png",
    "\udcff",
]


def test_formats_are_those_that_the_command_offers() -> None:
    from ctonnx.cli.commands.predict import predict

    choices = {option.name: getattr(option.type, "choices", None) for option in predict.params}
    assert list(choices["output_format"] or ()) == list(FORMATS)


# --- table -----------------------------------------------------------------------------------------------------------


def test_table_is_pinned() -> None:
    assert text("table", [prediction(), failure()]) == (
        "file       class       probability\n"
        "a.png      tumor            0.7500\n"
        "empty.png  error: the file is empty (0 bytes)\n"
    )


def test_table_of_two_classes_is_pinned() -> None:
    assert text("table", [prediction()], top_k=2) == (
        "file   class       probability  class       probability\n"
        "a.png  tumor            0.7500  normal           0.1875\n"
    )


def test_table_of_a_model_with_an_operating_point_is_pinned() -> None:
    records: list[Record] = [prediction(decision="positive"), failure(), prediction("b.png", "negative", 0.7999996)]
    assert text("table", records, spec=POINTED) == (
        "file       decision     score  class       probability\n"
        "a.png      positive  0.812500  tumor            0.7500\n"
        "empty.png  error: the file is empty (0 bytes)\n"
        "b.png      negative  0.7999996  tumor            0.7500\n"
    )


def test_table_of_two_classes_of_a_model_with_an_operating_point_is_pinned() -> None:
    assert text("table", [prediction(decision="positive")], top_k=2, spec=POINTED) == (
        "file   decision     score  class       probability  class       probability\n"
        "a.png  positive  0.812500  tumor            0.7500  normal           0.1875\n"
    )


def test_columns_of_a_table_are_as_wide_as_the_longest_name() -> None:
    lines = text("table", [prediction("a.png"), prediction("a\nlonger name.png")]).splitlines()
    assert [line.index("tumor") for line in lines[1:]] == [lines[0].index("class")] * 2


@pytest.mark.parametrize("name", ["scan.dcm", "SCAN.IMA", "IM0001", "1.2.840.10008"])
def test_columns_have_room_for_the_frames_of_a_file(name: str) -> None:
    head, line = FORMATS["table"]([name, "a.png"], PLAIN, 1, lambda: ORIGIN)
    rows = [line(prediction(source), None) for source in (f"{name}#1", f"{name}#12", f"{name}#1234", "a.png")]
    assert [row.index("tumor") for row in rows] == [head.index("class")] * 4


@pytest.mark.parametrize("name", NAMES)
def test_record_is_one_line_of_a_table(name: str) -> None:
    assert text("table", [prediction(name), failure(name)]).count("\n") == 3
    assert "\r" not in text("table", [prediction(name), failure(name)])


def test_error_of_two_lines_is_one_line_of_a_table() -> None:
    assert text("table", [failure(error="damaged image: one\ntwo")]).count("\n") == 2


def test_line_break_in_a_name_is_shown() -> None:
    assert text("table", [prediction("a\nb.png")]).splitlines()[1].startswith("a\\nb.png  tumor")


def test_caution_is_behind_the_prediction_in_a_table_and_in_its_column_of_csv() -> None:
    blank = replace(prediction(), caution="the image is blank: one\nvalue everywhere")
    assert text("table", [blank]).splitlines()[1].endswith("  caution: the image is blank: one\\nvalue everywhere")
    (row,) = csv.DictReader(io.StringIO(text("csv", [blank]), newline=""))
    assert row["caution"] == blank.caution


def test_path_of_a_heatmap_is_at_the_end_of_a_row() -> None:
    blank = replace(prediction(), caution="blank")
    row = text("table", [blank], picture=Path("maps/a\n.png.heatmap.png")).splitlines()[1]
    assert row.endswith("  caution: blank  heatmap: maps/a\\n.png.heatmap.png")


POINTED_ORIGIN = {**ORIGIN, "threshold": 0.8}


def test_csv_has_picture_and_provenance_in_the_last_columns() -> None:
    assert text(
        "csv", [prediction(decision="positive"), failure()], spec=POINTED, origin=POINTED_ORIGIN, picture=Path("m/a")
    ) == (
        f"file,label,probability,suspicious,{DECIDED},caution,error,{HEAD}\n"
        f"a.png,tumor,0.750000,true,0.812500000,positive,,,,,,,,m/a,{'cd' * 32},0.8,2026-11-30T01:02:03+00:00\n"
        f"empty.png,,,,,,,,,,,,the file is empty (0 bytes),,{'cd' * 32},0.8,2026-11-30T01:02:03+00:00\n"
    )
    pointless = text("csv", [prediction()]).splitlines()[1]
    assert pointless == f"a.png,tumor,0.750000,,,,,,,,,,,,{'cd' * 32},,2026-11-30T01:02:03+00:00"


def test_json_line_has_picture_and_provenance() -> None:
    first, second = text("jsonl", [prediction(decision="positive"), failure()], origin=POINTED_ORIGIN).splitlines()
    kept = {"heatmap": None, "model_sha256": "cd" * 32, "threshold": 0.8, "time": "2026-11-30T01:02:03+00:00"}
    assert {name: json.loads(first)[name] for name in kept} == kept
    assert {name: json.loads(second)[name] for name in kept} == kept
    assert list(json.loads(first)) == [*prediction().as_dict(), *kept]
    (drawn,) = text("jsonl", [prediction()], picture=Path("m/a")).splitlines()
    assert json.loads(drawn)["heatmap"] == "m/a"


@pytest.mark.parametrize(("name", "digits"), [("table", "0.79999999"), ("csv", "0.7999999900")])
def test_score_below_its_threshold_is_not_rounded_to_it(name: str, digits: str) -> None:
    row = text(name, [prediction(decision="negative", score=0.79999999)], spec=POINTED).splitlines()[1]
    assert digits.rstrip("0") in row
    assert "0.800000" not in row


# --- csv -------------------------------------------------------------------------------------------------------------


def test_csv_is_pinned() -> None:
    assert text("csv", [prediction(), failure()]) == (
        f"file,label,probability,suspicious,{DECIDED},caution,error,{HEAD}\n"
        f"a.png,tumor,0.750000,,,,,,,,,,,{TAIL}\n"
        f"empty.png,,,,,,,,,,,,the file is empty (0 bytes),{TAIL}\n"
    )


def test_csv_of_a_model_with_an_operating_point_is_pinned() -> None:
    records: list[Record] = [prediction(decision="positive"), prediction("b.png", "negative", 0.7999996), failure()]
    assert text("csv", records, spec=POINTED) == (
        f"file,label,probability,suspicious,{DECIDED},caution,error,{HEAD}\n"
        f"a.png,tumor,0.750000,true,0.812500000,positive,,,,,,,,{TAIL}\n"
        f"b.png,tumor,0.750000,false,0.799999600,negative,,,,,,,,{TAIL}\n"
        f"empty.png,,,,,,,,,,,,the file is empty (0 bytes),{TAIL}\n"
    )


def test_columns_of_csv_are_the_same_whatever_the_model() -> None:
    head = f"file,label,probability,suspicious,{DECIDED},caution,error,{HEAD}\n"
    assert text("csv", [], spec=POINTED) == text("csv", [], spec=PLAIN) == head


def test_csv_of_two_classes_is_pinned() -> None:
    assert text("csv", [prediction(), failure()], top_k=2) == (
        f"file,label_1,probability_1,label_2,probability_2,suspicious,{DECIDED},caution,error,{HEAD}\n"
        f"a.png,tumor,0.750000,normal,0.187500,,,,,,,,,,,{TAIL}\n"
        f"empty.png,,,,,,,,,,,,,,the file is empty (0 bytes),{TAIL}\n"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("top_k", [1, 3])
def test_csv_is_read_back(top_k: int, name: str) -> None:
    written = text("csv", [prediction(name), failure(name, 'one, "two"\nthree')], top_k)
    head, predicted, failed = csv.reader(io.StringIO(written, newline=""))
    assert len(head) == len(predicted) == len(failed) == 11 + 2 * top_k + 4
    assert (predicted[0], predicted[1], float(predicted[2]), predicted[-5]) == (name, "tumor", 0.75, "")
    assert failed[:-4] == [name, *[""] * (2 * top_k + 9), 'one, "two"\nthree']
    assert predicted[-4:] == failed[-4:] == ["", *TAIL.split(",")[1:]]


NO_NOVELTY = dict.fromkeys(("novelty", "novelty_percentile", "unlike_training"))


# --- jsonl -----------------------------------------------------------------------------------------------------------


def test_jsonl_is_pinned() -> None:
    assert text("jsonl", [prediction(), failure()]) == (
        '{"file": "a.png", "label": "tumor", "probability": 0.75, '
        '"decision": null, "reason": null, "suspicious": null, "score": null, "set": null, '
        '"probabilities": {"tumor": 0.75}, "novelty": null, "novelty_percentile": null, "unlike_training": null, '
        '"frame": null, "caution": null, "error": null, '
        f"{JSON_TAIL}\n"
        '{"file": "empty.png", "label": null, "probability": null, '
        '"decision": null, "reason": null, "suspicious": null, "score": null, "set": null, '
        '"probabilities": {}, "novelty": null, "novelty_percentile": null, "unlike_training": null, '
        '"frame": null, "caution": null, "error": "the file is empty (0 bytes)", '
        f"{JSON_TAIL}\n"
    )


@pytest.mark.parametrize(
    ("decision", "suspicious"), [("positive", True), ("negative", False), ("refer", None), (None, None)]
)
def test_jsonl_shows_the_decision_and_whether_an_image_is_suspicious(
    decision: DecisionName | None, suspicious: bool | None
) -> None:
    document = json.loads(text("jsonl", [prediction(decision=decision)], spec=POINTED))
    assert (document["decision"], document["suspicious"]) == (decision, suspicious)
    assert document["score"] == (None if decision is None else 0.8125)


REFERRED = prediction("c.png", "refer", reason="blank, or: a|b", caution="blank", prediction_set=("normal", "tumor"))


def test_referred_image_has_its_reason_in_every_format() -> None:
    assert text("table", [REFERRED], spec=POINTED).splitlines()[1] == (
        "c.png  refer     0.812500  tumor            0.7500  reason: blank; set of both kinds (normal, tumor)"
    )
    (row,) = csv.DictReader(io.StringIO(text("csv", [REFERRED], spec=POINTED), newline=""))
    assert [row[name] for name in ("suspicious", "decision", "reason", "set", "caution", "novelty")] == [
        *("", "refer", "blank, or: a|b", "normal|tumor", "blank", "")
    ]
    document = json.loads(text("jsonl", [REFERRED], spec=POINTED))
    assert [document[name] for name in ("suspicious", "decision", "reason", "set", "caution")] == [
        *(None, "refer", "blank, or: a|b", ["normal", "tumor"], "blank")
    ]


def test_novelty_is_in_three_columns_of_csv() -> None:
    unlike = prediction(decision="refer", novelty=1.25, novelty_percentile=97.4631, is_novel=True)
    rows = csv.DictReader(io.StringIO(text("csv", [unlike, replace(unlike, is_novel=False)], spec=POINTED), newline=""))
    assert [[row[name] for name in NO_NOVELTY] for row in rows] == [
        ["1.25", "97.46", "true"],
        ["1.25", "97.46", "false"],
    ]


@pytest.mark.parametrize(
    ("classes", "end"), [(("tumor",), "0.7500"), (("tumor", "large cell"), "0.7500  set: tumor, large cell")]
)
def test_table_shows_a_set_of_several_classes(classes: tuple[str, ...], end: str) -> None:
    row = text("table", [prediction(decision="positive", prediction_set=classes)], spec=POINTED).splitlines()[1]
    assert row.endswith(f"  {end}")


PUBLIC = ("adenocarcinoma", "large cell carcinoma", "normal", "squamous cell carcinoma")


@pytest.mark.parametrize(
    ("decision", "classes", "is_novel", "end"),
    [
        ("refer", PUBLIC, False, "reason: set of both kinds (4)"),
        ("refer", PUBLIC, True, "reason: novelty; set of both kinds (4)"),
        ("refer", PUBLIC[:1], True, "reason: novelty"),
        ("refer", PUBLIC[2:3], False, "reason: set against the score (normal)"),
        ("positive", (*PUBLIC[:2], PUBLIC[3]), False, "set: 3 classes"),
        ("positive", PUBLIC[:2], False, "set: adenocarcinoma, large cell carcinoma"),
    ],
)
def test_row_of_a_table_fits_120_columns(
    decision: DecisionName, classes: tuple[str, ...], is_novel: bool, end: str
) -> None:
    point = replace(POINTED.operating_point, positive=(*PUBLIC[:2], PUBLIC[3]))  # type: ignore[type-var]
    spec = replace(POINTED, classes=PUBLIC, operating_point=point)
    record = replace(
        prediction("valid/normal/10.png", decision, prediction_set=classes, is_novel=is_novel, reason="the whole"),
        probabilities=dict.fromkeys(PUBLIC, 0.25),
    )
    row = text("table", [record], spec=spec).splitlines()[1]
    assert row.endswith(f" 0.2500  {end}")
    assert len(row) <= 120


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("top_k", [1, 3])
def test_jsonl_is_read_back(top_k: int, name: str) -> None:
    lines = text("jsonl", [prediction(name), failure(name, "one\ntwo")], top_k).split("\n")
    predicted, failed = (json.loads(line) for line in lines[:-1])
    assert predicted == {
        "file": name,
        "label": "tumor",
        "probability": 0.75,
        "decision": None,
        "reason": None,
        "suspicious": None,
        "score": None,
        "set": None,
        "probabilities": dict(prediction().top(top_k)),
        **NO_NOVELTY,
        "frame": None,
        "caution": None,
        "error": None,
        **ALWAYS,
    }
    assert list(predicted["probabilities"]) == ["tumor", "normal", "large cell"][:top_k]
    assert failed == {
        "file": name,
        "label": None,
        "probability": None,
        "decision": None,
        "reason": None,
        "suspicious": None,
        "score": None,
        "set": None,
        "probabilities": {},
        **NO_NOVELTY,
        "frame": None,
        "caution": None,
        "error": "one\ntwo",
        **ALWAYS,
    }
    assert lines[-1] == ""


def test_control_characters_in_a_name_are_escaped_in_the_table() -> None:
    line = FORMATS["table"](["\x1b[2Ja.png"], PLAIN, 1, lambda: ORIGIN).line(
        Failure("\x1b[2Ja.png", "no\nsuch file"), None
    )
    assert line == "\\x1b[2Ja.png  error: no\\nsuch file"
