"""The Markdown has every state, value, failure and last line of output."""

from typing import Any

from ctonnx_bench.gpu.report.markdown import markdown


def test_report_begins_with_the_states_of_all_steps(document: dict[str, Any]) -> None:
    lines = markdown(document, ["gpu-latency.png"]).splitlines()
    assert lines[2] == "On a GPU. Not passed, 401 s of 540 s, 2026-11-30, by:"
    assert "| `folder` step | cut | 70.0 | it had not ended after 70 s |" in lines
    assert "| `server` step | left out | 0.0 | no time |" in lines
    assert "![gpu latency](gpu-latency.png)" in lines


def test_values_have_units_and_digits_for_a_reader(document: dict[str, Any]) -> None:
    text = markdown(document, [])
    assert "- driver: 590.1\n- cuDNN: -\n" in text
    assert "| training | images per s | data share | gpu MB |" in text
    assert "| ctonnx | 1100 | 3.4% | 12000 |" in text
    assert "| ctonnx FP16 | host copies | 1 | 1.3 | 1.43 | 769 | 3.2e-06 | 100.0% |" in text
    assert "| CUDA graph | fp16 | 32 | - | 0 | yes |" in text


def test_failures_notes_and_output_are_in_the_steps_section(document: dict[str, Any]) -> None:
    section = markdown(document, []).partition("## `folder` step")[2].partition("## ")[0]
    assert "Cut in 70.0 s." in section
    assert "- FAILED: expected a row \\| found none\n- LEFT OUT: a part: left out\n- a peer: left out\n" in section
    assert "```text\nTraceback\nno luck\n```" in section


def test_rehearsal_measures_nothing(document: dict[str, Any]) -> None:
    rehearsal = {**document, "settings": {"provider": "cpu", "budget_s": 240.0}, "passed": True}
    assert "On a CPU: a rehearsal, whose values measure nothing. Passed, " in markdown(rehearsal, [])
    assert "Not complete, " in markdown({**document, "complete": False}, [])
