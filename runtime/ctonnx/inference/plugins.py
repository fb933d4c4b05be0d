"""Plugins of onnxruntime: their registration, once in a process, and their devices.

A plugin is a package with a library that any build of onnxruntime loads at run time; onnxruntime then lists the devices
on which the plugin's provider runs: https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries/usage.html. A
plugin is imported only if its provider is requested, or by `ctonnx doctor`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Any, Literal

from ctonnx.inference.providers import PROVIDERS, Plugin, Provider
from ctonnx.system.packages import versions_of

__all__ = [
    "OLDEST_WITH_PLUGINS",
    "DeviceSearch",
    "find_device",
    "is_built_in",
    "plugin_name",
    "without_log",
]

OLDEST_WITH_PLUGINS = "1.24"
"""First onnxruntime that takes plugins and reports which provider runs each convolution."""

_ONLY_FATAL = 4  # log level of onnxruntime; errors are raised as exceptions with a message of ctonnx
_WARNINGS = 2  # default log level of onnxruntime
_LIBRARY = "library_path"  # metadata of a device that a plugin offers, and not the build itself


class _Registry:
    """Names of the providers whose plugins this process registered, and the lock for registering another."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lock = Lock()

    def unlock(self) -> None:
        """Replaces the lock in a forked process: the thread that held it exists only in the parent."""
        self.lock = Lock()


_REGISTRY = _Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REGISTRY.unlock)


@dataclass(frozen=True, kw_only=True)
class DeviceSearch:
    """Result of a search for a device of a provider.

    Attributes:
        state: `found`, or the reason why there is no device.
        device: Device, an `onnxruntime.OrtEpDevice`; None unless it was found.
        error: Error of onnxruntime or of the plugin's module if the plugin does not load.
        devices: All devices of the provider: kind and vendor, such as `CPU of Intel`.
    """

    state: Literal["found", "not installed", "old onnxruntime", "does not load", "no device"]
    device: Any = None
    error: str = ""
    devices: tuple[str, ...] = ()


def is_built_in(provider: Provider, onnxruntime: ModuleType) -> bool:
    """Returns whether the build of onnxruntime itself contains a provider.

    onnxruntime 1.31 lists some plugins (Qualcomm's) among the available providers once they are registered.
    """
    facts = PROVIDERS[provider]
    name = facts.execution_provider
    if name not in onnxruntime.get_available_providers() or (facts.plugin and facts.older_build is None):
        return False
    registered = name in _REGISTRY.names or any(_LIBRARY in item.ep_metadata for item in _devices(name, onnxruntime))
    return facts.plugin is None or not registered


def find_device(provider: Provider, onnxruntime: ModuleType) -> DeviceSearch:
    """Registers the plugin of a provider, unless this process did, and returns its first device of the provider's kind.

    It may be called from several threads, and in a forked process.
    """
    facts = PROVIDERS[provider]
    if facts.plugin is None or find_spec(facts.plugin.module) is None:
        return DeviceSearch(state="not installed")
    if _release(onnxruntime.__version__) < _release(OLDEST_WITH_PLUGINS):
        return DeviceSearch(state="old onnxruntime")
    if error := _register(facts.plugin, facts.execution_provider, onnxruntime):
        return DeviceSearch(state="does not load", error=error)
    devices = _devices(facts.execution_provider, onnxruntime)
    named = tuple(f"{_kind(device)} of {device.device.vendor or 'an unknown vendor'}" for device in devices)
    device = next((device for device in devices if _kind(device) == facts.plugin.device), None)
    return DeviceSearch(state="no device" if device is None else "found", device=device, devices=named)


def plugin_name(plugin: Plugin) -> str:
    """Returns the distribution and version of an installed plugin, such as `onnxruntime-ep-openvino 1.8.1`."""
    name, version = next(iter(versions_of([plugin.module]).items()), (plugin.distribution, ""))
    return f"{plugin.distribution if name == plugin.module else name} {version}".strip()


@contextmanager
def without_log(onnxruntime: ModuleType) -> Iterator[None]:
    """Turns off onnxruntime's default log, to which it writes what no session exists for yet."""
    onnxruntime.set_default_logger_severity(_ONLY_FATAL)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)


def _register(plugin: Plugin, name: str, onnxruntime: ModuleType) -> str:
    """Registers a plugin under its provider's name, and returns the error; empty if it is registered.

    A program may have registered it already, under any name: onnxruntime then lists its devices, or reports the name.
    """
    with _REGISTRY.lock:
        if name in _REGISTRY.names or _devices(name, onnxruntime):
            return ""
        try:
            module = import_module(plugin.module)
            path = (getattr(module, "get_library_path", None) or module.library_path)()
            with without_log(onnxruntime):
                onnxruntime.register_execution_provider_library(name, path)
        except Exception as error:  # onnxruntime's exceptions share no base class but this; a module may raise any
            if "already registered" not in str(error):
                return str(error).strip() or type(error).__name__
        _REGISTRY.names.add(name)
    return ""


def _devices(name: str, onnxruntime: ModuleType) -> list[Any]:
    """Returns the devices of a provider that exist; a virtual one only compiles models for another machine."""
    with suppress(AttributeError):  # older than onnxruntime 1.23
        return [
            device
            for device in onnxruntime.get_ep_devices()
            if device.ep_name == name and device.device.metadata.get("is_virtual") != "1"
        ]
    return []


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def _kind(device: Any) -> str:
    return str(device.device.type.name)
