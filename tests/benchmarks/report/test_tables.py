"""The table with speed, size and parity, and the report for the terminal and as Markdown."""

from typing import Any

from ctonnx_bench.report.notes import notes
from ctonnx_bench.report.tables import columns, markdown, terminal


def test_speed_size_and_parity_are_in_one_row(document: dict[str, Any]) -> None:
    head, *rows = columns(document)
    row = dict(zip(head, rows[1], strict=True))
    assert row == {
        "case": "ctonnx INT8", "batch": "1", "p50 ms": "13.00", "p90": "13.10", "p95": "13.12", "p99": "13.13",
        "mean": "13.00", "IQR": "1%", "images/s": "76.9", "x PyTorch": "4.62 (4.62 to 4.62)",
        "cold s": "0.50", "first ms": "26", "RAM MB": "150",
        "file MB": "28.5", "agree [95 %]": "100.0% [68%, 100%]",
        "max |dp|": "2.0e-02", "mean |dp|": "4.0e-03", "verdict": "right",
    }  # fmt: skip
    assert len(rows) == 6


def test_columns_of_sensors_appear_only_if_the_machine_has_them(document: dict[str, Any]) -> None:
    case = document["cases"][0]
    case["figures"] |= {
        "device_bytes": 512_000_000,
        "joules_per_image": {"package-0": 0.25, "package-1": 0.25, "gpu": 1.0},
    }
    case["accuracy"] = {"images": 10, "value": 0.9, "low": 0.6, "high": 0.98}
    head, *rows = columns(document)
    row = dict(zip(head, rows[0], strict=True))
    assert (row["GPU MB"], row["accuracy [95 %]"]) == ("512", "0.900 [0.600, 0.980]")
    assert (row["CPU mJ/image"], row["GPU mJ/image"]) == ("500.0", "1000.0")
    other = dict(zip(head, rows[1], strict=True))
    assert {other[name] for name in ("GPU MB", "CPU mJ/image", "GPU mJ/image", "accuracy [95 %]")} == {"-"}


def test_novelty_has_columns_if_the_models_have_it(document: dict[str, Any]) -> None:
    document["cases"][0]["parity"] |= {"novelty_correlation": 0.97996, "novelty_agreement": 1.0}
    document["cases"][0]["bounds"] |= {"min_novelty_correlation": 0.98, "min_novelty_agreement": 0.98}
    head, *rows = columns(document)
    found = [dict(zip(head, row, strict=True)) for row in rows[:2]]
    assert [(row["novelty, ranks"], row["flagged alike"]) for row in found] == [("0.97996", "100.0%"), ("-", "-")]


def test_percentiles_of_too_few_runs_are_left_out(document: dict[str, Any]) -> None:
    document["cases"][0]["figures"]["latency_ms"] |= {"p95": None, "p99": None}
    head, *rows = columns(document)
    row = dict(zip(head, rows[0], strict=True))
    assert (row["p90"], row["p95"], row["p99"]) == ("36.29", "-", "-")


def test_warnings_and_failures_are_in_the_table_and_below_it(document: dict[str, Any]) -> None:
    document["cases"][0] |= {"doubts": ["noisy: the range is 20%", "throttled: heat"], "failures": ["max |dp| is 1"]}
    document["cases"][2] |= {"failures": ["max |dp| is 2"]}
    document["cases"][3]["doubts"] = ["noisy: the range is 20%"]
    head, *rows = columns(document)
    assert rows[0][0] == "ctonnx FP32 ~!"
    assert [row[head.index("verdict")] for row in rows[:3]] == ["FAILED", "right", "WRONG"]
    lines = notes(document)
    assert "noisy: the range is 20%: ctonnx FP32, batch 1; ctonnx FP32, batch 8" in lines
    assert "throttled: heat: ctonnx FP32, batch 1" in lines
    assert lines[:2] == [
        "FAILED: ctonnx FP32, batch 1: max |dp| is 1",
        "WRONG: PyTorch <eager>, batch 1: max |dp| is 2",
    ]


