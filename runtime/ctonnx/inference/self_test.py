"""Self-test of an execution provider: runs a small model on it and compares the outputs with NumPy's."""

import base64
import re
import sys
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime

from ctonnx.inference.diagnosis import install_command, not_for_this_machine, plugin_advice, plugin_fault
from ctonnx.inference.plugins import find_device, is_built_in, plugin_name
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.runner import Runner
from ctonnx.inference.session import open_session
from ctonnx.system import nvidia
from ctonnx.system.cpu import architecture, available_cores
from ctonnx.system.packages import version_of

__all__ = ["PluginCheck", "ProviderCheck", "check_plugins", "check_provider"]

# Like the models of `ctonnx export` but smaller: pixels [batch, 8, 8, 3] -> Cast -> Transpose -> Conv (2 channels,
# 3 x 3, padded) -> Relu -> heatmap -> mean -> logits -> Softmax -> probabilities.
# tests/runtime/inference/test_self_test.py makes the same bytes with the onnx package.
_MODEL = (
    "c-qxbK~BRk5VV~%aaXEnjgSfm2_oQ-11C;MR8cu|DV(@D$(BZS<0wv1kGz2w^d+dz;1m1-r%GEY@d3OVY3-fa_3m<h_tAn2@QQ4K$_Q_)w5&|vK1frA"
    "ZD5t|(<Nna15HSHg_1d%p#5CR+!Wei*aNq~au$)uiD<-@)Q4MWc;HR3%u$JUqVqSc-Y~V<t-Dsq)L6yZYSjtsSi+y6tY)$Z+!3ld+{5NUcuK!!_Lnf"
    "ibe`ZN$~^3VD;H=Y7CAOkcmRBgSfts^^hw>oIW#KKDM}s7I8#}b**^RyJ+@gF!b^2h=`#GLoN=eNE)BjYA*)Y9-YrOt`V8#dVm0{Bv0<~Am#gjePvMv"
    "|aRk0-#j;8!z&LN<#Fwx?IB^I)PDST8o5g3_G5;C9-Yu~%M)!-cO~IiHq}%%eiaVGd"
)
_KERNEL = [(index % 7 - 3) / 8 for index in range(54)]  # weights of the convolution
_STATES: dict[str, Literal["fails", "no hardware", "not installed"]] = {
    "not installed": "not installed",
    "no device": "no hardware",
    "old onnxruntime": "fails",
    "does not load": "fails",
}  # of a search for a plugin's device
_TOLERANCE = 5e-3  # relative to the largest output; a provider may compute in FP16
_FOLDERS = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:)?(?:[/\\][\w .@+~-]+)+[/\\](?=[\w.+-])")  # a path but its last part


@dataclass(frozen=True, kw_only=True)
class ProviderCheck:
    """Result of the self-test of one provider.

    Attributes:
        name: Name of the provider.
        state: `works`, `fails`, `no hardware` or `not installed`.
        message: Reason and fix; None if the provider works. It contains no folder.
        difference: Largest difference from NumPy's outputs, relative to the largest output; None if it did not run.
        threads: Number of threads that a session uses on the CPU; None unless the provider works.
    """

    name: Provider
    state: Literal["works", "fails", "no hardware", "not installed"]
    message: str | None = None
    difference: float | None = None
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the result for a JSON document."""
        values = asdict(self)
        return values if self.state == "works" else {name: values[name] for name in values if name != "threads"}


@dataclass(frozen=True, kw_only=True)
class PluginCheck:
    """An installed plugin of onnxruntime.

    Attributes:
        name: Distribution and version.
        devices: Its devices here: kind and vendor, such as `CPU of Intel`.
        message: Reason why it is not registered; None if it is. It contains no folder.
    """

    name: str
    devices: tuple[str, ...] = ()
    message: str | None = None


def check_plugins() -> list[PluginCheck]:
    """Registers every installed plugin that this machine can load, and returns each with its devices."""
    found: dict[str, PluginCheck] = {}
    for name, facts in PROVIDERS.items():
        plugin = facts.plugin
        if plugin is None or plugin.module in found or version_of(plugin.module) is None:
            continue
        message, devices = not_for_this_machine(name), tuple[str, ...]()
        if message is None:
            search = find_device(name, onnxruntime)
            devices = search.devices
            if search.state not in ("found", "no device"):
                message = plugin_fault(name, onnxruntime, search)
        found[plugin.module] = PluginCheck(
            name=plugin_name(plugin), devices=devices, message=message and _without_folders(message)
        )
    return list(found.values())


def check_provider(name: Provider) -> ProviderCheck:
    """Runs the small model on a provider and compares its outputs with NumPy's."""
    package = PROVIDERS[name]
    is_supported = sys.platform in package.systems
    if is_supported and package.is_nvidia and nvidia.nvidia_driver() is None and nvidia.has_nvidia_device() is False:
        return ProviderCheck(name=name, state="no hardware", message="this machine has no NVIDIA GPU")
    if not is_built_in(name, onnxruntime):
        if not is_supported:
            return ProviderCheck(
                name=name, state="not installed", message=f"for {' and '.join(package.systems.values())}"
            )
        if package.plugin is None:
            return ProviderCheck(name=name, state="not installed", message=install_command(name))
        if architecture() not in package.plugin.architectures:
            return ProviderCheck(name=name, state="no hardware", message=f"for {package.plugin.hardware}")
        search = find_device(name, onnxruntime)
        if search.device is None:
            is_missing = search.state == "not installed"
            message = plugin_advice(name) if is_missing else plugin_fault(name, onnxruntime, search)
            return ProviderCheck(name=name, state=_STATES[search.state], message=_without_folders(message))
    try:
        difference = _difference(name)
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        return ProviderCheck(name=name, state="fails", message=_without_folders(str(error)))
    if not difference <= _TOLERANCE:
        message = f"its outputs differ from NumPy's by {difference:.2g} of the largest, {_TOLERANCE:g} was expected"
        return ProviderCheck(name=name, state="fails", message=message, difference=difference)
    return ProviderCheck(name=name, state="works", difference=difference, threads=available_cores())


def _without_folders(text: str) -> str:
    """Returns a message without the folders in it, which may contain the name of the user.

    >>> _without_folders("the library /home/me/lib/libtbb.so is missing")
    'the library libtbb.so is missing'
    """
    return _FOLDERS.sub("", text)


def _difference(provider: Provider) -> float:
    """Returns the largest difference between the outputs of the provider and NumPy, relative to the largest output."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    padded = np.pad(pixels[0].transpose(2, 0, 1).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = np.einsum("chwij,kcij->khw", windows, np.array(_KERNEL).reshape(2, 3, 3, 3)).clip(min=0)
    model = zlib.decompress(base64.b85decode(_MODEL))
    outputs = Runner(open_session(model, provider=provider), provider)(pixels)
    found = (outputs.heatmap[0], outputs.logits[0])
    pairs = zip(found, (expected, expected.mean((1, 2))), strict=True)
    return float(max(np.abs(one - other).max() for one, other in pairs) / expected.max())
