"""`ctonnx doctor`: what works on this machine, what does not, and the command that mends it."""

import base64
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ctonnx.providers import Provider

__all__ = ["doctor"]

# A model as `ctonnx export` makes them, but for its size: pixels [batch, 8, 8, 3] -> Cast -> Transpose -> Conv (2
# channels, 3 x 3, padded) -> Relu -> heatmap -> mean -> logits -> Softmax -> probabilities.
# tests/runtime/test_doctor_command.py makes the same bytes with the onnx package.
_MODEL = (
    "c-qxbK~BRk5VV~%aaXEnjgSfm2_oQ-11C;MR8cu|DV(@D$(BZS<0wv1kGz2w^d+dz;1m1-r%GEY@d3OVY3-fa_3m<h_tAn2@QQ4K$_Q_)w5&|vK1frA"
    "ZD5t|(<Nna15HSHg_1d%p#5CR+!Wei*aNq~au$)uiD<-@)Q4MWc;HR3%u$JUqVqSc-Y~V<t-Dsq)L6yZYSjtsSi+y6tY)$Z+!3ld+{5NUcuK!!_Lnf"
    "ibe`ZN$~^3VD;H=Y7CAOkcmRBgSfts^^hw>oIW#KKDM}s7I8#}b**^RyJ+@gF!b^2h=`#GLoN=eNE)BjYA*)Y9-YrOt`V8#dVm0{Bv0<~Am#gjePvMv"
    "|aRk0-#j;8!z&LN<#Fwx?IB^I)PDST8o5g3_G5;C9-Yu~%M)!-cO~IiHq}%%eiaVGd"
)
_KERNEL = [(index % 7 - 3) / 8 for index in range(54)]  # of the model's convolution
_TOLERANCE = 5e-3  # of the largest answer; a provider may compute in FP16
_FOLDERS = re.compile(
    r"(?<![\w:/.])(?:[A-Za-z]:)?(?:[/\\][\w .@+~-]+)+[/\\](?=[\w.+-])"
)  # of a path, whose last part stays
_SIGNS = {"works": "ok", "fails": "FAILS", "no hardware": "-", "not installed": "-"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def doctor(as_json: bool) -> None:
    """Show what works on this machine, and what mends the rest.

    A small model runs on every execution provider of the installed onnxruntime, and its answers are compared with
    NumPy's. The exit code is 1 where the CPU, or a provider whose hardware is there, does not pass, and where builds
    of onnxruntime lie over each other.

    \b
    Examples:
      ctonnx doctor
      ctonnx doctor --json > machine.json
    """
    from ctonnx.writing import json_text

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
    """Returns everything that is shown; nothing in it names the user or a folder."""
    import platform

    from onnxruntime import __version__ as onnxruntime_version

    from ctonnx import machine
    from ctonnx.diagnosis import overlaid_builds
    from ctonnx.providers import PROVIDERS

    processor, driver = machine.processor(), machine.nvidia_driver()
    return {
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime_version, **_versions()},
        "platform": platform.platform(),
        "processor": {
            "model": processor.model,
            "architecture": machine.architecture(),
            "features": None if processor.features is None else sorted(processor.features),
            "vnni": machine.has_vnni(),
            "amx": machine.has_amx(),
        },
        "cores": {"machine": os.cpu_count(), "allowed": machine.available_cores()},
        "memory_bytes": machine.memory_limit(),
        "gpus": [{"name": gpu.name, "compute": gpu.compute} for gpu in (driver.gpus if driver else ())],
        "cuda_of_driver": None if driver is None else "{}.{}".format(*driver.cuda),
        "telemetry": os.environ.get("ORT_DISABLE_TELEMETRY") != "1",
        "fault": overlaid_builds(),
        "providers": [_provider(name) for name in PROVIDERS],
    }


def _versions() -> dict[str, str]:
    from ctonnx.installed import installed_builds, versions_of

    builds = {f"distribution {name}": number for name, number in installed_builds().items()}
    return builds | versions_of(("ctonnx", "numpy", "PIL", "pydicom"))


