"""Speedup over PyTorch, or else FP32, in the same round and at the same batch size."""

from typing import Any

from ctonnx_bench.analysis.speedup import speedup_over, times_as_fast


def case(contender: str, *medians: float, batch_size: int = 1, **other: Any) -> dict[str, Any]:
    return {
        "name": f"{contender} {batch_size} {other.get('bound', False)}",
        "contender": contender,
        "batch_size": batch_size,
        "bound": False,
        "failures": [],
        "rounds": [{"samples_s": [median, median, 9 * median]} for median in medians],
        **other,
    }


def test_rounds_are_compared_with_each_other() -> None:
    cases = [case("ctonnx INT8", 1.0, 2.0, 4.0), case("PyTorch eager", 4.0, 12.0, 16.0), case("ctonnx FP32", 2, 3, 4)]
    found = times_as_fast(cases)
    assert found["ctonnx INT8 1 False"] == {"than": "PyTorch", "value": 4.0, "low": 4.0, "high": 6.0}
    assert found["PyTorch eager 1 False"]["value"] == 1


def test_fp32_is_the_baseline_if_pytorch_was_not_measured_or_is_wrong() -> None:
    cases = [case("ctonnx INT8", 1.0), case("ctonnx FP32", 3.0)]
    assert times_as_fast(cases)["ctonnx INT8 1 False"]["than"] == "FP32"
    wrong = case("PyTorch eager", 4.0, failures=["max |dp| is 1"])
    assert "PyTorch eager 1 False" not in times_as_fast([*cases, wrong])
    assert times_as_fast([case("ctonnx INT8", 1.0), wrong]) == {}


def test_case_that_failed_late_is_compared_in_its_rounds() -> None:
    cases = [case("ctonnx INT8", 1.0), case("ctonnx FP32", 3.0, 100.0)]
    assert times_as_fast(cases)["ctonnx INT8 1 False"]["high"] == 3


def test_batch_sizes_and_data_transfers_are_compared_separately() -> None:
    cases = [
        case("ctonnx INT8", 1.0, bound=True),
        case("ctonnx INT8", 2.0, batch_size=8),
        case("PyTorch eager", 4.0),
        case("PyTorch eager", 3.0, bound=True),
    ]
    found = times_as_fast(cases)
    assert found["ctonnx INT8 1 True"]["value"] == 3
    assert "ctonnx INT8 8 False" not in found


def test_any_contender_is_compared_with() -> None:
    cases = [case("pruned", 1.0), case("FP32 of lungs", 3.0), case("FP32 of lungs", 8.0, batch_size=8)]
    found = speedup_over(cases, "FP32 of lungs", "lungs")
    assert found["pruned 1 False"] == {"than": "lungs", "value": 3.0, "low": 3.0, "high": 3.0}
    assert found["FP32 of lungs 8 False"]["value"] == 1
    cases[1]["failures"] = ["max |dp| is 1"]
    assert "pruned 1 False" not in speedup_over(cases, "FP32 of lungs", "lungs")
