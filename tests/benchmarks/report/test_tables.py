"""The report: one table with speed and parity, and the notes without which it cannot be read."""

from typing import Any

import pytest

from ctonnx_bench.report.notes import notes
from ctonnx_bench.report.tables import columns, markdown, terminal


def test_speed_size_and_parity_stand_in_one_row(document: dict[str, Any]) -> None:
    head, *rows = columns(document)
    row = dict(zip(head, rows[1], strict=True))
    assert row == {
        "what": "ctonnx INT8", "batch": "1", "p50 ms": "13.00", "p90": "13.10", "p95": "13.12", "p99": "13.13",
        "mean": "13.00", "IQR": "1%", "images/s": "76.9", "x PyTorch": "4.62 (4.62 to 4.62)",
        "cold s": "0.50", "first ms": "26", "RAM MB": "150",
        "file MB": "28.5", "agree [95 %]": "100.0% [68%, 100%]",
        "max |dp|": "2.0e-02", "mean |dp|": "4.0e-03", "answers": "right",
    }  # fmt: skip
    assert len(rows) == 6


def test_columns_that_the_machine_fills_are_there_only_then(document: dict[str, Any]) -> None:
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


def test_percentiles_of_too_few_runs_are_left_out(document: dict[str, Any]) -> None:
    document["cases"][0]["figures"]["latency_ms"] |= {"p95": None, "p99": None}
    head, *rows = columns(document)
    row = dict(zip(head, rows[0], strict=True))
    assert (row["p90"], row["p95"], row["p99"]) == ("36.29", "-", "-")


def test_doubts_and_failures_stand_in_the_table_and_below_it(document: dict[str, Any]) -> None:
    document["cases"][0] |= {"doubts": ["noisy: the range is 20%", "throttled: heat"], "failures": ["max |dp| is 1"]}
    document["cases"][2] |= {"failures": ["max |dp| is 2"]}
    document["cases"][3]["doubts"] = ["noisy: the range is 20%"]
    head, *rows = columns(document)
    assert rows[0][0] == "ctonnx FP32 ~!"
    assert [row[head.index("answers")] for row in rows[:3]] == ["FAILED", "right", "WRONG"]
    said = notes(document)
    assert "noisy: the range is 20%: ctonnx FP32, batch 1; ctonnx FP32, batch 8" in said
    assert "throttled: heat: ctonnx FP32, batch 1" in said
    assert said[:2] == [
        "FAILED: ctonnx FP32, batch 1: max |dp| is 1",
        "WRONG: PyTorch <eager>, batch 1: max |dp| is 2",
    ]


def test_answers_that_are_not_shown_to_be_right_are_called_so(document: dict[str, Any]) -> None:
    doubt = "agreement is 98.84%, at least 99.00% is required, which its 95 % interval, 96.65% to 99.61%, reaches"
    document["cases"][1] |= {"verdict": "not shown", "not_shown": [doubt]}
    document["cases"][2] |= {"verdict": "unjudged", "not_shown": ["of no interest"]}
    head, *rows = columns(document)
    assert [row[head.index("answers")] for row in rows[:3]] == ["right", "not shown", "unjudged"]
    said = notes(document)
    assert said[0] == f"NOT SHOWN: ctonnx INT8, batch 1: {doubt}"
    assert any(line.startswith("not shown: below a bound, which its 95 % interval") for line in said)
    assert "of no interest" not in "\n".join(said)


def test_what_right_and_max_dp_mean_stands_among_the_notes(document: dict[str, Any]) -> None:
    said = notes(document)
    assert "max |dp|: the largest absolute difference of any class's probability over the compared images" in said
    assert (
        "right: the answers agree with the reference's as the gate asks; it does not mean a correct diagnosis" in said
    )
    assert not any(line.startswith("not shown") for line in said)


def test_figures_are_rounded_to_their_own_side_of_the_bound(document: dict[str, Any]) -> None:
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
    assert "against the report of then: a, p50 ms: 1.00, now 1.10 (+10.04%)" in notes(document)


def test_file_that_is_held_against_itself_is_not_called_right(document: dict[str, Any]) -> None:
    document["cases"][0]["verdict"], document["cases"][2]["verdict"] = "reference", "unjudged"
    head, *rows = columns(document)
    assert [row[head.index("answers")] for row in rows[:3]] == ["reference", "right", "unjudged"]
    assert any(
        line.startswith("reference: held against itself, so nothing says that it is right") for line in notes(document)
    )
    document["checked_on"]["reference_wrong"] = True
    assert "the reference is wrong itself, on the golden inputs: to agree with it says nothing" in notes(document)


FASTER = "exported from the same images, INT8 of --target {} gives the same answers, faster"
HAS_AMX = f"is for --target x86, and this processor has AMX: {FASTER.format('amx')}"
HAS_NONE = f"is for --target amx, and this processor has no AMX: {FASTER.format('x86')}"
UNFIT = "is for --target {}, not for {} on this processor, where it can be slower than FP32"


