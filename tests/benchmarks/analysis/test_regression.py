"""Comparison with an earlier report: regressions are found, and reports that cannot be compared are rejected."""

from typing import Any

import pytest

from ctonnx.errors import CtonnxError
from ctonnx_bench.analysis.regression import (
    Change,
    check_same_measurement,
    compare_reports,
    find_caveats,
    missing,
    regressed,
    table,
)
from ctonnx_bench.cases.settings import Settings


def test_planted_regression_is_found_and_noise_below_the_bound_is_not(make_document: Any) -> None:
    old, new = make_document(), make_document(slower=1.05)
    assert regressed(compare_reports(old, new), 0.10) == []
    new = make_document(slower=1.25)
    found = regressed(compare_reports(old, new), 0.10)
    assert [change.figure for change in found] == ["p50 ms", "SingleStream ms"] * 2 + ["p50 ms"] * 2
    assert found[2].case == "ctonnx INT8 | batch 1 | cpu | 2 threads | ready pixels at 224"
    assert found[2].worse == pytest.approx(0.25)
    assert regressed(compare_reports(new, old), 0.0) == []


def test_memory_is_compared_too(make_document: Any) -> None:
    old, new = make_document(), make_document()
    new["cases"][0]["figures"]["peak_bytes"] = 300_000_000
    (change,) = regressed(compare_reports(old, new), 0.5)
    assert (change.figure, change.before, change.now) == ("peak MB", 150.0, 300.0)
    old["cases"][0]["figures"]["peak_bytes"] = None
    assert regressed(compare_reports(old, new), 0.5) == []


def test_change_is_not_rounded_to_the_other_side_of_its_bound() -> None:
    rows = [Change("a", "p50 ms", 10.0, now) for now in (11.004, 10.996)]
    lines = table(rows, 0.1).splitlines()
    assert lines[1].endswith("+10.04%  REGRESSION")
    assert lines[2].endswith("+9.96%")


def test_table_names_the_regression_and_the_noise(make_document: Any) -> None:
    old, new = make_document(), make_document(slower=2.0)
    old["cases"][0]["doubts"] = ["noisy: the range is 20%"]
    lines = table(compare_reports(old, new), 0.1).splitlines()
    assert lines[1].split() == [
        "ctonnx",
        "FP32",
        "|",
        "batch",
        "1",
        "|",
        "cpu",
        "|",
        "2",
        "threads",
        "|",
        "ready",
        "pixels",
        "at",
        "224",
        "p50",
        "ms",
        "36.00",
        "72.00",
        "+100.0%",
        "REGRESSION",
        "(noisy)",
    ]
    assert lines[2].endswith(
        "+100.0%  worse (noisy)"
    )  # SingleStream: of unreliable measurements, only the median is gated
    assert lines[3].endswith("+0.0%  (noisy)")
    assert lines[5].endswith("+100.0%  REGRESSION")
    assert lines[9].endswith("+100.0%  worse")  # a peer


def test_other_machines_and_missing_cases_are_reported(make_document: Any) -> None:
    old, new = make_document(), make_document()
    new["environment"] |= {"cpu": "Other CPU", "features": ["avx2", "avx512f"], "cpu_limit": "200000 100000"}
    new["environment"]["versions"] = {"ctonnx": "0.5.0", "onnxruntime-gpu": "1.31"}
    new["models"][0]["sha256"] = "ef" * 32
    new["checked_on"]["about"] = "4 labelled images"
    new["cases"] = new["cases"][:-1]
    assert find_caveats(old, new) == [
        "no longer the same processor: Some CPU before; Other CPU now",
        "no longer the same processor features: avx2 before; avx2, avx512f now",
        "no longer the same limit of CPU time: max 100000 before; 200000 100000 now",
        "no longer the same ctonnx: 0.4.0 before; 0.5.0 now",
        "no longer the same onnxruntime-gpu: not installed before; 1.31 now",
        "int8 is another file of the same checkpoint",
        "measured on different images: 8 golden inputs and 4 labelled images",
        "not measured now: PyTorch <eager> | batch 8 | cpu | 2 threads | ready pixels at 224",
    ]


def test_another_checkpoint_is_reported(make_document: Any) -> None:
    old, new = make_document(), make_document()
    new["models"][0]["checkpoint_sha256"] = "ef" * 32
    assert find_caveats(old, new) == ["int8 is of another checkpoint"]


def test_int8_files_of_two_targets_are_two_files(make_document: Any) -> None:
    old, new = make_document(), make_document()
    for document in (old, new):
        document["models"].append({**document["models"][0], "target": "amx", "sha256": "12" * 32})
    assert find_caveats(old, new) == []
    new["models"][0]["sha256"] = "34" * 32
    assert find_caveats(old, new) == ["int8 is another file of the same checkpoint"]
    new["models"][0]["sha256"], new["models"][1]["sha256"] = old["models"][0]["sha256"], "56" * 32
    assert find_caveats(old, new) == ["int8 for amx is another file of the same checkpoint"]
    del old["models"][0]["target"]  # an earlier report
    assert find_caveats(old, new) == ["int8 for amx is another file of the same checkpoint"]


def test_cold_start_is_gated_if_its_processes_agree(make_document: Any) -> None:
    old, new = make_document(), make_document()
    new["cases"][0]["figures"]["cold_start_s"] = 0.6
    (change,) = regressed(compare_reports(old, new), 0.1)
    assert (change.figure, change.before, change.now) == ("cold s", 0.5, 0.6)
    old["cases"][0]["rounds"][0]["cold_start_s"] = 0.9
    assert regressed(compare_reports(old, new), 0.1) == []
    old["cases"][0]["rounds"] = old["cases"][0]["rounds"][1:]
    assert regressed(compare_reports(old, new), 0.1) == []


def test_missing_own_case_is_reported_and_a_failed_one_is_not(make_document: Any) -> None:
    old, new = make_document(), make_document()
    new["cases"] = new["cases"][1:-1]
    name = old["cases"][0]["name"]
    assert missing(old, new) == [name]
    new["broken"][name] = "no memory"
    assert missing(old, new) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(files="scans"), "found one from ready pixels, while this is from files"),
        (Settings(provider="cuda"), "found one --provider cpu, while this is --provider cuda"),
        (Settings(sweep=True), "found one without a sweep, while this is of a sweep"),
    ],
)
def test_report_of_another_measurement_is_rejected(document: dict[str, Any], settings: Settings, message: str) -> None:
    check_same_measurement(document, Settings(files=None))
    with pytest.raises(CtonnxError, match=message):
        check_same_measurement(document, settings)


def test_reports_without_a_common_case_are_rejected(make_document: Any) -> None:
    old, new = make_document(), make_document()
    old["cases"] = old["cases"][:1]
    new["cases"] = new["cases"][1:]
    with pytest.raises(
        CtonnxError,
        match=r"found none: it has ctonnx FP32 \| batch 1 \| cpu \| 2 threads \| ready pixels at 224; measure",
    ):
        compare_reports(old, new)


def test_report_of_other_batch_sizes_is_rejected_before_anything_is_measured(make_document: Any) -> None:
    with pytest.raises(CtonnxError, match="found one of --batch-size 1,8, while this is --batch-size 2;"):
        check_same_measurement(make_document(), Settings(batch_sizes=(2,)))
    check_same_measurement(make_document(), Settings(batch_sizes=(2, 8)))
