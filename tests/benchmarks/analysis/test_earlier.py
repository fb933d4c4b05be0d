"""An earlier report is read whole, or refused with what is wrong with it, whoever wrote it."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.damaging import damaged

from ctonnx.errors import CtonnxError
from ctonnx_bench.analysis.earlier import read_report
from ctonnx_bench.analysis.regression import (
    cautions,
    compare_reports,
    missing,
    refuse_other_measurement,
    regressed,
    table,
    wrong_before,
)
from ctonnx_bench.cases.settings import Settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "found no file"),
        ("", "found a file that is no JSON"),
        ("{", "found a file that is no JSON"),
        ("\udcff", "found a file that is no JSON"),
        ("[]", "found another document (expected an object, found a list)"),
        ("[" * 100_000, "found another document (expected a JSON text, found one that is too deep)"),
        ('{"tool": "other", "schema_version": 1}', "(expected one of 'ctonnx bench' at 'tool', found 'other')"),
        (
            '{"tool": "ctonnx bench", "schema_version": true}',
            "(expected a whole number at 'schema_version', found true)",
        ),
        ('{"tool": "ctonnx bench", "schema_version": 1, "cases": [{}]}', " found nothing)"),
        (
            '{"tool": "ctonnx bench", "schema_version": ' + "9" * 10**5 + "}",
            "(expected whole numbers of at most 20 digits, found one of 100000)",
        ),
        ('{"tool": "ctonnx bench", "schema_version": 2}', "found schema 2 in"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str | None, found: str) -> None:
    file = tmp_path / "bench.json"
    if text is not None:
        file.write_bytes(os.fsencode(text))
    with pytest.raises(CtonnxError) as raised:
        read_report(file)
    assert found in str(raised.value)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "loop"])
def test_what_never_ends_is_refused_and_not_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if name == "pipe":
        os.mkfifo(file)
    elif name == "loop":
        file.symlink_to(file)
    elif not file.exists():
        pytest.skip("this system has no /dev/zero")
    with pytest.raises(CtonnxError, match=r"found (not a regular file, so it is not opened|too many levels of)"):
        read_report(file)


def test_report_is_read_as_it_was_written(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "bench.json"
    file.write_text("\ufeff" + json.dumps(document), encoding="utf-8")
    assert read_report(file) == json.loads(json.dumps(document))


@pytest.mark.parametrize("median", [float("nan"), 0.0, -1.0])
def test_report_with_a_median_that_cannot_be_is_refused(median: float, make_document: Any, tmp_path: Path) -> None:
    document = make_document()
    document["cases"][0]["figures"]["latency_ms"]["p50"] = median
    (tmp_path / "old.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CtonnxError, match=r"found another document \(expected a (finite )?number .*latency_ms\.p50'"):
        read_report(tmp_path / "old.json")


def test_report_of_which_anything_was_damaged_is_refused_or_compared(make_document: Any, tmp_path: Path) -> None:
    old, new, file = json.loads(json.dumps(make_document())), make_document(), tmp_path / "old.json"
    old["cases"] = old["cases"][:1]
    old["cases"][0]["rounds"] = [{"samples_s": [0.036], "cold_start_s": 0.5}] * 3
    taken = 0
    for what, document in damaged(old):
        file.write_text(json.dumps(document), encoding="utf-8")
        try:
            with suppress(CtonnxError):
                found = read_report(file)
                taken += 1
                refuse_other_measurement(found, Settings())
                changes = compare_reports(found, new)
                table(changes, 0.1)
                _ = regressed(changes, 0.1), missing(found, new), wrong_before(found, new), cautions(found, new)
        except Exception as error:
            raise AssertionError(f"{what} ends in a traceback") from error
    assert taken
