"""`ctonnx predict` on a folder of scans, with the share of the time in which the GPU was idle."""

import csv
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ctonnx.prediction.model_selection import find_model
from ctonnx_bench.experiments.scans import draw_scans
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.measurement.processes import launch
from ctonnx_bench.measurement.sensors import Gpu

__all__ = ["Folder", "Sampled", "make_scans", "run", "sampling"]

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Folder:
    """A folder's prediction.

    Attributes:
        model: File name.
        scans: Number of files.
        duration_s: Seconds of the whole process, its start included.
        images_per_s: Files per second.
        idle_share: Share of the time after the first computation in which the GPU was idle; None without a GPU.
        peak_mb: Peak resident memory of the process, in MB.
    """

    model: str
    scans: int
    duration_s: float
    images_per_s: float
    idle_share: float | None
    peak_mb: float


@dataclass
class Sampled:
    """Use of the GPU: seconds from the start, and the share of the time in which it computed."""

    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def idle_share(self) -> float | None:
        """Mean idle share from the first sample with a computation on; None without any."""
        first = next((place for place, share in enumerate(self.busy) if share > 0), None)
        return None if first is None else 1 - statistics.mean(self.busy[first:])


def run(context: Context) -> None:
    """Predicts the folder in a process, as a user does."""
    settings = context.settings
    model = find_model(context.work / "runs" / RUN, provider=settings.provider)
    scans = make_scans(context.work / "scans", settings.scans, settings.different_scans)
    process = context.work / "folder" / "process"
    process.mkdir(parents=True, exist_ok=True)
    rows = process / "predictions.csv"
    command = [sys.executable, "-m", "ctonnx", "predict", "--model", str(model), "--provider", settings.provider]
    with sampling(Gpu.here()) as sampled:
        done = launch([*command, "--output", str(rows), str(scans)], process)
    context.course("GPU busy", sampled.seconds, sampled.busy)
    seconds, peak = done.sample.seconds, done.sample.peak_bytes / 1e6
    context.row(
        "Folder",
        Folder(model.name, settings.scans, seconds, settings.scans / seconds, sampled.idle_share, peak),
    )
    with rows.open(encoding="utf-8", newline="") as file:
        found = sum(1 for _ in csv.DictReader(file))
    if found != settings.scans:
        context.fail(f"expected a row for each of {settings.scans} scans, found {found}")


def make_scans(folder: Path, count: int, different: int) -> Path:
    """Writes some different scans, links to them for the other files, and returns the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    files = draw_scans(folder, min(count, different))
    for number in range(len(files), count):
        os.link(files[number % len(files)], folder / f"scan_{number:05d}.png")
    return folder


@contextmanager
def sampling(gpu: Gpu) -> Iterator[Sampled]:
    """Reads the use of the GPU at regular intervals within the block; nothing without a GPU."""
    sampled, ends = Sampled(), threading.Event()
    start = time.perf_counter()

    def sample() -> None:
        while not ends.wait(_INTERVAL_S):
            if (share := gpu.busy_share) is not None:
                sampled.seconds.append(round(time.perf_counter() - start, 2))
                sampled.busy.append(share)

    thread = threading.Thread(target=sample, name="gpu-use", daemon=True)
    thread.start()
    try:
        yield sampled
    finally:
        ends.set()
        thread.join()
