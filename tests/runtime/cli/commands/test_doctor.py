"""`ctonnx doctor` prints the state of each provider with its fix, and nothing about the user."""

import json
import platform
import sys
from getpass import getuser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from click.testing import CliRunner, Result
from tests.runtime.inference.fake_plugins import FakePlugins, fake_plugins

from ctonnx.cli.main import main
from ctonnx.errors import ProviderError
from ctonnx.inference import diagnosis, self_test
from ctonnx.inference.providers import PROVIDERS
from ctonnx.inference.runner import Runner
from ctonnx.inference.session import open_session
from ctonnx.parity.outputs import Outputs
from ctonnx.system import cpu, nvidia
from ctonnx.system.cpu import Processor
from ctonnx.system.nvidia import Driver, Gpu

__all__ = ["fake_plugins"]

H100 = Gpu("NVIDIA H100", "9.0")
AVAILABLE = ["CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates Linux with onnxruntime for the CPU and without a GPU."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.31.1"})
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(nvidia, "nvidia_driver", lambda: None)
    monkeypatch.setattr(nvidia, "has_nvidia_device", lambda: False)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], catch_exceptions=False)


def document() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(invoke("--json").stdout)
    return facts


def rows(result: Result) -> dict[str, str]:
    return {line[:12].strip(): line[14:] for line in result.stdout.splitlines()}


def states() -> dict[str, str]:
    return {provider["name"]: provider["state"] for provider in document()["providers"]}


# --- providers -------------------------------------------------------------------------------------------------------


def test_cpu_works_here_and_the_others_have_their_pip_command(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugins.machine("Intel(R) Xeon(R) Platinum 8488C")
    monkeypatch.setattr(nvidia, "has_nvidia_device", lambda: True)
    result = invoke()
    found = rows(result)
    assert (result.exit_code, result.stderr) == (0, "")
    assert found["cpu"].startswith("ok     works: differs from NumPy by ")
    assert {name: found[name] for name in PROVIDERS if name != "cpu"} == {
        "cuda": '-      not installed: pip uninstall --yes onnxruntime, then pip install "ctonnx[gpu]"',
        "tensorrt": '-      not installed: pip uninstall --yes onnxruntime, then pip install "ctonnx[gpu]"',
        "tensorrt-rtx": '-      not installed: pip install "ctonnx[tensorrt-rtx]"',
        "openvino": '-      not installed: pip install "ctonnx[openvino]"',
        "openvino:gpu": '-      not installed: pip install "ctonnx[openvino]"',
        "openvino:npu": '-      not installed: pip install "ctonnx[openvino]"',
        "coreml": "-      not installed: for macOS",
        "mlx": "-      not installed: for macOS",
        "directml": "-      not installed: for Windows",
        "qnn": '-      not installed: pip install "ctonnx[qnn]"',
        "webgpu": '-      not installed: pip install "ctonnx[webgpu]"',
    }
    assert found["plugins"] == "none installed"


@pytest.mark.parametrize("build", [AVAILABLE[:1], []])
def test_machine_without_a_gpu_is_not_a_failure_and_gets_no_install_command(
    build: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*build, "CPUExecutionProvider"])
    result = invoke()
    assert result.exit_code == 0
    for name in ("cuda", "tensorrt", "tensorrt-rtx"):
        assert rows(result)[name] == "-      no hardware: this machine has no NVIDIA GPU"


@pytest.mark.parametrize("driver", [Driver((13, 0), (H100,)), None])
def test_failing_provider_with_hardware_is_a_failure(driver: Driver | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [AVAILABLE[0], "CPUExecutionProvider"])
    monkeypatch.setattr(nvidia, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(nvidia, "has_nvidia_device", lambda: True)
    original = open_session

    def fail(model: bytes, provider: str) -> Any:
        if provider == "cuda":
            raise ProviderError(f"something in {Path.home()}/lib is missing; fix it")
        return original(model)

    monkeypatch.setattr(self_test, "open_session", fail)
    result = invoke()
    assert result.exit_code == 1
    assert rows(result)["cuda"] == "FAILS  fails: something in lib is missing; fix it"
    assert rows(result)["cpu"].startswith("ok ")


def test_machine_whose_cpu_fails_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Runner, pixels: Any) -> Outputs:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(Runner, "__call__", fail)
    assert invoke().exit_code == 1
    assert states()["cpu"] == "fails"


def test_builds_over_each_other_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.30.0"}
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: builds)
    result = invoke()
    assert result.exit_code == 1
    assert rows(result)["FAULT"].startswith(
        "onnxruntime 1.31.1 and onnxruntime-gpu 1.30.0 are installed over each other"
    )


# --- plugins ---------------------------------------------------------------------------------------------------------


