"""An earlier report is read, or rejected with the reason."""

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
    check_same_measurement,
    compare_reports,
    find_caveats,
    missing,
    regressed,
    table,
    wrong_before,
)
from ctonnx_bench.cases.settings import Settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "found no file"),
        ("", "found a file that is not JSON"),
        ("{", "found a file that is not JSON"),
        ("\udcff", "found a file that is not JSON"),
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
def test_file_that_is_not_a_report_is_rejected(tmp_path: Path, text: str | None, found: str) -> None:
    file = tmp_path / "bench.json"
    if text is not None:
        file.write_bytes(os.fsencode(text))
    with pytest.raises(CtonnxError) as raised:
        read_report(file)
    assert found in str(raised.value)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "loop"])
def test_endless_file_is_rejected_and_not_read(name: str, tmp_path: Path) -> None:
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
def test_report_with_a_median_that_is_impossible_is_rejected(median: float, make_document: Any, tmp_path: Path) -> None:
    document = make_document()
    document["cases"][0]["figures"]["latency_ms"]["p50"] = median
    (tmp_path / "old.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CtonnxError, match=r"found another document \(expected a (finite )?number .*latency_ms\.p50'"):
        read_report(tmp_path / "old.json")


def test_damaged_report_is_rejected_or_compared(make_document: Any, tmp_path: Path) -> None:
    old, new, file = json.loads(json.dumps(make_document())), make_document(), tmp_path / "old.json"
    old["cases"] = old["cases"][:1]
    old["cases"][0]["rounds"] = [{"samples_s": [0.036], "cold_start_s": 0.5}] * 3
    read = 0
    for damage, document in damaged(old):
        file.write_text(json.dumps(document), encoding="utf-8")
        try:
            with suppress(CtonnxError):
                found = read_report(file)
                read += 1
                check_same_measurement(found, Settings())
                changes = compare_reports(found, new)
                table(changes, 0.1)
                _ = regressed(changes, 0.1), missing(found, new), wrong_before(found, new), find_caveats(found, new)
        except Exception as error:
            raise AssertionError(f"{damage} ends in a traceback") from error
    assert read
