"""The best settings on this device, found by `ctonnx bench --sweep` and saved next to the model.

model.int8.onnx -> model.int8.tuned.json
"""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctonnx.artifacts import json_schema
from ctonnx.errors import ModelError
from ctonnx.system.cpu import available_cores, check_threads, processor
from ctonnx.system.file_reading import reason_of
from ctonnx.system.files import json_text, sha256_of, write_text

__all__ = ["Setting", "Tuning", "read_tuning", "save_tuning", "tuning_file"]

_SCHEMA_VERSION = 1
_MOST_IMAGES = 1 << 16  # of a batch; sweeps use smaller ones


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings for running a model, with the measured speed.

    Attributes:
        threads: Total number of threads.
        workers: Number of batches that run concurrently, each with its share of the threads.
        batch_size: Number of images in a batch.
        spinning: Whether idle threads spin.
        images_per_s: Measured throughput in images per second.
    """

    threads: int
    workers: int
    batch_size: int
    spinning: bool
    images_per_s: float

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.workers < 1 or not 1 <= self.batch_size <= _MOST_IMAGES:
            raise ValueError(
                f"expected 1 worker or more and a batch of 1 to {_MOST_IMAGES} images, found {self.workers} and "
                f"{self.batch_size}"
            )

    @property
    def summary(self) -> str:
        """The settings without the speed, in one line."""
        spinning = "on" if self.spinning else "off"
        return f"threads {self.threads}, workers {self.workers}, batch {self.batch_size}, spinning {spinning}"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Best settings of one model on one device: for the lowest latency of a few images, and the highest throughput."""

    one: Setting
    many: Setting

    def best_for(self, images: int) -> Setting:
        """Returns the setting for a number of images: `many` if every worker gets at least two batches."""
        return self.many if images >= 2 * self.many.workers * self.many.batch_size else self.one


def tuning_file(model: Path) -> Path:
    """Returns the path of a model's tuning, which may not exist."""
    return model.with_suffix(".tuned.json")


def save_tuning(model: Path, tuning: Tuning, *, provider: str) -> Path:
    """Writes a model's tuning for this device next to the model, and returns the file.

    Raises:
        OSError: If the folder is not writable.
    """
    file = tuning_file(model)
    document = {"schema_version": _SCHEMA_VERSION, **_device(model, provider), **asdict(tuning)}
    write_text(file, json_text(document))
    return file


def read_tuning(model: Path, *, provider: str) -> Tuning:
    """Reads a model's tuning.

    Raises:
        ModelError: If it is missing, damaged, or for another model file, provider or device.
    """
    file = tuning_file(model)
    make = f"make it on this device with: ctonnx bench --sweep threads --provider {provider} {model}"
    if not file.is_file():
        raise ModelError(f"expected the model's tuning at '{file}', found none; {make}")
    try:
        document = json_schema.load(_Document, file)
        if document.schema_version != _SCHEMA_VERSION:
            raise ValueError(f"schema {document.schema_version}")
    except (OSError, ValueError) as error:
        found = reason_of(error) if isinstance(error, OSError) else error
        raise ModelError(f"expected the model's tuning in '{file}', found something else ({found}); {make}") from error
    for name, here in _device(model, provider).items():
        if (kept := getattr(document, name)) != here:
            raise ModelError(
                f"expected a tuning for this device and file in '{file}', found one for {name} {kept}, where "
                f"this is {here}; {make}"
            )
    return Tuning(one=document.one, many=document.many)


@dataclass(frozen=True, kw_only=True)
class _Document(Tuning):
    """Content of the file."""

    schema_version: int
    model_sha256: str
    provider: str
    processor: str
    cores: int


def _device(model: Path, provider: str) -> dict[str, Any]:
    return {
        "provider": provider,
        "processor": processor().model or platform.machine(),
        "cores": available_cores(),
        "model_sha256": sha256_of(model),
    }