def test_outputs_that_are_not_shown_to_be_right_have_a_note(document: dict[str, Any]) -> None:
    bound = "agreement is 98.84%, at least 99.00% is required, which its 95 % interval, 96.65% to 99.61%, includes"
    document["cases"][1] |= {"verdict": "not shown", "not_shown": [bound]}
    document["cases"][2] |= {"verdict": "unjudged", "not_shown": ["of no interest"]}
    head, *rows = columns(document)
    assert [row[head.index("verdict")] for row in rows[:3]] == ["right", "not shown", "unjudged"]
    lines = notes(document)
    assert lines[0] == f"NOT SHOWN: ctonnx INT8, batch 1: {bound}"
    assert any(line.startswith("not shown: a bound is missed, but is within the 95 % interval") for line in lines)
    assert "of no interest" not in "\n".join(lines)


def test_values_are_rounded_to_their_own_side_of_the_bound(document: dict[str, Any]) -> None:
    document["cases"][0]["parity"] |= {"agreement": 0.98963, "agreement_interval": (0.9899, 0.99004), "max_dp": 1.04e-4}
    document["cases"][0]["bounds"] |= {"max_dp": 1e-4}
    document["cases"][0]["figures"]["latency_ms"] |= {"p50": 100.0, "iqr": 10.2}
    head, row, *_ = columns(document)
    cells = dict(zip(head, row, strict=True))
    assert cells["agree [95 %]"] == "98.96% [98.99%, 99.004%]"
    assert cells["max |dp|"] == "1.04e-04"
    assert cells["IQR"] == "10.2%"
    change = {"case": "a", "figure": "p50 ms", "before": 1.0, "now": 1.1, "worse": 0.1004}
    document["compared_with"] = {"created": "then", "fail_over": 0.1, "changes": [change], "cautions": []}
    assert "compared with the report of then: a, p50 ms: 1.00, now 1.10 (+10.04%)" in notes(document)


def test_file_that_is_compared_with_itself_is_not_called_right(document: dict[str, Any]) -> None:
    document["cases"][0]["verdict"], document["cases"][2]["verdict"] = "reference", "unjudged"
    head, *rows = columns(document)
    assert [row[head.index("verdict")] for row in rows[:3]] == ["reference", "right", "unjudged"]
    assert any(
        line.startswith("reference: compared with itself, which does not show that it is right")
        for line in notes(document)
    )
    document["checked_on"]["reference_wrong"] = True
    assert "the reference itself is wrong on the golden inputs: agreement with it proves nothing" in notes(document)


def test_ratio_of_one_round_has_no_range(document: dict[str, Any]) -> None:
    for case in document["cases"]:
        case["rounds"] = case["rounds"][:1]
    head, _, row, *_ = columns(document)
    assert row[head.index("x PyTorch")] == "4.62"


def test_column_of_the_speedup_names_the_baseline(document: dict[str, Any]) -> None:
    assert any(line.startswith("x PyTorch: speedup at the same batch size") for line in notes(document))
    for case in document["cases"]:
        case["times_as_fast"] = None
    assert not any(name.startswith("x ") for name in columns(document)[0])


def test_interval_of_the_agreement_is_left_out_of_many_images(document: dict[str, Any]) -> None:
    document["cases"][0]["parity"]["images"] = 1000
    head, row, *_ = columns(document)
    assert row[head.index("agree [95 %]")] == "100.0%"


def test_table_for_a_terminal_is_aligned(document: dict[str, Any]) -> None:
    lines = terminal(document).splitlines()
    assert lines[0] == "lungs on cpu, 2 threads, 224 pixels, from pixels to the prediction; Some CPU"
    table = lines[2:9]
    assert len({len(line.rstrip()) for line in table}) == 1


def test_markdown_has_the_command_the_table_the_machine_and_the_hashes(document: dict[str, Any]) -> None:
    text = markdown(document)
    assert "$ ctonnx bench --peers pytorch\n" in text
    assert "2 threads, 224 pixels, from pixels to the prediction; Some CPU. Measured on 2026-11-25 by:" in text
    assert "| case | batch |" in text
    assert "max \\|dp\\|" in text
    assert "- processor: Some CPU (avx2), 2 of 4 cores\n" in text
    assert "- container's limit of CPU time: max 100000\n" in text
    assert f"SHA-256 `{'ab' * 32}`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
