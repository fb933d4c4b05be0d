"""The reason why a provider does not run is reported with its fix."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest

from ctonnx.inference import diagnosis
from ctonnx.inference.diagnosis import (
    explain_failure,
    explain_import_error,
    explain_missing_provider,
    install_command,
    missing_library,
    overlaid_builds,
)
from ctonnx.inference.providers import Provider
from ctonnx.system.nvidia import Driver, Gpu

NVIDIA: tuple[Provider, ...] = ("cuda", "tensorrt", "tensorrt-rtx")
H100 = Gpu("NVIDIA H100", "9.0")


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates Linux with onnxruntime for the CPU."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.31.1"})
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: None)


def gpu_build(cuda_version: str = "13.0") -> ModuleType:
    """Returns a module that looks like onnxruntime-gpu's."""
    module: Any = ModuleType("onnxruntime")
    module.__file__ = "/nowhere/onnxruntime/__init__.py"
    module.cuda_version = cuda_version
    return module  # type: ignore[no-any-return]


# --- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "builds", "expected"),
    [
        ("cuda", (), 'pip install "ctonnx[gpu]"'),
        ("cuda", ("onnxruntime-gpu",), 'pip install "ctonnx[gpu]"'),
        ("cuda", ("onnxruntime",), 'pip uninstall --yes onnxruntime, then pip install "ctonnx[gpu]"'),
        (
            "tensorrt",
            ("onnxruntime", "onnxruntime-gpu"),
            'pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install "ctonnx[gpu]"',
        ),
        ("openvino", ("onnxruntime",), 'pip install "ctonnx[openvino]"'),
        ("openvino:npu", (), 'pip install "ctonnx[openvino]"'),
        ("openvino", ("onnxruntime-gpu",), 'pip install "onnxruntime-ep-openvino>=1.8"'),
        (
            "openvino:gpu",
            ("onnxruntime-openvino",),
            'pip uninstall --yes onnxruntime-openvino, then pip install "ctonnx[openvino]"',
        ),
        ("tensorrt-rtx", ("onnxruntime-gpu",), 'pip install "onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5"'),
        (
            "webgpu",
            ("onnxruntime", "onnxruntime-gpu"),
            'pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install "ctonnx[webgpu]"',
        ),
        ("directml", ("onnxruntime",), 'pip uninstall --yes onnxruntime, then pip install "ctonnx[directml]"'),
        ("coreml", ("onnxruntime",), 'pip install "ctonnx[cpu]"'),
        ("cpu", ("onnxruntime-gpu",), 'pip uninstall --yes onnxruntime-gpu, then pip install "ctonnx[cpu]"'),
    ],
)
def test_command_leaves_one_build(
    provider: Provider, builds: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    assert install_command(provider) == expected


def test_single_build_has_no_conflict() -> None:
    assert overlaid_builds() is None


def test_provider_without_a_build_for_this_system_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain_missing_provider("coreml", ["CPUExecutionProvider"]) == (
        "the provider 'coreml' is for macOS, and this is Linux; run on --provider cpu here"
    )
    assert explain_missing_provider("directml", ["CPUExecutionProvider"]) == (
        "the provider 'directml' is for Windows, and this is Linux; run on --provider cpu here"
    )
    monkeypatch.setattr(sys, "platform", "darwin")
    assert explain_missing_provider("cuda", ["CPUExecutionProvider"]) == (
        "the provider 'cuda' is for Linux and Windows, and this is macOS; run on --provider cpu here"
    )


def test_build_without_the_provider_is_reported_with_the_one_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert explain_missing_provider("directml", ["AzureExecutionProvider", "CPUExecutionProvider"]) == (
        "the provider 'directml' needs DmlExecutionProvider, which the installed onnxruntime does not have (it "
        "has CPUExecutionProvider); the package onnxruntime-directml has it: "
        'pip uninstall --yes onnxruntime, then pip install "ctonnx[directml]"'
    )


@pytest.mark.parametrize("provider", NVIDIA)
def test_machine_without_a_gpu_gets_no_install_command(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: False)
    assert explain_missing_provider(provider, ["AzureExecutionProvider", "CPUExecutionProvider"]) == (
        f"the provider '{provider}' does not run here: this machine has no NVIDIA GPU; run on --provider cpu here"
    )


OVERLAID = (
    "onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1 are installed over each other, in one folder, where each has some "
    'of the files; pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install "ctonnx[gpu]"'
)


def overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: builds)


def test_builds_over_each_other_are_the_reason_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    overlay(monkeypatch)
    assert explain_missing_provider("cuda", ["CPUExecutionProvider"]) == (
        "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have (it has "
        f"CPUExecutionProvider): {OVERLAID}"
    )


