"""A case that cannot run is an error of ctonnx; another outcome fails the step."""

import pytest

from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import rejections
from ctonnx_bench.gpu.steps.rejections import run


def test_errors_are_provoked_and_recorded(exported_context: Context) -> None:
    run(exported_context)
    first, second = exported_context.recorded.tables["Rejections"]
    assert (first["case"], first["error"]) == ("no CUDA", "ProviderError")
    assert "'cuda'" in first["message"]
    assert (second["case"], second["error"]) == ("no free memory", "NotEnoughMemory")
    assert second["message"].startswith("not enough memory to compute a batch of 256 images")
    assert exported_context.recorded.failures == []


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("print('it runs')", "it runs"),
        ("print('ProviderError|another reason')", "ProviderError|another reason"),
        ("print('ModelError|memory')", "ModelError|memory"),
        ("raise ValueError('a bug')", "ValueError: a bug"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "no output, exit code -9"),
    ],
)
def test_another_outcome_is_a_failure(program: str, found: str, exported_context: Context) -> None:
    model = exported_context.work / "m.onnx"
    rejections._provoke(exported_context, "full", program, model, ("ProviderError",), "memory")
    assert exported_context.recorded.failures == [f"full: expected a ProviderError that names memory, found: {found}"]


def test_broken_library_is_found_before_the_right_one(
    exported_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    program = "import os; print('ProviderError|' + os.environ['LD_LIBRARY_PATH'])"
    folder = exported_context.work / "broken"
    rejections._provoke(exported_context, "cuDNN", program, folder, ("ProviderError",), "broken", folder)
    [row] = exported_context.recorded.tables["Rejections"]
    assert row["message"] == f"{folder}:/usr/lib"
    assert exported_context.recorded.failures == []