def _provider(name: "Provider") -> dict[str, Any]:
    """Runs the small model on a provider and returns its state, what to do about it, and how far NumPy is."""
    import sys

    import onnxruntime

    from ctonnx.diagnosis import install_command
    from ctonnx.machine import available_cores, has_nvidia_device, nvidia_driver
    from ctonnx.providers import PROVIDERS

    package = PROVIDERS[name]
    facts: dict[str, Any] = {"name": name, "state": "fails", "message": None, "difference": None}
    there = sys.platform in package.systems
    if there and package.is_nvidia and nvidia_driver() is None and has_nvidia_device() is False:
        return facts | {"state": "no hardware", "message": "this machine has no NVIDIA GPU"}
    if package.execution_provider not in onnxruntime.get_available_providers():
        message = install_command(name) if there else f"for {' and '.join(package.systems.values())}"
        return facts | {"state": "not installed", "message": message}
    try:
        difference = _difference(name)
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        return facts | {"message": _FOLDERS.sub("", str(error))}
    if not difference <= _TOLERANCE:
        message = f"its answers differ from NumPy's by {difference:.2g} of the largest, {_TOLERANCE:g} was expected"
        return facts | {"message": message, "difference": difference}
    return facts | {"state": "works", "difference": difference, "threads": available_cores()}


def _difference(provider: "Provider") -> float:
    """Returns the largest difference between the provider's answers and NumPy's, as a share of the largest answer."""
    import numpy as np

    from ctonnx.running import Runner
    from ctonnx.session import open_session

    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    padded = np.pad(pixels[0].transpose(2, 0, 1).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = np.einsum("chwij,kcij->khw", windows, np.array(_KERNEL).reshape(2, 3, 3, 3)).clip(min=0)
    model = zlib.decompress(base64.b85decode(_MODEL))
    outputs = Runner(open_session(model, provider=provider), provider)(pixels)
    found = (outputs.heatmap[0], outputs.logits[0])
    pairs = zip(found, (expected, expected.mean((1, 2))), strict=True)
    return float(max(np.abs(one - other).max() for one, other in pairs) / expected.max())


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    processor, cores, memory = facts["processor"], facts["cores"], facts["memory_bytes"]
    for provider in facts["providers"]:
        sign, message = _SIGNS[provider["state"]], provider["message"]
        if provider["state"] == "works":
            message = f"differs from NumPy by {provider['difference']:.1e}; {provider['threads']} threads on the CPU"
        yield provider["name"], f"{sign:5}  {provider['state']}: {message}"
    if facts["fault"]:
        yield "FAULT", facts["fault"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield "platform", facts["platform"]
    yield "processor", f"{processor['model'] or 'unknown'} ({processor['architecture']})"
    if processor["features"] is None:
        yield "features", "unknown"
    else:
        yield "features", ", ".join(processor["features"]) or "none of those that matter here"
    yield "INT8", _about_int8(processor)
    yield "cores", f"{cores['allowed']} of {cores['machine']} may be used, by as many threads"
    yield "memory", "unknown" if memory is None else f"{memory / 1e9:.1f} GB may be used"
    for gpu in facts["gpus"]:
        yield "GPU", f"{gpu['name']}, compute capability {gpu['compute']}"
    cuda = facts["cuda_of_driver"]
    yield "driver", f"NVIDIA's, for CUDA {cuda} and older" if cuda else "none of NVIDIA's"
    yield "telemetry", "on, where onnxruntime has it: ORT_DISABLE_TELEMETRY is not 1" if facts["telemetry"] else "off"


def _about_int8(processor: Mapping[str, Any]) -> str:
    if processor["architecture"] == "arm":
        return "models of: ctonnx export --precision int8 --target arm"
    if processor["architecture"] != "x86":
        return "no --target of ctonnx export is for this processor; FP32 is taken"
    if processor["amx"]:
        return "exact and fast (AMX); models of --target amx, or x86 for openvino and for other processors"
    if processor["vnni"]:
        return "exact and fast (VNNI); models of --target x86"
    known = "it has no VNNI" if processor["vnni"] is False else "whether it has VNNI is unknown"
    return f"{known}, so slower kernels are taken, which do not saturate; models of --target x86"
