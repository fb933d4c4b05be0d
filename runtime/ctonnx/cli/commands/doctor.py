"""`ctonnx doctor`: checks this machine and shows how to fix what does not work."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import click

from ctonnx.cli.options import json_option

__all__ = ["doctor"]

_SIGNS = {"works": "ok", "fails": "FAILS", "no hardware": "-", "not installed": "-"}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check this machine and show how to fix what does not work.

    Runs a small model on every execution provider of the installed onnxruntime and of its plugins, and compares the
    outputs with NumPy's. The exit code is 1 if the CPU, or a provider whose hardware is present, fails, or if several
    builds of onnxruntime are installed over each other.

    \b
    Examples:
      ctonnx doctor
      ctonnx doctor --json > machine.json
    """
    from ctonnx.system.files import json_text

    facts = _facts()
    if as_json:
        click.echo(json_text(facts), nl=False)
    else:
        for name, value in _rows(facts):
            click.echo(f"{name:12}  {value}")
    states = {provider["name"]: provider["state"] for provider in facts["providers"]}
    if facts["fault"] or states["cpu"] != "works" or "fails" in states.values():
        click.get_current_context().exit(1)


def _facts() -> dict[str, Any]:
    """Returns all results, without names of the user or of folders."""
    import platform

    from onnxruntime import __version__ as onnxruntime_version

    from ctonnx.inference.diagnosis import overlaid_builds
    from ctonnx.inference.providers import PROVIDERS
    from ctonnx.inference.self_test import check_plugins, check_provider
    from ctonnx.system import cpu, memory, nvidia
    from ctonnx.system.packages import installed_builds, versions_of

    processor, driver = cpu.processor(), nvidia.nvidia_driver()
    return {
        "versions": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime_version,
            **{f"distribution {name}": number for name, number in installed_builds().items()},
            **versions_of(("ctonnx", "numpy", "PIL", "pydicom")),
        },
        "platform": platform.platform(),
        "processor": {
            "model": processor.model,
            "architecture": cpu.architecture(),
            "features": None if processor.features is None else sorted(processor.features),
            "vnni": cpu.has_vnni(),
            "amx": cpu.has_amx(),
        },
        "cores": {"machine": os.cpu_count(), "allowed": cpu.available_cores()},
        "memory_bytes": memory.memory_limit(),
        "gpus": [{"name": gpu.name, "compute": gpu.compute} for gpu in (driver.gpus if driver else ())],
        "cuda_of_driver": None if driver is None else "{}.{}".format(*driver.cuda),
        "telemetry": os.environ.get("ORT_DISABLE_TELEMETRY") != "1",
        "fault": overlaid_builds(),
        "plugins": [asdict(plugin) for plugin in check_plugins()],
        "providers": [check_provider(name).as_dict() for name in PROVIDERS],
    }


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    processor, cores, memory = facts["processor"], facts["cores"], facts["memory_bytes"]
    for provider in facts["providers"]:
        sign, message = _SIGNS[provider["state"]], provider["message"]
        if provider["state"] == "works":
            message = f"differs from NumPy by {provider['difference']:.1e}; {provider['threads']} threads on the CPU"
        yield provider["name"], f"{sign:5}  {provider['state']}: {message}"
    for plugin in facts["plugins"]:
        devices = plugin["message"] or ", ".join(plugin["devices"]) or "no device here"
        yield "plugin", f"{plugin['name']}: {devices}"
    if not facts["plugins"]:
        yield "plugins", "none installed"
    if facts["fault"]:
        yield "FAULT", facts["fault"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield "platform", facts["platform"]
    yield "processor", f"{processor['model'] or 'unknown'} ({processor['architecture']})"
    features = processor["features"]
    yield "features", "unknown" if features is None else ", ".join(features) or "none that matter for INT8"
    yield "INT8", _int8_advice(processor)
    yield "cores", f"{cores['allowed']} of {cores['machine']} available, for as many threads"
    yield "memory", "unknown" if memory is None else f"{memory / 1e9:.1f} GB available"
    for gpu in facts["gpus"]:
        yield "GPU", f"{gpu['name']}, compute capability {gpu['compute']}"
    cuda = facts["cuda_of_driver"]
    yield "driver", f"NVIDIA, for CUDA {cuda} and older" if cuda else "no NVIDIA driver"
    yield "telemetry", "on, if onnxruntime has it: ORT_DISABLE_TELEMETRY is not 1" if facts["telemetry"] else "off"


def _int8_advice(processor: Mapping[str, Any]) -> str:
    if processor["architecture"] == "arm":
        return "use models of: ctonnx export --precision int8 --target arm"
    if processor["architecture"] != "x86":
        return "no --target of ctonnx export is for this processor; FP32 is used"
    if processor["amx"]:
        return "exact and fast (AMX); use models of --target amx, or x86 for openvino and other processors"
    if processor["vnni"]:
        return "exact and fast (VNNI); use models of --target x86"
    known = "no VNNI" if processor["vnni"] is False else "VNNI unknown"
    return f"{known}: slower kernels that do not saturate are used; use models of --target x86"
