"""The tests marked gpu run on the kit's device, and each is recorded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import device_tests
from ctonnx_bench.gpu.steps.device_tests import DEVICE_VARIABLE, ROOT, marked_files, run

MARK = "pytest.mark." + "gpu"  # this file has no such test


@pytest.fixture
def write_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Function that writes a file of marked tests into a checkout of its own."""
    monkeypatch.setattr(device_tests, "ROOT", tmp_path / "checkout")

    def write(body: str) -> None:
        file = tmp_path / "checkout/tests/test_it.py"
        file.parent.mkdir(parents=True)
        file.write_text(f"import os\nimport pytest\npytestmark = {MARK}\n{body}\n", encoding="utf-8")
        (tmp_path / "checkout/pytest.ini").write_text("[pytest]\nmarkers = gpu: a device\n", encoding="utf-8")

    return write


def test_checkout_has_tests_for_a_device_and_this_file_is_none() -> None:
    names = [file.name for file in marked_files(ROOT / "tests")]
    assert names == ["test_on_device.py", "test_fit_on_device.py"]


def test_tests_run_on_the_device_and_are_recorded(
    make_context: Callable[..., Context], write_test: Callable[[str], None]
) -> None:
    write_test(f"def test_device():\n    assert os.environ['{DEVICE_VARIABLE}'] == 'cpu'\n")
    context = make_context()
    (context.work / "device_tests").mkdir()
    run(context)
    [row] = context.recorded.tables["Tests"]
    assert (row["test"], row["state"]) == ("test_device", "passed")
    assert context.recorded.failures == []


def test_failed_test_fails_the_step_and_the_others_are_recorded(
    make_context: Callable[..., Context], write_test: Callable[[str], None]
) -> None:
    write_test(
        "def test_a():\n    assert False\ndef test_b():\n    pass\ndef test_c():\n    pytest.skip('no device')\n"
    )
    context = make_context()
    (context.work / "device_tests").mkdir()
    run(context)
    assert [row["state"] for row in context.recorded.tables["Tests"]] == ["failed", "passed", "skipped"]
    assert context.recorded.failures == ["expected all 3 tests to pass, found that 1 failed: test_a"]


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("def test_a():\n    pytest.skip('no device')\n", "expected tests that run, found that all were skipped"),
        ("import no_such_library\n", "found that 1 failed"),
    ],
)
def test_step_fails_if_nothing_was_tested(
    body: str, failure: str, make_context: Callable[..., Context], write_test: Callable[[str], None]
) -> None:
    write_test(body)
    context = make_context()
    (context.work / "device_tests").mkdir()
    run(context)
    assert failure in context.recorded.failures[0]


def test_step_fails_without_a_checkout(
    make_context: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tests, "ROOT", tmp_path)
    context = make_context()
    run(context)
    assert "run the kit from a checkout" in context.recorded.failures[0]
