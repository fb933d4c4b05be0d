"""Files in which the fastest provider is kept, for each device and setting its own.

A folder -> fastest.KEY.json in it; model.int8.onnx -> model.int8.fastest.KEY.json
"""

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.artifacts.run import names_a_file
from ctonnx.errors import ProviderError
from ctonnx.inference.cuda import VARIABLE, cuda_options
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.tensorrt import cache_folder
from ctonnx.prediction.device.candidates import Candidate
from ctonnx.prediction.model_selection import export_folder
from ctonnx.system.cpu import available_cores, processor
from ctonnx.system.file_reading import reason_of
from ctonnx.system.files import json_text, sha256_of, write_text
from ctonnx.system.nvidia import driver_build, nvidia_driver
from ctonnx.system.packages import installed_builds, versions_of

__all__ = ["KeptChoice", "device_facts", "keep_choice", "kept_files", "model_facts", "read_choice"]

_SCHEMA_VERSION = 1
_MODULES = ("ctonnx", "tensorrt", "tensorrt_libs")


@dataclass(frozen=True, kw_only=True)
class KeptChoice:
    """Content of a file.

    Attributes:
        facts: Facts that the choice depends on: `device_facts` and `model_facts`.
        provider: The fastest provider.
        candidates: All providers that were installed.
    """

    facts: tuple[str, ...]
    provider: Provider
    candidates: tuple[Candidate, ...]
    schema_version: int = _SCHEMA_VERSION


def device_facts(*, threads: int | None, spinning: bool) -> tuple[str, ...]:
    """Returns the processor and the GPUs of this device, and how the model runs on it."""
    driver = nvidia_driver()
    return (
        f"processor {processor().model or platform.machine()}",
        f"cores {available_cores()}",
        f"threads {threads or available_cores()}",
        f"spinning {'on' if spinning else 'off'}",
        *(f"GPU {gpu.name} {gpu.compute}" for gpu in (driver.gpus if driver else ())),
    )


def model_facts(candidates: Sequence[Candidate], paths: Mapping[Provider, Path]) -> tuple[str, ...]:
    """Returns the packages, the driver, its settings, and the files of the providers with their SHA-256.

    Raises:
        OSError: If a file cannot be read.
    """
    driver = nvidia_driver()
    plugins = {facts.plugin.module for facts in PROVIDERS.values() if facts.plugin is not None}
    packages = {**installed_builds(), **versions_of([*_MODULES, *sorted(plugins)])}
    golden = {path.parent / FILE_NAME for path in paths.values()}
    return (
        *(f"package {name} {version}" for name, version in sorted(packages.items())),
        *([f"driver {driver_build()} CUDA {driver.cuda[0]}.{driver.cuda[1]}"] if driver else []),
        f"CUDA settings {_cuda_settings()}",
        *(f"provider {one.provider} {one.model or one.left_out}" for one in candidates),
        *(
            f"file {file.name} {sha256_of(file) if file.is_file() else 'is missing'}"
            for file in sorted({*paths.values(), *golden})
        ),
    )


def _cuda_settings() -> str:
    override = os.environ.get("NVIDIA_TF32_OVERRIDE", "")
    try:
        return " ".join([*(f"{name}={value}" for name, value in sorted(cuda_options().items())), override]).strip()
    except ProviderError:  # a setting that does not exist, which opening the provider reports
        return os.environ.get(VARIABLE, "")


def kept_files(model: Path | None, device: Sequence[str], *, beside_model: bool = True) -> tuple[Path, ...]:
    """Returns the file next to the model, and the one in the user's cache folder for a folder that is read-only.

    Args:
        model: Argument of `find_model`.
        device: `device_facts`, which are in the name: hosts and processes with other ones have files of their own.
        beside_model: False leaves out the file next to the model, which no signature covers.

    Raises:
        ModelError: If there is no such model.
    """
    key = sha256_of("\n".join(device).encode())[:12]
    name = f"fastest.{key}.json"
    beside = model.with_suffix(f".{name}") if names_a_file(model) else export_folder(model) / name
    files = (beside,) if beside_model else ()
    try:
        return *files, cache_folder() / "fastest" / f"{sha256_of(os.fsencode(beside.resolve()))[:24]}.json"
    except RuntimeError:  # no home folder
        return files


def read_choice(files: Sequence[Path], facts: tuple[str, ...]) -> tuple[KeptChoice, Path] | None:
    """Returns the choice in the first file that has one for these facts, and the file."""
    for file in files:
        with suppress(OSError, ValueError):
            kept = json_schema.load(KeptChoice, file)
            chosen = [one for one in kept.candidates if one.provider == kept.provider and one.left_out is None]
            if kept.schema_version == _SCHEMA_VERSION and kept.facts == facts and chosen:
                return kept, file
    return None


def keep_choice(files: Sequence[Path], choice: KeptChoice) -> str:
    """Writes a choice to the first file that can be written; returns a line with its name, or with the reasons."""
    if not files:
        return "not kept for the next start, as there is no cache folder for it"
    reasons = []
    for file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json_text(asdict(choice)))
        except OSError as error:
            reasons.append(f"'{file.parent}': {reason_of(error)}")
        else:
            return f"kept in {file}"
    return f"not kept for the next start, as the file cannot be written ({'; '.join(reasons)})"