def test_plugins_are_listed_with_their_devices_and_missing_hardware_is_no_failure(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino")
    fake_plugins.install("qnn", ("CPU", "AMD"), version="2.7.0")
    result = invoke()
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line[14:] for line in result.stdout.splitlines() if line.startswith("plugin ")] == [
        "onnxruntime-ep-openvino 1.8.1: no device here",
        "onnxruntime-qnn 2.7.0: CPU of AMD",
    ]
    found = rows(result)
    assert found["openvino"] == (
        "-      no hardware: its plugin onnxruntime-ep-openvino 1.8.1 needs an Intel processor, and this one is AMD "
        "EPYC; run on --provider cpu here"
    )
    assert found["qnn"].startswith("-      no hardware: its plugin onnxruntime-qnn 2.7.0 needs a Qualcomm NPU")
    assert found["webgpu"] == '-      not installed: pip install "ctonnx[webgpu]"'
    assert document()["plugins"] == [
        {"name": "onnxruntime-ep-openvino 1.8.1", "devices": [], "message": None},
        {"name": "onnxruntime-qnn 2.7.0", "devices": ["CPU of AMD"], "message": None},
    ]


def test_plugin_that_does_not_load_is_a_failure_without_a_folder(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("webgpu", version="0.4.0")
    fake_plugins.error = RuntimeError(f"Failed to load library {Path.home()}/lib/libwebgpu.so")
    result = invoke()
    assert result.exit_code == 1
    expected = (
        "its plugin onnxruntime-ep-webgpu 0.4.0 does not load (Failed to load library libwebgpu.so); run on --provider "
        "cpu here"
    )
    assert rows(result)["webgpu"] == f"FAILS  fails: {expected}"
    assert rows(result)["plugin"] == f"onnxruntime-ep-webgpu 0.4.0: {expected}"


def test_plugin_of_nvidia_is_not_loaded_without_a_gpu(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: False)
    fake_plugins.install("tensorrt-rtx", version="0.5.0")
    result = invoke()
    assert (result.exit_code, fake_plugins.registered) == (0, [])
    assert rows(result)["tensorrt-rtx"] == "-      no hardware: this machine has no NVIDIA GPU"
    assert rows(result)["plugin"] == (
        "onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0: the provider 'tensorrt-rtx' does not run here: this machine has no "
        "NVIDIA GPU; run on --provider cpu here"
    )


# --- the machine -----------------------------------------------------------------------------------------------------


def test_document_describes_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "nvidia_driver", lambda: Driver((13, 0), (H100,)))
    facts = document()
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["ctonnx"] == version("ctonnx")
    assert facts["versions"]["distribution onnxruntime"] == "1.31.1"
    assert facts["cores"]["allowed"] == cpu.available_cores()
    assert facts["gpus"] == [{"name": "NVIDIA H100", "compute": "9.0"}]
    assert facts["cuda_of_driver"] == "13.0"
    assert [provider["name"] for provider in facts["providers"]] == list(PROVIDERS)
    shown = rows(invoke())
    assert shown["GPU"] == "NVIDIA H100, compute capability 9.0"
    assert shown["driver"] == "NVIDIA, for CUDA 13.0 and older"


@pytest.mark.parametrize(
    ("architecture", "features", "vnni", "expected"),
    [
        ("x86", {"avx512_vnni"}, True, "exact and fast (VNNI); use models of --target x86"),
        (
            "x86",
            {"avx512_vnni", "amx_int8"},
            True,
            "exact and fast (AMX); use models of --target amx, or x86 for openvino and other processors",
        ),
        (
            "x86",
            {"avx2"},
            False,
            "no VNNI: slower kernels that do not saturate are used; use models of --target x86",
        ),
        (
            "x86",
            None,
            None,
            "VNNI unknown: slower kernels that do not saturate are used; use models of --target x86",
        ),
        ("arm", {"i8mm"}, False, "use models of: ctonnx export --precision int8 --target arm"),
        ("riscv64", None, False, "no --target of ctonnx export is for this processor; FP32 is used"),
    ],
)
def test_consequence_of_the_processor_for_int8_is_printed(
    architecture: str,
    features: set[str] | None,
    vnni: bool | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Processor("one", None if features is None else frozenset(features))
    monkeypatch.setattr(cpu, "processor", lambda: known)
    monkeypatch.setattr(cpu, "architecture", lambda: architecture)
    monkeypatch.setattr(cpu, "has_vnni", lambda: vnni)
    monkeypatch.setattr(cpu, "has_amx", lambda: "amx_int8" in (features or ()))
    shown = rows(invoke())
    assert shown["INT8"] == expected
    assert shown["features"] == ("unknown" if features is None else ", ".join(sorted(features)))


def test_telemetry_of_onnxruntime_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    assert rows(invoke())["telemetry"] == "off"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert rows(invoke())["telemetry"] == "on, if onnxruntime has it: ORT_DISABLE_TELEMETRY is not 1"


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_nothing_names_the_user_or_a_folder(words: tuple[str, ...]) -> None:
    output = invoke(*words).stdout
    assert str(Path.home()) not in output
    assert str(Path(onnxruntime.__file__).parent) not in output
    if len(name := getuser()) > 3 and name != "root":
        assert name not in output


def test_json_is_one_document_and_nothing_else() -> None:
    result = invoke("--json")
    assert result.stderr == ""
    assert set(json.loads(result.stdout)) == {
        "versions",
        "platform",
        "processor",
        "cores",
        "memory_bytes",
        "gpus",
        "cuda_of_driver",
        "telemetry",
        "fault",
        "plugins",
        "providers",
    }
