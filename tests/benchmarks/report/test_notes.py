"""The notes below the table: failures, reference, warnings, MLPerf's measures, and the comparison."""

from typing import Any

import pytest

from ctonnx_bench.report.notes import notes


def test_right_and_max_dp_are_explained(document: dict[str, Any]) -> None:
    lines = notes(document)
    assert "max |dp|: the largest absolute difference of any class's probability over the compared images" in lines
    assert (
        "right: the outputs agree with the reference within the bounds of the gate; it does not mean a correct "
        "diagnosis" in lines
    )
    assert not any(line.startswith("not shown") for line in lines)


FASTER = "from the same images, INT8 exported for --target {} computes the same outputs faster"
HAS_AMX = f"is for --target x86, and this processor has AMX: {FASTER.format('amx')}"
HAS_NONE = f"is for --target amx, and this processor has no AMX: {FASTER.format('x86')}"
UNFIT = "is for --target {}; with {} on this processor it can be slower than FP32"


@pytest.mark.parametrize(
    ("provider", "machine", "features", "target", "expected"),
    [
        ("cpu", "x86_64", ["amx_int8", "avx2"], "x86", HAS_AMX),
        ("cpu", "x86_64", ["avx2"], "amx", HAS_NONE),
        ("cpu", "AMD64", ["amx_int8", "avx2"], "amx", None),
        ("cpu", "x86_64", ["avx2"], "x86", None),
        ("cpu", "x86_64", [], "amx", None),  # unknown features
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
    lines = [line for line in notes(document) if "--target" in line]
    assert lines == ([] if expected is None else [f"model.int8.onnx {expected}"])


def test_target_that_is_measured_too_is_not_recommended(document: dict[str, Any]) -> None:
    document["environment"]["features"] = ["amx_int8"]
    document["models"].append({**document["models"][0], "target": "amx"})
    assert not any("--target" in line for line in notes(document))


def test_notes_name_the_reference_mlperfs_measures_and_skipped_peers(document: dict[str, Any]) -> None:
    lines = notes(document)
    assert lines[0].startswith("agreement and |dp| on 8 golden inputs against PyTorch, as kept in golden.npz")
    assert "right, FP32, INT8: agreement 99 % or more" in lines
    assert (
        "MLPerf's measures, ctonnx INT8: SingleStream 13.10 ms (90th percentile), Offline 94.7 images/s (batch 8)"
        in lines
    )
    assert lines[-1] == "OpenVINO: skipped, openvino not installed; pip install openvino"


def test_unreliable_measures_of_mlperf_have_the_mark(document: dict[str, Any]) -> None:
    document["mlperf"]["ctonnx INT8"] |= {"doubted": True, "offline_doubted": True}
    expected = "SingleStream 13.10 ms ~ (90th percentile), Offline 94.7 images/s ~ (batch 8)"
    assert f"MLPerf's measures, ctonnx INT8: {expected}" in notes(document)


def test_caveats_of_the_accuracy_are_reported(document: dict[str, Any]) -> None:
    document["checked_on"]["cautions"] = ["accuracy: leaks"]
    assert "accuracy: leaks" in notes(document)


def test_peer_that_was_calibrated_on_the_checked_images_has_a_note(document: dict[str, Any]) -> None:
    document["checked_on"]["calibrated_on_them"] = True
    assert any("calibrated on the same images that it is checked on" in line for line in notes(document))


def test_comparison_is_in_the_notes(document: dict[str, Any]) -> None:
    change = {"case": "a", "figure": "p50 ms", "before": 10.0, "now": 12.0, "worse": 0.2}
    compared = {"created": "2026-01-01", "fail_over": 0.1, "changes": [change], "cautions": ["another machine"]}
    document["compared_with"] = compared
    lines = notes(document)
    assert "compared with the report of 2026-01-01: a, p50 ms: 10.00, now 12.00 (+20.0%)" in lines
    assert "another machine" in lines
