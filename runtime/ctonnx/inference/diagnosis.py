"""Reasons why a provider does not run on this machine, with the command that fixes it."""

import ctypes
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.system.nvidia import has_nvidia_device, nvidia_driver
from ctonnx.system.packages import installed_builds

__all__ = [
    "explain_failure",
    "explain_import_error",
    "explain_missing_provider",
    "install_command",
    "missing_library",
    "overlaid_builds",
]

_LIBRARIES = {"cuda": "CUDA", "tensorrt": "CUDA", "openvino": "OpenVINO"}  # providers with separate libraries
_OURS = frozenset(package.execution_provider for package in PROVIDERS.values())  # a build has more
_NO_MEMORY = re.compile(r"out of memory|failed to allocate memory|bad_alloc|bad allocation", re.IGNORECASE)
_NO_GPU = "this machine has no NVIDIA GPU; run on --provider cpu here"


def install_command(provider: Provider) -> str:
    """Returns the commands that install the provider's build of onnxruntime and remove all others."""
    package, builds = PROVIDERS[provider], installed_builds()
    # Uninstalling one build removes files of the others, so that all must be uninstalled first.
    uninstall = _uninstall(builds) if builds.keys() - {package.distribution} else ""
    return f'{uninstall}pip install "ctonnx[{package.extra}]"'


def _uninstall(builds: Iterable[str]) -> str:
    return f"pip uninstall --yes {' '.join(builds)}, then "


def overlaid_builds(provider: Provider | None = None) -> str | None:
    """Returns a message if several builds of onnxruntime are installed over each other, else None.

    The provider's build should stay; None selects the installed one that suits this machine.
    """
    builds = installed_builds()
    if len(builds) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in builds.items())
    return (
        f"{names} are installed over each other, in one folder, where each has some of the files; "
        f"{install_command(provider or _suitable(builds))}"
    )


def _suitable(builds: Mapping[str, str]) -> Provider:
    """Returns a provider of an installed build; the CPU build, often installed by accident, is the last choice."""
    no_gpu = nvidia_driver() is None and has_nvidia_device() is False
    return next(
        (
            name
            for name, package in PROVIDERS.items()
            if package.distribution in builds and package.extra != "cpu" and not (package.is_nvidia and no_gpu)
        ),
        "cpu",
    )


def explain_import_error(error: ImportError) -> str:
    """Returns a message for an installed onnxruntime whose import raised an error."""
    builds = installed_builds()
    failure = f"onnxruntime does not load ({str(error).strip().splitlines()[0]})"
    if overlaid := overlaid_builds():
        return f"{failure}: {overlaid}"
    return (
        f"{failure}: some of its files are missing, as after uninstalling another build, or it is for another system; "
        f'{_uninstall(builds) if builds else ""}pip install "ctonnx[{PROVIDERS[_suitable(builds)].extra}]"'
    )


def explain_missing_provider(provider: Provider, available: list[str]) -> str:
    """Returns a message for a provider that is not among those `available` in the installed onnxruntime."""
    package = PROVIDERS[provider]
    if sys.platform not in package.systems:
        places = " and ".join(package.systems.values())
        here = PROVIDERS["cpu"].systems.get(sys.platform, sys.platform)
        return f"the provider {provider!r} is for {places}, and this is {here}; run on --provider cpu here"
    if package.is_nvidia and nvidia_driver() is None and has_nvidia_device() is False:  # no package fixes that
        return f"the provider {provider!r} does not run here: {_NO_GPU}"
    missing = (
        f"the provider {provider!r} needs {package.execution_provider}, which the installed onnxruntime does not have "
        f"(it has {', '.join(name for name in available if name in _OURS)})"
    )
    if overlaid := overlaid_builds(provider):
        return f"{missing}: {overlaid}"
    return f"{missing}; the package {package.distribution} has it: {install_command(provider)}"


def explain_failure(provider: Provider, onnxruntime: ModuleType, error: str) -> str:
    """Returns a message with the reason why an installed provider does not run, and its fix.

    onnxruntime 1.31 only logs a missing CUDA library and continues on the CPU; `error` is empty. So the driver, the
    GPUs and then the system's loader are checked.
    """
    words = _shortened(error) or "onnxruntime would run on the CPU instead"
    reason = (
        (_nvidia_fault(onnxruntime, error) if PROVIDERS[provider].is_nvidia else None)
        or overlaid_builds(provider)
        or _library_fault(provider, onnxruntime, error)
    )
    if not reason and _NO_MEMORY.search(error):
        reason = f"its memory is full ({words}); use a smaller batch, or end other programs that use it"
    return f"the provider {provider!r} does not run here: {reason or f'{words}; see what works with: ctonnx doctor'}"


