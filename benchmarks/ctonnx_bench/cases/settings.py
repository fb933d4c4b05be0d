"""Settings of a benchmark."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCHEMA_VERSION", "Settings"]


SCHEMA_VERSION = 1
"""Of the document: raised when a reader of the old version could misuse a new one."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and how.

    Attributes:
        models: `.onnx` files, folders of them, or runs; none means the newest run with an export.
        provider: one of `ctonnx.inference.providers.PROVIDERS`.
        batch_sizes: images at a time.
        threads: within an operator; None means every core that this process may use.
        sweep: whether thread counts, workers and spinning are measured instead, of ctonnx alone.
        duration: seconds that each case is timed, over all rounds.
        rounds: processes of each case.
        data: labelled images to check on; None takes the golden inputs.
        files: a folder of images to time from the file to the answer; None times pixels that are ready.
        reference: a run, whose PyTorch checkpoint is asked for the right answers.
        peers: names of `PEERS`.
    """

    models: tuple[Path, ...] = ()
    provider: str = "cpu"
    batch_sizes: tuple[int, ...] = (1, 8)
    threads: int | None = None
    sweep: bool = False
    duration: float = 10.0
    rounds: int = 5
    data: Path | None = None
    files: str | None = None
    reference: Path | None = None
    peers: tuple[str, ...] = ()
