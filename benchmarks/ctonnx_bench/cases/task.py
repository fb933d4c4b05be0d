"""A task: what one worker process measures, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process does.

    Attributes:
        adapter: A name of `ADAPTERS`.
        model: what it opens.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        threads: Within an operator.
        bound: Whether inputs and outputs stay in the device's memory.
        spinning: Whether waiting threads go on looking for work.
        workers: Parts of a batch that are computed at a time.
        batch_size: Images at a time.
        pixels: A .npy file, uint8 [images, size, size, 3].
        files: Image files with these pixels, to time from the file to the answer; none times pixels that are ready.
        preprocessing: how files become pixels: the fields of `ctonnx.images.Preprocessing`.
        window: for DICOM files: the fields of `ctonnx.images.preprocessing.DicomWindow`.
        seconds: how long to time; None answers for every image once, and writes the answers.
        answers: An .npz file of the answers: written, or compared with those that are timed.
        used_bytes: of the GPU's memory before it is started; asked outside, as asking takes time of a cold start.
        prepare: A folder; the adapter makes its own model there, from `model` and `pixels`, and nothing is opened.
    """

    adapter: str
    model: str
    provider: str = "cpu"
    threads: int
    bound: bool = False
    spinning: bool = True
    workers: int = 1
    batch_size: int = 1
    pixels: str
    files: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    answers: str = ""
    used_bytes: int | None = None
    prepare: str | None = None

    def to_json(self) -> str:
        """Returns the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Reads what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "files": tuple(values["files"])})