@pytest.mark.parametrize(
    ("builds", "has_device", "kept"),
    [
        (("onnxruntime", "onnxruntime-gpu"), True, "gpu"),
        (("onnxruntime", "onnxruntime-gpu"), None, "gpu"),  # unknown
        (("onnxruntime", "onnxruntime-gpu"), False, "cpu"),
        (("onnxruntime", "onnxruntime-openvino"), False, "openvino"),
        (("onnxruntime-gpu", "onnxruntime-openvino"), False, "openvino"),
        (("onnxruntime", "ort-nightly"), False, "cpu"),
    ],
)
def test_requested_build_that_suits_the_machine_stays_of_several(
    builds: tuple[str, ...], has_device: bool | None, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: has_device)
    command = f'pip uninstall --yes {" ".join(builds)}, then pip install "ctonnx[{kept}]"'
    assert str(overlaid_builds()).endswith(f"some of the files; {command}")
    assert explain_import_error(ImportError("no")) == f"onnxruntime does not load (no): {overlaid_builds()}"


@pytest.mark.parametrize(
    ("builds", "command"),
    [
        (("onnxruntime-gpu",), 'pip uninstall --yes onnxruntime-gpu, then pip install "ctonnx[gpu]"'),
        (("onnxruntime-openvino",), 'pip uninstall --yes onnxruntime-openvino, then pip install "ctonnx[openvino]"'),
        ((), 'pip install "ctonnx[cpu]"'),
    ],
)
def test_incomplete_onnxruntime_is_reported_with_the_install_command(
    builds: tuple[str, ...], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    words = "cannot import name 'InferenceSession' from 'onnxruntime' (unknown location)"
    assert explain_import_error(ImportError(words)) == (
        f"onnxruntime does not load ({words}): some of its files are missing, as after uninstalling another "
        f"build, or it is for another system; {command}"
    )


# --- why it does not run ---------------------------------------------------------------------------------------------


def reason(
    monkeypatch: pytest.MonkeyPatch,
    *,
    provider: Provider = "cuda",
    driver: Driver | None = Driver((13, 0), (H100,)),  # noqa: B008
    device: bool | None = True,
    loading: str = "",
    message: str = "",
    builds: tuple[str, ...] = ("onnxruntime-gpu",),
    built_for: str = "13.0",
) -> str:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: device)
    monkeypatch.setattr(diagnosis, "_loading", lambda name, module: loading)
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    start = f"the provider {provider!r} does not run here: "
    sentence = explain_failure(provider, gpu_build(built_for), message)
    assert sentence.startswith(start)
    return sentence.removeprefix(start)


@pytest.mark.parametrize("provider", NVIDIA)
def test_machine_without_a_gpu_is_reported(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, provider=provider, driver=None, device=False) == (
        "this machine has no NVIDIA GPU; run on --provider cpu here"
    )