@pytest.mark.parametrize(
    ("provider", "machine", "features", "target", "expected"),
    [
        ("cpu", "x86_64", ["amx_int8", "avx2"], "x86", HAS_AMX),
        ("cpu", "x86_64", ["avx2"], "amx", HAS_NONE),
        ("cpu", "AMD64", ["amx_int8", "avx2"], "amx", None),
        ("cpu", "x86_64", ["avx2"], "x86", None),
        ("cpu", "x86_64", [], "amx", None),  # nothing is known of the processor
        ("cpu", "x86_64", ["amx_int8"], None, None),  # a model in floating point
        ("cpu", "x86_64", ["amx_int8"], "arm", UNFIT.format("arm", "cpu")),
        ("cpu", "aarch64", ["i8mm"], "amx", UNFIT.format("amx", "cpu")),
        ("cpu", "aarch64", ["i8mm"], "arm", None),
        ("openvino", "x86_64", ["amx_int8"], "amx", UNFIT.format("amx", "openvino")),
        ("openvino", "x86_64", ["amx_int8"], "x86", None),
        ("tensorrt", "x86_64", ["amx_int8"], "x86", UNFIT.format("x86", "tensorrt")),
        ("cuda", "x86_64", ["amx_int8"], "x86", None),
    ],
)
def test_int8_file_that_another_target_makes_faster_here_is_named(
    provider: str, machine: str, features: list[str], target: str | None, expected: str | None, document: dict[str, Any]
) -> None:
    document["settings"]["provider"], document["models"][0]["target"] = provider, target
    document["environment"] |= {"architecture": machine, "features": features}
    said = [line for line in notes(document) if "--target" in line]
    assert said == ([] if expected is None else [f"model.int8.onnx {expected}"])


def test_target_that_is_measured_too_is_not_recommended(document: dict[str, Any]) -> None:
    document["environment"]["features"] = ["amx_int8"]
    document["models"].append({**document["models"][0], "target": "amx"})
    assert not any("--target" in line for line in notes(document))


def test_notes_name_the_reference_mlperfs_measures_and_who_is_missing(document: dict[str, Any]) -> None:
    said = notes(document)
    assert said[0].startswith("agreement and |dp| on 8 golden inputs against PyTorch, as kept in golden.npz")
    assert "right, FP32, INT8: agreement 99 % or more" in said
    assert (
        "MLPerf's measures, ctonnx INT8: SingleStream 13.10 ms (90th percentile), Offline 94.7 images/s (batch 8)"
        in said
    )
    assert said[-1] == "OpenVINO: skipped, openvino not installed; pip install openvino"


def test_doubted_measures_of_mlperfs_carry_the_mark(document: dict[str, Any]) -> None:
    document["mlperf"]["ctonnx INT8"] |= {"doubted": True, "offline_doubted": True}
    expected = "SingleStream 13.10 ms ~ (90th percentile), Offline 94.7 images/s ~ (batch 8)"
    assert f"MLPerf's measures, ctonnx INT8: {expected}" in notes(document)


def test_accuracy_that_flatters_is_told(document: dict[str, Any]) -> None:
    document["checked_on"]["cautions"] = ["accuracy: leaks"]
    assert "accuracy: leaks" in notes(document)


def test_ratio_of_one_round_has_no_range(document: dict[str, Any]) -> None:
    for case in document["cases"]:
        case["rounds"] = case["rounds"][:1]
    head, _, row, *_ = columns(document)
    assert row[head.index("x PyTorch")] == "4.62"


def test_column_names_what_it_is_faster_than(document: dict[str, Any]) -> None:
    assert any(line.startswith("x PyTorch: how many times as fast at the same batch size") for line in notes(document))
    for case in document["cases"]:
        case["times_as_fast"] = None
    assert not any(name.startswith("x ") for name in columns(document)[0])


def test_interval_of_the_agreement_is_left_out_of_many_images(document: dict[str, Any]) -> None:
    document["cases"][0]["parity"]["images"] = 1000
    head, row, *_ = columns(document)
    assert row[head.index("agree [95 %]")] == "100.0%"


def test_peer_that_was_calibrated_on_what_judges_it_is_told(document: dict[str, Any]) -> None:
    document["checked_on"]["calibrated_on_them"] = True
    assert any("calibrated on the very images that judge it" in line for line in notes(document))


def test_comparison_stands_among_the_notes(document: dict[str, Any]) -> None:
    change = {"case": "a", "figure": "p50 ms", "before": 10.0, "now": 12.0, "worse": 0.2}
    compared = {"created": "2026-01-01", "fail_over": 0.1, "changes": [change], "cautions": ["another machine"]}
    document["compared_with"] = compared
    said = notes(document)
    assert "against the report of 2026-01-01: a, p50 ms: 10.00, now 12.00 (+20.0%)" in said
    assert "another machine" in said


def test_table_for_a_terminal_is_aligned(document: dict[str, Any]) -> None:
    lines = terminal(document).splitlines()
    assert lines[0] == "lungs on cpu, 2 threads, 224 pixels, from pixels to the answer; Some CPU"
    table = lines[2:9]
    assert len({len(line.rstrip()) for line in table}) == 1


def test_markdown_has_the_command_the_table_the_machine_and_the_hashes(document: dict[str, Any]) -> None:
    text = markdown(document)
    assert "$ ctonnx bench --peers pytorch\n" in text
    assert "lungs on cpu, 2 threads, 224 pixels, from pixels to the answer; Some CPU. Made on 2026-11-25 by:" in text
    assert "| what | batch |" in text
    assert "max \\|dp\\|" in text
    assert "- processor: Some CPU (avx2), 2 of 4 cores\n" in text
    assert "- container's limit of CPU time: max 100000\n" in text
    assert f"SHA-256 `{'ab' * 32}`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
