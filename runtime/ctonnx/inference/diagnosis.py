"""Why a provider does not run here, and the command that mends it."""

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.system.nvidia import has_nvidia_device, nvidia_driver
from ctonnx.system.packages import installed_builds

__all__ = [
    "install_command",
    "library_that_is_missing",
    "overlaid_builds",
    "why_it_does_not_load",
    "why_it_does_not_run",
    "why_it_is_not_there",
]

_LIBRARIES = {"cuda": "CUDA", "tensorrt": "CUDA", "openvino": "OpenVINO"}  # of providers that have one of their own

_OURS = frozenset(package.execution_provider for package in PROVIDERS.values())  # what else a build has is not for here
_NO_GPU = "this machine has no NVIDIA GPU; run on --provider cpu here"


def install_command(provider: Provider) -> str:
    """Returns what to type so that the provider's build is installed, and no other over it."""
    package, builds = PROVIDERS[provider], installed_builds()
    install = f'pip install "ctonnx[{package.extra}]"'
    others = [name for name in builds if name != package.distribution]
    if not others:
        return install
    # Whatever is uninstalled takes files of the others with it: all have to go before one comes.
    return f"pip uninstall --yes {' '.join(builds)}, then {install}"


def overlaid_builds(provider: Provider | None = None) -> str | None:
    """Returns the sentence about builds that are installed over each other, or None where there is one at most.

    Args:
        provider: The provider whose build is to stay; None keeps the installed one that suits this machine.
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
    """Returns a provider of an installed build; the plain one, which comes along by accident, is the last choice."""
    no_gpu = nvidia_driver() is None and has_nvidia_device() is False
    return next(
        (
            name
            for name, package in PROVIDERS.items()
            if package.distribution in builds and package.extra != "cpu" and not (package.is_nvidia and no_gpu)
        ),
        "cpu",
    )


def why_it_does_not_load(error: ImportError) -> str:
    """Returns the sentence about an onnxruntime that is installed and cannot be imported.

    Args:
        error: that its import raised.
    """
    builds = installed_builds()
    failure = f"onnxruntime does not load ({str(error).strip().splitlines()[0]})"
    if overlaid := overlaid_builds():
        return f"{failure}: {overlaid}"
    uninstall = f"pip uninstall --yes {' '.join(builds)}, then " if builds else ""
    return (
        f"{failure}: files of it are missing, as when a build that lay over another is uninstalled, or it is for "
        f'another system; {uninstall}pip install "ctonnx[{PROVIDERS[_suitable(builds)].extra}]"'
    )


def why_it_is_not_there(provider: Provider, available: list[str]) -> str:
    """Returns the sentence about a provider that the installed onnxruntime does not have.

    Args:
        provider: that was asked for.
        available: The names that onnxruntime has.
    """
    package = PROVIDERS[provider]
    if sys.platform not in package.systems:
        places = " and ".join(package.systems.values())
        here = PROVIDERS["cpu"].systems.get(sys.platform, sys.platform)
        return f"the provider {provider!r} is for {places}, and this is {here}; run on --provider cpu here"
    if package.is_nvidia and nvidia_driver() is None and has_nvidia_device() is False:  # which no package mends
        return f"the provider {provider!r} does not run here: {_NO_GPU}"
    lacks = (
        f"the provider {provider!r} needs {package.execution_provider}, which the installed onnxruntime does not have "
        f"(it has {', '.join(name for name in available if name in _OURS)})"
    )
    if overlaid := overlaid_builds(provider):
        return f"{lacks}: {overlaid}"
    return f"{lacks}; the package {package.distribution} has it: {install_command(provider)}"


# --- why a provider that is there does not run -----------------------------------------------------------------------


def why_it_does_not_run(provider: Provider, onnxruntime: ModuleType, said: str) -> str:
    """Returns the sentence about a provider that is in this onnxruntime and does not run, with what mends it.

    onnxruntime 1.31 says nothing of a CUDA library that it misses but in its log, and goes on with the CPU: so the
    machine is asked, from the GPU upwards, and then the system's loader.

    Args:
        provider: that was asked for.
        onnxruntime: The module.
        said: onnxruntime's own words, where it had any.
    """
    words = _words(said) or "onnxruntime would run on the CPU instead"
    reason = (
        (_nvidia_fault(onnxruntime, said) if PROVIDERS[provider].is_nvidia else None)
        or overlaid_builds(provider)
        or _library_fault(provider, onnxruntime, said)
    )
    if not reason and re.search(
        r"out of memory|failed to allocate memory|bad_alloc|bad allocation", said, re.IGNORECASE
    ):
        reason = f"its memory is full ({words}); take a smaller batch, or end what else uses it"
    return f"the provider {provider!r} does not run here: {reason or f'{words}; see what works with: ctonnx doctor'}"


def _words(said: str) -> str:
    """Returns what matters of an error of onnxruntime: without the C++ signatures before it, and the host behind it."""
    if found := re.search(r"\b(CUDA|CUDNN|CUBLAS|CURAND) failure \d+: [^;\n]+", said):
        return found[0].strip()
    first = said.strip().partition("\n")[0]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)[:300]


def _nvidia_fault(onnxruntime: ModuleType, said: str) -> str | None:
    built_for = str(getattr(onnxruntime, "cuda_version", "") or "")
    major = int(built_for.partition(".")[0]) if built_for.partition(".")[0].isdigit() else 0
    driver = nvidia_driver()
    if driver is None:
        if has_nvidia_device() is False:
            return _NO_GPU
        return (
            "NVIDIA's driver is not there (its library libcuda.so.1, nvcuda.dll on Windows, was not found); install "
            "the driver for your GPU, or in a container give it the GPU: docker run --gpus all"
        )
    too_old = driver.cuda[0] < major or "driver version is insufficient" in said
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
    if "no kernel image" in said:
        return (
            f"this onnxruntime was built for CUDA {built_for}, which has no code for {driver.gpus[0].name} (compute "
            f"capability {driver.gpus[0].compute}); install a release of onnxruntime-gpu for an older CUDA, or run on "
            "--provider cpu here"
        )
    return None


def _library_fault(provider: Provider, onnxruntime: ModuleType, said: str) -> str | None:
    loading = _loading(provider, onnxruntime)
    missing = library_that_is_missing(said) or library_that_is_missing(loading)
    if missing is None and "cudnn is unavailable" in said.lower():  # which onnxruntime 1.31 finds out when it runs
        missing = "libcudnn.so.9"
    if missing is None and not loading:
        return None
    if missing and re.search(r"nvinfer|nvonnxparser", missing):
        cuda = str(getattr(onnxruntime, "cuda_version", "") or "13").partition(".")[0]
        number = re.search(r"(?:\.so\.|_)(\d+)", missing)
        version = f"=={number[1]}.*" if number else ""
        return (
            f'the TensorRT library {missing} was not found; pip install "tensorrt-cu{cuda}{version}", or run on '
            "--provider cuda"
        )
    whose = "cuDNN" if missing and "cudnn" in missing.lower() else _LIBRARIES.get(provider, provider)
    reason = f"the {whose} library {missing} was not found" if missing else f"{whose} does not load: {loading}"
    return f"{reason}; it comes with: {install_command(provider)}"


def library_that_is_missing(text: str) -> str | None:
    """Returns the library that an error of onnxruntime or of the system's loader calls missing.

    >>> library_that_is_missing("with error: libcudnn.so.9: cannot open shared object file: No such file or directory")
    'libcudnn.so.9'
    """
    found = re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", text)
    found = found or re.search(r"\b(cu\w+64_\d+\.dll|nv\w+\.dll)", text)
    return found[1] if found else None


def _loading(provider: Provider, onnxruntime: ModuleType) -> str:
    """Returns what the system's loader says against the provider's library; nothing where it has no objection."""
    if provider not in _LIBRARIES:
        return ""  # it is part of onnxruntime's own library
    folder = Path(str(onnxruntime.__file__)).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        for name in ("shared", provider):
            mode = getattr(os, "RTLD_LAZY", 0) | getattr(os, "RTLD_GLOBAL", 0)  # the second needs the first's symbols
            ctypes.CDLL(str(folder / pattern.format(name)), mode=mode)
    except OSError as error:
        return str(error)
    return ""
