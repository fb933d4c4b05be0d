"""Task of one worker process, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctonnx_bench.cases.adapters.adapter import Opening

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task(Opening):
    """Task of one process, with the options for opening its network.

    Attributes:
        adapter: Name from `ADAPTERS`.
        batch_size: Images per run.
        pixels: A .npy file, uint8 [images, size, size, 3].
        files: Image files with these pixels, to time from the file to the prediction; empty times the pixels.
        preprocessing: Fields of `ctonnx.images.Preprocessing`, for files.
        window: Fields of `ctonnx.images.preprocessing.DicomWindow`, for DICOM files.
        seconds: Duration of the timed runs; None computes and writes the outputs of every image once.
        outputs: An .npz file of the outputs: written, or compared with those of the timed runs.
        used_bytes: Used GPU memory before the process starts; read outside, as reading it would slow the cold start.
        prepare: Folder in which the adapter makes its own model from `model` and `pixels`; then nothing is timed.
    """

    adapter: str
    batch_size: int = 1
    pixels: str
    files: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    outputs: str = ""
    used_bytes: int | None = None
    prepare: str | None = None

    def to_json(self) -> str:
        """Returns the task as JSON text."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Returns the task from the text of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "model": Path(values["model"]), "files": tuple(values["files"])})
