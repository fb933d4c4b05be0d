"""Process of one case: opens the network, runs it once, warms up, times runs, and checks their outputs.

    python -m ctonnx_bench.measurement.worker TASK

TASK is a JSON file, the text of `Task.to_json`; the last line on stdout is a JSON report. The module
`ctonnx_bench.measurement.rounds` starts it.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import CtonnxError
from ctonnx.inference.providers import ON_CPU
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, OWN, Network, adapter_module, open_network
from ctonnx_bench.cases.task import Task

__all__ = ["batches_of", "from_files", "main", "now", "timed_loop", "warm_up", "without_collector", "work"]

_DISTINCT = 32  # images in the timed runs: enough to defeat caches, few enough for memory
_WARM_UP = 3  # runs at least
_LEAST_RUNS = 5  # timed runs at least, however slow
_WARM_UP_SHARE = 0.25  # of the timed seconds, and at most one second
now = time.perf_counter


def batches_of(count: int, batch_size: int) -> NDArray[np.intp]:
    """Returns the image numbers of each batch, [batches, batch_size]; the last batch is filled from the first image.

    >>> batches_of(3, 2).tolist()
    [[0, 1], [2, 0]]
    """
    batches = -(-count // batch_size)
    return (np.arange(batches * batch_size) % count).reshape(batches, batch_size)


def timed_loop(
    run: Callable[[Any], Any],
    staged: Sequence[Any],
    seconds: float,
    keep: Callable[[int, Any], object] = lambda number, result: None,
    least: int = 1,
) -> list[float]:
    """Runs the staged batches in turn, `least` times or more, and returns the seconds of each run.

    Only `run` is between the two readings of the clock; `keep` is called with the batch's number and the result after
    it.
    """
    samples: list[float] = []
    end = now() + seconds
    while len(samples) < least or now() < end:
        number = len(samples) % len(staged)
        start = now()
        result = run(staged[number])
        samples.append(now() - start)
        keep(number, result)
    return samples


def warm_up(run: Callable[[Any], Any], staged: Sequence[Any], seconds: float) -> list[float]:
    """Warms up for timed runs of `seconds`, and returns the seconds of each run."""
    return timed_loop(run, staged, min(1.0, seconds * _WARM_UP_SHARE), least=_WARM_UP)


@contextmanager
def without_collector() -> Iterator[None]:
    """Collects garbage, and disables the garbage collector within the block.

    Collecting evicts other data from the caches, which slows the first runs after it: warm up within the block.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def work(task: Task) -> dict[str, Any]:
    """Performs the task, and returns the report."""
    if task.prepare is not None:
        images = np.load(task.pixels)
        return {"model": str(adapter_module(task.adapter).prepare(task.model, images, Path(task.prepare)))}
    start = now()
    network = open_network(task.adapter, task)
    opened = now()
    pixels = np.load(task.pixels, mmap_mode="r")
    if task.files:
        network = from_files(network, task.preprocessing, task.window)
    rows = batches_of(len(pixels), task.batch_size)

    def take(row: NDArray[np.intp]) -> Any:
        return [task.files[place] for place in row] if task.files else pixels[row]

    first = network.stage(take(rows[0]))
    before_run = now()
    result = network.run(first)
    after_run = now()
    report: dict[str, Any] = {
        "open_s": opened - start,
        "first_run_s": after_run - before_run,
        "first_output_at": after_run,
    }
    if task.seconds is None:
        batches = [network.fetch(result), *(network.predict(take(row)) for row in rows[1:])]
        outputs = Outputs.concatenate(batches)[: len(pixels)]
        np.savez(task.outputs, allow_pickle=False, **outputs.arrays)
        return report
    rows = rows[: max(1, _DISTINCT // task.batch_size)]
    report |= _time(network, [network.stage(take(row)) for row in rows], rows, task)
    before, after = task.used_bytes, report.pop("used_bytes")
    return report | {"device_bytes": None if before is None or after is None else max(0, after - before)}


def from_files(network: Network, preprocessing: Mapping[str, Any], window: Mapping[str, Any]) -> Network:
    """Returns a network that reads image files, so that reading and preprocessing are timed too.

    Given are the fields of `ctonnx.images.Preprocessing`, and those of `DicomWindow` for DICOM files.
    """
    from ctonnx.images import Preprocessing, load, to_pixels
    from ctonnx.images.preprocessing import DicomWindow

    how, window_of = Preprocessing(**preprocessing), DicomWindow(**window)

    def run(files: Sequence[str]) -> Outputs:
        pixels = np.stack([to_pixels(load(file, window=window_of), how) for file in files])
        return network.predict(pixels)

    return Network(run)


def _time(network: Network, staged: Sequence[Any], rows: NDArray[np.intp], task: Task) -> dict[str, Any]:
    """Times the staged batches of the images `rows`, and checks every output."""
    from ctonnx_bench.measurement import sensors

    gpu = sensors.Gpu(None) if task.provider in ON_CPU else sensors.Gpu.here()
    seconds = task.seconds or 0.0
    given: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = []
    heatmaps: dict[int, NDArray[np.float32]] = {}  # the last one of each batch: all would fill the memory

    def keep(number: int, result: Any) -> None:
        outputs = network.fetch(result)
        given.append((number, outputs.probabilities, outputs.logits))
        heatmaps[number] = outputs.heatmap

    with without_collector():
        untimed = warm_up(network.run, staged, seconds)
        before = sensors.read_sensors(gpu)
        samples = timed_loop(network.run, staged, seconds, keep, _LEAST_RUNS)
        after = sensors.read_sensors(gpu)
    with np.load(task.outputs) as arrays:
        expected = {name: arrays[name] for name in OUTPUT_NAMES}
    probabilities = [_difference(expected["probabilities"][rows[number]], found) for number, found, _ in given]
    logits = [_difference(expected["logits"][rows[number]], found) for number, _, found in given]
    maps = [_difference(expected["heatmap"][rows[number]], found) for number, found in heatmaps.items()]
    return {
        "warm_up_s": untimed,
        "samples_s": samples,
        "largest_dp": max(probabilities),
        "largest_dlogit": max(logits) / _greatest(expected["logits"]),
        "largest_dheatmap": max(maps) / _greatest(expected["heatmap"]),
        "peak_bytes": sensors.peak_memory(),
        "used_bytes": gpu.used_bytes,
        "joules": sensors.joules_between(before, after),
        "slowdowns": sensors.slowdowns_between(before, after),
        "others_share": sensors.others_between(before, after),
    }


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Returns the largest absolute difference; that of a NaN is infinite."""
    return float(np.nan_to_num(np.abs(expected - found), nan=np.inf).max())


def _greatest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max()) or 1.0


def main() -> None:
    """Performs the task on the command line; any error of a peer, and a `CtonnxError` of ctonnx, is the report."""
    task = Task.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    reported = (CtonnxError,) if task.adapter == OWN else (Exception,)
    try:
        report = work(task)
    except reported as error:
        kind = "" if isinstance(error, CtonnxError) else f"{type(error).__name__}: "
        title = ADAPTERS[task.adapter].title
        report = {"error": f"{kind}{error}".strip() or title, "kind": type(error).__name__}
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
