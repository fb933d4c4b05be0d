"""Bytes and time of an image from the disk to its row, on one core, and what limits many cores.

    python -m ctonnx_bench.experiments.throughput.path_costs MODEL DIR [--rounds 5]

Each step is measured alone, on one thread, over the first 500 files of DIR, which are in memory after the first round.
The second table is computed from the first: a core reads, decodes and computes one image after the other, so that the
time to the first byte of a store adds to that of each image, and the bytes of all cores must fit through one network.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import load, to_pixels
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.output.provenance import provenance
from ctonnx.prediction.output.row_formats import FORMATS
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Record, prediction_of
from ctonnx.system.text import table

__all__ = ["STEPS", "Costs", "limits", "main", "measure"]

STEPS = ("list", "read", "decode", "resize", "network", "row")
_Item = TypeVar("_Item")
_MOST = 500  # images, whose pixels are all in memory
_BATCH = 4  # as `ctonnx predict` on a CPU
_LATENCIES = {"local disk": 0.0, "network drive, 1 ms": 1e-3, "object store, 30 ms": 30e-3}
_LINKS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}


class Costs(NamedTuple):
    """Mean bytes of an image's file and of its row, and the seconds of each step for an image."""

    images: int
    file_bytes: float
    row_bytes: float
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())


def measure(model: Path, folder: Path, rounds: int) -> Costs:
    """Measures the steps, each in turn in every round, and returns their medians.

    Raises:
        CtonnxError: If the folder has no images, or the model does not run.
        ImageError: If an image cannot be read.
    """
    times: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, items: Iterable[_Item]) -> list[_Item]:
        start = time.perf_counter()
        found = list(items)
        times[step].append((time.perf_counter() - start) / len(found))
        return found

    contents, rows = list[bytes](), list[str]()
    with Predictor(model, threads=1) as predictor:
        spec = predictor.spec
        for _ in range(rounds):
            files = timed("list", _listed(folder))[:_MOST]
            line = FORMATS["jsonl"](files, spec, 1, partial(provenance, predictor.path, spec)).line
            contents = timed("read", (Path(file).read_bytes() for file in files))
            scans = timed("decode", (load(data, window=spec.dicom_window) for data in contents))
            pixels = timed("resize", (to_pixels(scan, spec.preprocessing) for scan in scans))
            outputs = timed("network", _outputs(predictor, pixels))
            named = zip(files, outputs, strict=True)
            rows = timed("row", (_row(spec, file, found, line) for file, found in named))
    medians = {step: statistics.median(found) for step, found in times.items()}
    file_bytes, row_bytes = (statistics.mean(map(len, of)) for of in (contents, [f"{row}\n".encode() for row in rows]))
    return Costs(len(contents), file_bytes, row_bytes, medians)


def _listed(folder: Path) -> Iterator[str]:
    yield from find_images([os.fspath(folder)])


def _outputs(predictor: Predictor, pixels: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[Outputs, int]]:
    for first in range(0, len(pixels), _BATCH):
        batch = np.stack(pixels[first : first + _BATCH])
        outputs = predictor.predict_pixels(batch)
        yield from ((outputs, row) for row in range(len(batch)))


def _row(spec: ModelSpec, file: str, found: tuple[Outputs, int], line: Callable[[Record, Path | None], str]) -> str:
    return line(prediction_of(spec, *found, source=file) or Failure(file, "not finite"), None)


def limits(costs: Costs) -> list[str]:
    """Returns the lines of a table: how many cores each network feeds, by the time to the store's first byte."""
    rows = []
    for store, latency in _LATENCIES.items():
        rate = 1 / (costs.total + latency)
        cores = [f"{link / (rate * costs.file_bytes):,.0f}" for link in _LINKS.values()]
        rows.append([store, f"{rate:.1f}", f"{rate * costs.file_bytes / 1e6:.1f}", *cores])
    return table(["store", "images/s per core", "MB/s per core", *(f"cores at {link}" for link in _LINKS)], rows)


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of rounds.")
def main(model: Path, folder: Path, rounds: int) -> None:
    """Measure the steps of an image of DIR with MODEL, on one core."""
    costs = measure(model, folder, rounds)
    click.echo(
        f"{model.name}, {costs.images} images of {costs.file_bytes / 1e3:,.1f} kB, rows of {costs.row_bytes:,.0f} "
        f"bytes; one core, medians of {rounds} rounds\n"
    )
    shares = [[step, f"{1e3 * of:.3f}", f"{of / costs.total:.1%}"] for step, of in costs.seconds.items()]
    total = ["all", f"{1e3 * costs.total:.3f}", f"{1 / costs.total:.1f} images/s"]
    click.echo("\n".join(table(["step", "ms per image", "share"], [*shares, total])) + "\n")
    click.echo("\n".join(limits(costs)))


if __name__ == "__main__":
    main()
