"""Providers that are installed, each with the model file that suits it best, for `--provider auto`."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

from ctonnx.errors import CtonnxError
from ctonnx.inference.diagnosis import not_for_this_machine, plugin_fault
from ctonnx.inference.plugins import find_device, is_built_in
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.prediction.model_selection import find_model

__all__ = ["Candidate", "find_candidates", "installed_providers", "short_reason"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A provider that is installed, with its model file.

    Attributes:
        provider: Name of the provider.
        model: Name of the file; empty if the provider cannot run here, or no file suits it.
        images_per_s: Median throughput for many images; None if it was not measured.
        left_out: Reason why it cannot be chosen; None if it can.
        may_change: Whether that reason may be gone at the next start, such as a full memory.
    """

    provider: Provider
    model: str = ""
    images_per_s: float | None = None
    left_out: str | None = None
    may_change: bool = False


def find_candidates(model: Path | None) -> tuple[list[Candidate], dict[Provider, Path]]:
    """Returns the providers that are installed, in the order of their listing, and the files of those that have one."""
    candidates: list[Candidate] = []
    paths: dict[Provider, Path] = {}
    for provider, reason in installed_providers().items():
        try:
            if reason is None:
                paths[provider] = find_model(model, provider=provider)
        except CtonnxError as error:
            reason = str(error)
        name = paths[provider].name if provider in paths else ""
        candidates.append(Candidate(provider=provider, model=name, left_out=reason and short_reason(reason)))
    return candidates, paths


def installed_providers() -> dict[Provider, str | None]:
    """Returns the providers of the build and of its plugins, each with the reason why it cannot run here, or None.

    No library is loaded that cannot run on this machine. A plugin without any device is listed once, and a plugin with
    some is listed by those.
    """
    found: dict[Provider, str | None] = {}
    for provider, facts in PROVIDERS.items():
        if is_built_in(provider, onnxruntime):
            found[provider] = not_for_this_machine(provider)
        elif facts.plugin is not None and find_spec(facts.plugin.module) is not None:
            found[provider] = not_for_this_machine(provider)
            if found[provider] is None and (search := find_device(provider, onnxruntime)).device is None:
                found[provider] = plugin_fault(provider, onnxruntime, search)
    listed = {_module(provider) for provider, reason in found.items() if reason is None}
    for provider, reason in tuple(found.items()):
        module = _module(provider)
        if reason is not None and module is not None:
            if module in listed:
                del found[provider]
            listed.add(module)
    return found


def short_reason(error: CtonnxError | str) -> str:
    """Returns the first line of an error, without the advice to run on the CPU."""
    return str(error).partition("\n")[0].partition("; run on --provider cpu")[0]


def _module(provider: Provider) -> str | None:
    plugin = PROVIDERS[provider].plugin
    return None if plugin is None else plugin.module
