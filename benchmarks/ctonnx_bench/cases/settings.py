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
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        batch_sizes: Images at a time.
        threads: Within an operator; None means every core that this process may use.
        sweep: Whether thread counts, workers and spinning are measured instead, of ctonnx alone.
        duration: Seconds that each case is timed, over all rounds.
        rounds: Processes of each case.
        data: Labelled images to check on; None takes the golden inputs.
        files: A folder of images to time from the file to the answer; None times pixels that are ready.
        reference: A run, whose PyTorch checkpoint is asked for the right answers.
        peers: Names of `PEERS`.
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
