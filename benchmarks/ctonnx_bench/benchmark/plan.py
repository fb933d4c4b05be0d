"""`ctonnx bench --plan`: the machines that an archive needs before a deadline, from the throughput on this one.

The measurement does what `ctonnx predict` does with real files: read, decode, resize, run the network, make the row.
"""

import itertools
import math
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.inference.providers import Provider
from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.output.provenance import provenance
from ctonnx.prediction.output.row_formats import FORMATS
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.cpu import available_cores, processor
from ctonnx.system.text import Log

__all__ = ["Plan", "Throughput", "measure_throughput", "plan_for", "seconds_of"]

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Measured throughput of one process on this machine.

    Attributes:
        rates: Images per second of each pass.
        start: Seconds until the model is open and its first image predicted.
        cores: Number of threads.
        cpu: Name of the processor.
        model: Path of the model's file, with its precision and provider.
        folder: Folder of the files.
        files: Number of files.
        bytes_per_image: Mean size of the files, by the images in them.
        failed: Share of the images that could not be read.
    """

    rates: tuple[float, ...]
    start: float
    cores: int
    cpu: str
    model: str
    folder: str
    files: int
    bytes_per_image: float
    failed: float

    @property
    def rate(self) -> float:
        """Median of the passes, in images per second."""
        return statistics.median(self.rates)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Machines, or cores, that predict a number of images before a deadline.

    Attributes:
        images: Number of images.
        deadline: Seconds.
        throughput: The measurement that it is based on.
        machines: Number of machines like this one, by the slowest pass.
        core_hours: Core hours of all of them, by the median pass.
        hours_on_one: Hours on this machine alone, by the median pass.
        bytes_per_second: Bytes that the store and the network must deliver to all machines together.
    """

    images: int
    deadline: float
    throughput: Throughput
    machines: int
    core_hours: float
    hours_on_one: float
    bytes_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document."""
        return {"tool": "ctonnx bench --plan", **asdict(self)}

    def lines(self) -> list[str]:
        """Returns the lines of the report: the plan, the measurement and the assumptions."""
        found = self.throughput
        cores = self.machines * found.cores
        rates = f"{min(found.rates):.1f} to {max(found.rates):.1f} in {len(found.rates)} passes"
        failed = [f"- {found.failed:.1%} of the images could not be read; they count as images"] if found.failed else []
        return [
            f"{self.images:,} images in {_hours(self.deadline)}: {_machines(self.machines)} like this one, {cores} "
            "cores in all",
            f"work: {self.core_hours:,.1f} core hours; {_hours(self.hours_on_one * 3600)} on this machine alone",
            f"store and network: {self.bytes_per_second / 1e6:,.1f} MB/s to all machines together, "
            f"{self.images * found.bytes_per_image / 1e12:,.3f} TB in all",
            f"measured: {found.rate:.1f} images/s ({rates}) on {found.cores} cores of {found.cpu}, {found.model}; "
            f"{found.files} files of {found.bytes_per_image / 1e3:,.0f} kB per image in '{found.folder}'; start "
            f"{found.start:.1f} s",
            "assumptions:",
            "- the images are like these files: as large, of the same formats",
            "- the machines are like this one, and do nothing else; so was this one while it was measured",
            "- the store delivers at that rate: here the files were in memory after the first pass",
            f"- one process for each machine, with one shard of {self.machines}: they share nothing, so that their "
            "rates add up",
            "- the number of machines is by the slowest pass, and includes the start; not the time to get machines",
            *failed,
            f"start each with: ctonnx predict PATH --shard I/{self.machines} --resume --output parts/I.jsonl",
        ]


def seconds_of(text: str) -> float:
    """Returns a time such as `8h`, `90min`, `1.5d` or `30s` in seconds.

    >>> seconds_of("8h"), seconds_of("1.5d")
    (28800.0, 129600.0)

    Raises:
        ValueError: If the text is not such a time, or it is 0.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|d)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"expected a time such as 8h, 90min, 2d or 30s, found '{text}'")
    return float(match[1]) * _UNITS[match[2]]


def plan_for(images: int, deadline: float, throughput: Throughput) -> Plan:
    """Returns the plan for a number of images and a deadline in seconds.

    Raises:
        CtonnxError: If the deadline is over before a process has started.
    """
    left = deadline - throughput.start
    if left <= 0:
        raise CtonnxError(
            f"expected a deadline after the start of a process, {throughput.start:.1f} s, found {deadline:g} s"
        )
    seconds = images / throughput.rate
    return Plan(
        images=images,
        deadline=deadline,
        throughput=throughput,
        machines=math.ceil(images / (min(throughput.rates) * left)),
        core_hours=seconds * throughput.cores / 3600,
        hours_on_one=seconds / 3600,
        bytes_per_second=images * throughput.bytes_per_image / left,
    )


def measure_throughput(
    model: Path | None,
    folder: str,
    *,
    provider: Provider = "cpu",
    threads: int | None = None,
    duration: float,
    passes: int,
    log: Log = lambda line: None,
) -> Throughput:
    """Predicts the files of a folder again and again, as `ctonnx predict` does, and returns the rates.

    Args:
        model: An `.onnx` file or the folder of a run; None uses the newest run.
        folder: Folder, file or pattern of images.
        provider: Execution provider.
        threads: Number of threads; None uses all available cores.
        duration: Seconds, over all passes.
        passes: Number of passes.
        log: Called with a line for each pass.

    Raises:
        CtonnxError: If there are no images, none can be read, or the model does not run.
    """
    files = find_images([folder], log)
    before = time.perf_counter()
    workers = workers_for(10**9, threads=threads)
    with Predictor(model, provider=provider, threads=threads, workers=workers) as predictor:
        predictor_line = FORMATS["jsonl"](files, predictor.spec, 1, partial(provenance, predictor.path, predictor.spec))
        first = next(iter(predictor.predict_many(files)))
        start = time.perf_counter() - before
        images = failed = 0
        # Whole files, so that the mean size is that of the images; the files are in memory afterwards.
        for record in predictor.predict_many(files):
            images += 1
            failed += isinstance(record, Failure)
        if failed == images:
            raise CtonnxError(f"expected images that can be read in '{folder}', found {failed} failures: {first}")
        rates = []
        for number in range(1, passes + 1):
            rates.append(_rate(predictor, files, duration / passes, predictor_line.line))
            log(f"[{number}/{passes}] {rates[-1]:.1f} images/s")
        return Throughput(
            rates=tuple(rates),
            start=start,
            cores=threads or available_cores(),
            cpu=processor().model or "an unknown processor",
            model=f"{predictor.path} ({predictor.spec.precision} on {predictor.provider})",
            folder=folder,
            files=len(files),
            bytes_per_image=sum(map(_size, files)) / images,
            failed=failed / images,
        )


def _rate(predictor: Predictor, files: Sequence[str], seconds: float, line: Any) -> float:
    """Returns the images per second of a pass that takes no new file after a time."""
    start, count = time.perf_counter(), 0

    def until() -> Iterator[str]:
        for number, file in enumerate(itertools.cycle(files)):
            if number and time.perf_counter() - start > seconds:
                return
            yield file

    for record in predictor.predict_many(until()):
        line(record, None)
        count += 1
    return count / (time.perf_counter() - start)


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError:
        return 0


def _hours(seconds: float) -> str:
    return f"{round(seconds / 3600, 1):,g} h" if seconds >= 3600 else f"{round(seconds / 60, 1):,g} min"


def _machines(count: int) -> str:
    return f"{count:,} machine" if count == 1 else f"{count:,} machines"
