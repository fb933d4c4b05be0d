"""Reasons why a provider does not run on this machine, with the command that fixes it."""

import ctypes
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from ctonnx.inference.plugins import OLDEST_WITH_PLUGINS, DeviceSearch, is_built_in, plugin_name
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.system.cpu import architecture, processor
from ctonnx.system.nvidia import has_nvidia_device, nvidia_driver
from ctonnx.system.packages import installed_builds

__all__ = [
    "explain_failure",
    "explain_import_error",
    "explain_missing_plugin",
    "explain_missing_provider",
    "install_command",
    "missing_library",
    "not_for_this_machine",
    "overlaid_builds",
    "plugin_advice",
    "plugin_fault",
]

_LIBRARIES = {"cuda": "CUDA", "tensorrt": "CUDA", "openvino": "OpenVINO"}  # providers of builds with own libraries
_LOADERS = {
    "libvulkan.so.1": "install the Vulkan loader and the GPU's driver (Debian: libvulkan1, mesa-vulkan-drivers)"
}
_OURS = frozenset(package.execution_provider for package in PROVIDERS.values())  # a build has more
_NO_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|bad_alloc|bad allocation|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"\bCU[A-Z_]+ failure \d+: [^;\n]+"
)  # of CUDA's libraries: CUDA, CUDNN, CUDNN_FE, CUBLAS, CUFFT, ...
_PLACE = re.compile(r"\s*;\s*GPU=|\s*;?\s*\bhostname=")  # onnxruntime appends the GPU, the host, the file and the line
_ON_CPU = "run on --provider cpu here"
_NO_GPU = f"this machine has no NVIDIA GPU; {_ON_CPU}"
_ARCHITECTURES = {"x86": "x86", "arm": "ARM"}


def install_command(provider: Provider) -> str:
    """Returns the commands that install the provider.

    They remove all builds of onnxruntime but the provider's; a plugin is installed next to any single build.
    """
    package, builds = PROVIDERS[provider], installed_builds()
    older = {facts.older_build for facts in PROVIDERS.values() if facts.extra == package.extra}
    if package.plugin and len(builds) == 1 and not builds.keys() & {package.distribution, *older}:
        return f'pip install "{package.plugin.requirement}"'  # the extra would install a second build over this one
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
            if (package.older_build if package.plugin else package.distribution) in builds
            and package.extra != "cpu"
            and not (package.is_nvidia and no_gpu)
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
    if reason := not_for_this_machine(provider):
        return reason
    missing = (
        f"the provider {provider!r} needs {package.execution_provider}, which the installed onnxruntime does not have "
        f"(it has {', '.join(name for name in available if name in _OURS)})"
    )
    if overlaid := overlaid_builds(provider):
        return f"{missing}: {overlaid}"
    return f"{missing}; the package {package.distribution} has it: {install_command(provider)}"


def not_for_this_machine(provider: Provider) -> str | None:
    """Returns a message if no package makes a provider run on this machine, else None.

    That is so on another system or processor, or without an NVIDIA GPU.
    """
    package = PROVIDERS[provider]
    if sys.platform not in package.systems:
        places = " and ".join(package.systems.values())
        here = PROVIDERS["cpu"].systems.get(sys.platform, sys.platform)
        return f"the provider {provider!r} is for {places}, and this is {here}; {_ON_CPU}"
    if package.plugin and architecture() not in package.plugin.architectures:
        named = " and ".join(_ARCHITECTURES[name] for name in package.plugin.architectures)
        here = _ARCHITECTURES.get(architecture(), architecture())
        return f"the provider {provider!r} is for {named} processors, and this one is {here}; {_ON_CPU}"
    if package.is_nvidia and nvidia_driver() is None and has_nvidia_device() is False:
        return f"the provider {provider!r} does not run here: {_NO_GPU}"
    return None


def explain_missing_plugin(provider: Provider, onnxruntime: ModuleType, search: DeviceSearch) -> str:
    """Returns a message for a provider whose plugin has no device here."""
    return f"the provider {provider!r} does not run here: {plugin_fault(provider, onnxruntime, search)}"


def plugin_advice(provider: Provider) -> str:
    """Returns the commands that install a missing plugin, or a note that it has no device here anyway."""
    plugin, here = PROVIDERS[provider].plugin, processor().model
    if plugin and plugin.vendor and here and plugin.vendor.lower() not in here.lower():
        return (
            f"{plugin.requirement} has devices on {plugin.vendor} processors alone, and this one is {here}; {_ON_CPU}"
        )
    return overlaid_builds(provider) or install_command(provider)


def plugin_fault(provider: Provider, onnxruntime: ModuleType, search: DeviceSearch) -> str:
    """Returns the reason why a search found no device of a plugin, with its fix."""
    plugin = PROVIDERS[provider].plugin
    if plugin is None:
        raise ValueError(f"expected a provider of a plugin, found {provider!r}")
    if search.state == "not installed":
        return f"its plugin {plugin.distribution} is not installed; {plugin_advice(provider)}"
    name = plugin_name(plugin)
    if search.state == "old onnxruntime":
        build = next(iter(installed_builds()), PROVIDERS[provider].distribution)
        return (
            f"its plugin {name} needs onnxruntime {OLDEST_WITH_PLUGINS} or newer, found {onnxruntime.__version__}; "
            f'pip install "{build}>={OLDEST_WITH_PLUGINS}"'
        )
    if search.state == "does not load":
        reason = _nvidia_fault(onnxruntime, search.error) if PROVIDERS[provider].is_nvidia else None
        if reason:
            return reason
        if missing := missing_library(search.error):
            fix = _LOADERS.get(missing, "install it")
            return f"its plugin {name} needs the library {missing}, which was not found; {fix}, or {_ON_CPU}"
        return f"its plugin {name} does not load ({_shortened(search.error)}); {_ON_CPU}"
    if plugin.device == "CPU":
        here = processor().model or "of another vendor"
        return f"its plugin {name} needs {plugin.hardware}, and this one is {here}; {_ON_CPU}"
    found = f", only {', '.join(search.devices)}" if search.devices else ""
    return f"its plugin {name} needs {plugin.hardware}, and onnxruntime found none{found}; {_ON_CPU}"


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
    if found := _CALL.search(error):
        return found[0].strip()
    first = _PLACE.split(error.strip().partition("\n")[0])[0]
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
    """Returns the error of the system's loader for the library of a build's provider; empty if it loads."""
    if provider not in _LIBRARIES or (PROVIDERS[provider].plugin and not is_built_in(provider, onnxruntime)):
        return ""  # part of onnxruntime's own library, or a plugin's, which was loaded before
    folder = Path(str(onnxruntime.__file__)).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        for name in ("shared", provider):
            mode = getattr(os, "RTLD_LAZY", 0) | getattr(os, "RTLD_GLOBAL", 0)  # the second needs the first's symbols
            ctypes.CDLL(str(folder / pattern.format(name)), mode=mode)
    except OSError as error:
        return str(error)
    return ""
