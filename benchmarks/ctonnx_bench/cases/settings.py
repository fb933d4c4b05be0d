"""Settings of a benchmark and of its reports."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCHEMA_VERSION", "ReportOptions", "Settings"]

SCHEMA_VERSION = 1
"""Version of the document's schema: raised when a reader of the old version could misuse a new document."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a benchmark.

    Attributes:
        models: `.onnx` files, folders of them, or runs; empty means the newest run with an export.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        batch_sizes: Batch sizes to measure.
        threads: Threads within an operator; None uses all available cores.
        sweep: Whether to measure thread counts, workers and spinning instead, of ctonnx only.
        duration: Seconds for which each case is timed, over all rounds.
        rounds: Number of processes for each case.
        data: Labelled images to check outputs on; None uses the golden inputs.
        files: Folder of images to time from the file to the prediction; None times preprocessed pixels.
        reference: Run whose PyTorch checkpoint computes the reference.
        peers: Names from `PEERS`.
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


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of the reports; without `output`, they go to `bench/` in the models' run.

    `fail_over` is the share by which a measurement may be worse than in `baseline`, an earlier bench.json; `hardware`
    is the name of this machine in `published`, a Markdown file.
    """

    output: Path | None = None
    baseline: Path | None = None
    fail_over: float = 0.10
    published: Path | None = None
    hardware: str | None = None