@pytest.mark.parametrize("device", [True, None])
def test_missing_driver_is_reported(device: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    assert reason(monkeypatch, driver=None, device=device, loading=missing) == (
        "NVIDIA's driver was not found (its library is libcuda.so.1, nvcuda.dll on Windows); install the driver for "
        "your GPU, or in a container give it the GPU: docker run --gpus all"
    )


@pytest.mark.parametrize(
    ("message", "built_for", "expected"),
    [
        ("", "13.0", "13.0"),
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1", "12.9", "12.9"),
        (
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1",
            "",
            "of a later release",
        ),
    ],
)
def test_too_old_driver_is_reported(
    message: str, built_for: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason(monkeypatch, driver=Driver((12, 8), (H100,)), message=message, built_for=built_for) == (
        f"NVIDIA's driver is too old: it runs CUDA 12.8, and this onnxruntime was built for CUDA {expected}; install a "
        "newer driver (nvidia-smi shows its version)"
    )


def test_driver_without_a_gpu_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, driver=Driver((13, 0), ())) == (
        "NVIDIA's driver finds no GPU that this process may use; see what nvidia-smi shows, and whether "
        "CUDA_VISIBLE_DEVICES hides it"
    )


def test_gpu_too_old_for_the_build_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "CUDA failure 209: no kernel image is available for execution on the device ; GPU=0 ; hostname=me"
    driver = Driver((13, 0), (Gpu("Quadro P2000", "6.1"),))
    assert reason(monkeypatch, driver=driver, message=message) == (
        "this onnxruntime was built for CUDA 13.0, which has no code for Quadro P2000 (compute capability 6.1); "
        "install a release of onnxruntime-gpu for an older CUDA, or run on --provider cpu here"
    )


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("libcublasLt.so.13", "CUDA"),
        ("libcudart.so.12", "CUDA"),
        ("libcurand.so.10", "CUDA"),
        ("libcudnn.so.9", "cuDNN"),
        ("libcudnn_adv.so.9", "cuDNN"),
    ],
)
@pytest.mark.parametrize("from_onnxruntime", [True, False])
def test_missing_library_is_reported(
    from_onnxruntime: bool, library: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are from onnxruntime 1.23 and the loader of Linux."""
    text = f"{library}: cannot open shared object file: No such file or directory"
    log = f"[ONNXRuntimeError] : 1 : FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: {text}"
    message, loading = (log, "") if from_onnxruntime else ("", text)
    assert reason(monkeypatch, message=message, loading=loading) == (
        f'the {name} library {library} was not found; it comes with: pip install "ctonnx[gpu]"'
    )


def test_missing_cudnn_is_reported_although_no_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(
        monkeypatch, message="NOT_IMPLEMENTED : cuDNN is unavailable or disabled for CUDA Execution Provider: "
    ).startswith("the cuDNN library libcudnn.so.9 was not found")


@pytest.mark.parametrize("library", ["libnvinfer.so.10", "libnvonnxparser.so.10"])
def test_missing_tensorrt_is_reported_with_the_required_version(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{library}: cannot open shared object file: No such file or directory"
    assert reason(monkeypatch, provider="tensorrt", loading=text, message="Please install TensorRT libraries") == (
        f'the TensorRT library {library} was not found; pip install "tensorrt-cu13==10.*", or run on --provider cuda'
    )


def test_builds_over_each_other_are_the_reason_if_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "libonnxruntime_providers_cuda.so: cannot open shared object file: No such file or directory"
    for loading in ("", missing):
        assert reason(monkeypatch, loading=loading, builds=("onnxruntime", "onnxruntime-gpu")) == OVERLAID.replace(
            "1.30.0", "1.31.1"
        )


def test_library_that_does_not_load_for_another_reason_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is from Windows, which does not name the missing library."""
    words = "Could not find module 'onnxruntime_providers_openvino.dll' (or one of its dependencies)."
    assert reason(monkeypatch, provider="openvino", loading=words, builds=("onnxruntime-openvino",)) == (
        f"OpenVINO does not load: {words}; it comes with: pip uninstall --yes onnxruntime-openvino, then "
        'pip install "ctonnx[openvino]"'
    )


@pytest.mark.parametrize(
    "message",
    [
        "CUDA failure 2: out of memory",
        "Failed to allocate memory for requested buffer of size 102760448",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_full_memory_is_reported(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason(monkeypatch, message=message) == (
        f"its memory is full ({message}); use a smaller batch, or end other programs that use it"
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "onnxruntime would run on the CPU instead"),
        ("first line\nsecond line\n", "first line"),
        ("[ONNXRuntimeError] : 1 : FAIL : it fell over", "it fell over"),
        (  # onnxruntime-gpu 1.31.1, abridged
            "/src/cuda_call.cc:154 std::conditional_t<THRW> onnxruntime::CudaCall(ERRTYPE, int) [with ERRTYPE = "
            "cudaError] CUDA failure 36: API call is not supported in the installed CUDA driver ; GPU=-1 ; hostname=me "
            "; file=/src/cuda_execution_provider.cc ; line=355 ; expr=cudaSetDevice(info_.device_id);\n\n",
            "CUDA failure 36: API call is not supported in the installed CUDA driver",
        ),
        (
            "CUDNN_FE failure 8: HEURISTIC_QUERY_FAILED ; GPU=0 ; hostname=me ; file=a.cc",
            "CUDNN_FE failure 8: HEURISTIC_QUERY_FAILED",
        ),
        ("it fell over ; GPU=0 ; hostname=me ; file=a.cc", "it fell over"),
        ("it fell over ; hostname=me ; file=a.cc", "it fell over"),
        ("x" * 500, "x" * 300),
    ],
)
@pytest.mark.parametrize("provider", ["cuda", "openvino", "coreml", "directml"])
def test_other_reason_is_the_first_line_of_onnxruntimes_error(
    provider: Provider, message: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason(monkeypatch, provider=provider, message=message) == f"{expected}; see what works with: ctonnx doctor"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("with error: libcufft.so.12: cannot open shared object file: No such file or directory", "libcufft.so.12"),
        (
            'Error loading "onnxruntime_providers_cuda.dll" which depends on "cublasLt64_13.dll" which is missing.',
            "cublasLt64_13.dll",
        ),
        ('which depends on "cudnn64_9.dll" which is missing', "cudnn64_9.dll"),
        ("something else", None),
        ("", None),
    ],
)
def test_name_of_the_library_is_read_from_the_error(text: str, expected: str | None) -> None:
    assert missing_library(text) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the words are those of Linux's loader")
def test_loader_is_tried_with_the_providers_own_library() -> None:
    """The installed onnxruntime has only the shared library, so that the loader names the missing one of CUDA."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    if (folder / "libonnxruntime_providers_cuda.so").exists():
        pytest.skip("this onnxruntime has CUDA")
    message = diagnosis._loading("cuda", onnxruntime)
    assert missing_library(message) == "libonnxruntime_providers_cuda.so"