def _shortened(error: str) -> str:
    """Returns an error of onnxruntime without C++ signatures and the host name."""
    if found := re.search(r"\b(CUDA|CUDNN|CUBLAS|CURAND) failure \d+: [^;\n]+", error):
        return found[0].strip()
    first = error.strip().partition("\n")[0]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)[:300]


def _nvidia_fault(onnxruntime: ModuleType, error: str) -> str | None:
    built_for = str(getattr(onnxruntime, "cuda_version", "") or "")
    major = built_for.partition(".")[0]
    driver = nvidia_driver()
    if driver is None:
        if has_nvidia_device() is False:
            return _NO_GPU
        return (
            "NVIDIA's driver was not found (its library is libcuda.so.1, nvcuda.dll on Windows); install the driver "
            "for your GPU, or in a container give it the GPU: docker run --gpus all"
        )
    too_old = (major.isdigit() and driver.cuda[0] < int(major)) or "driver version is insufficient" in error
    if too_old and driver.cuda != (0, 0):
        return (
            f"NVIDIA's driver is too old: it runs CUDA {driver.cuda[0]}.{driver.cuda[1]}, and this onnxruntime was "
            f"built for CUDA {built_for or 'of a later release'}; install a newer driver (nvidia-smi shows its version)"
        )
    if not driver.gpus:
        return (
            "NVIDIA's driver finds no GPU that this process may use; see what nvidia-smi shows, and whether "
            "CUDA_VISIBLE_DEVICES hides it"
        )
    if "no kernel image" in error:
        return (
            f"this onnxruntime was built for CUDA {built_for}, which has no code for {driver.gpus[0].name} (compute "
            f"capability {driver.gpus[0].compute}); install a release of onnxruntime-gpu for an older CUDA, or run on "
            "--provider cpu here"
        )
    return None


def _library_fault(provider: Provider, onnxruntime: ModuleType, error: str) -> str | None:
    loading = _loading(provider, onnxruntime)
    missing = missing_library(error) or missing_library(loading)
    if missing is None and "cudnn is unavailable" in error.lower():  # onnxruntime 1.31 loads it in the first run
        missing = "libcudnn.so.9"
    if missing is None and not loading:
        return None
    if missing and re.search(r"nvinfer|nvonnxparser", missing):
        cuda = str(getattr(onnxruntime, "cuda_version", "") or "13").partition(".")[0]
        number = re.search(r"(?:\.so\.|_)(\d+)", missing)
        version = f"=={number[1]}.*" if number else ""
        install = f'pip install "tensorrt-cu{cuda}{version}", or run on --provider cuda'
        return f"the TensorRT library {missing} was not found; {install}"
    whose = "cuDNN" if missing and "cudnn" in missing.lower() else _LIBRARIES.get(provider, provider)
    reason = f"the {whose} library {missing} was not found" if missing else f"{whose} does not load: {loading}"
    return f"{reason}; it comes with: {install_command(provider)}"


def missing_library(text: str) -> str | None:
    """Returns the library that is missing according to an error of onnxruntime or the system's loader, or None.

    >>> missing_library("with error: libcudnn.so.9: cannot open shared object file: No such file or directory")
    'libcudnn.so.9'
    """
    found = re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", text)
    found = found or re.search(r"\b(cu\w+64_\d+\.dll|nv\w+\.dll)", text)
    return found[1] if found else None


def _loading(provider: Provider, onnxruntime: ModuleType) -> str:
    """Returns the error of the system's loader for the provider's library; empty if it loads."""
    if provider not in _LIBRARIES:
        return ""  # part of onnxruntime's own library
    folder = Path(str(onnxruntime.__file__)).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        for name in ("shared", provider):
            mode = getattr(os, "RTLD_LAZY", 0) | getattr(os, "RTLD_GLOBAL", 0)  # the second needs the first's symbols
            ctypes.CDLL(str(folder / pattern.format(name)), mode=mode)
    except OSError as error:
        return str(error)
    return ""
