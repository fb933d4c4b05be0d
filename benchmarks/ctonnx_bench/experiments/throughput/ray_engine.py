"""`ctonnx predict --engine ray` on this machine, compared with the local engine; the memory of its driver.

    python -m ctonnx_bench.experiments.throughput.ray_engine SCANS [--model MODEL] [--rounds N] [--actors N]
    python -m ctonnx_bench.experiments.throughput.ray_engine SCANS --memory 4000,40000 [--model MODEL]

Each measurement is the command in a process of its own. The engines run in turn, with as many actors of one CPU as the
local engine has threads; images/s are without the start, which has a line of its own. With `--memory`, a folder of so
many links to the scans is predicted, and the largest resident memory of the driver is measured, of the process of the
command alone. The exit code is 1 if the ratio of the speeds is below `--at-least`, or the memory of the most files
exceeds that of the fewest by more than `--at-most-more`.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import threading
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import click

from ctonnx.cli.options import model_option
from ctonnx.errors import CtonnxError
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio

__all__ = ["Run", "main", "predict", "render"]

_ENGINES = ("local", "ray")
_SAMPLE_SECONDS = 0.2  # between two looks at the driver's memory


class Run(NamedTuple):
    """A run of the command.

    Attributes:
        speed: Images per second without the start.
        start: Seconds until the first image; 0 for the local engine.
        memory: Largest resident memory of the process of the command in bytes.
    """

    speed: float
    start: float
    memory: int


def predict(engine: str, scans: Path, model: Path | None, count: int) -> Run:
    """Runs `ctonnx predict` on a folder with so many threads or actors.

    Raises:
        CtonnxError: If the command fails.
    """
    import psutil

    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        words = ["predict", str(scans), *(("--model", str(model)) if model else ())]
        if engine == "ray":
            words += ["--engine", "ray", "--actors", str(count), "--threads", "1", "--output", f"{folder}/rows"]
        else:
            words += ["--threads", str(count), "--output", f"{folder}/rows.jsonl"]
        process = subprocess.Popen(
            [sys.executable, "-m", "ctonnx", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        driver, most, ended = psutil.Process(process.pid), 0, threading.Event()

        def look() -> None:
            nonlocal most
            while not ended.wait(_SAMPLE_SECONDS):
                try:
                    most = max(most, driver.memory_info().rss)
                except psutil.Error:  # it has ended
                    return

        watch = threading.Thread(target=look)
        watch.start()
        _, errors = process.communicate()
        ended.set()
        watch.join()
    speed, start = re.search(r"; ([\d.]+) images/s", errors), re.search(r"^start: ([\d.]+) s", errors, re.MULTILINE)
    if speed is None or (start is None and engine == "ray"):
        raise CtonnxError(f"expected {engine} to predict '{scans}', found: {errors.strip().splitlines()[-1:]}")
    return Run(float(speed[1]), float(start[1]) if start else 0.0, most)


def render(engine: str, runs: list[Run], ratio: float) -> str:
    """Returns the line of an engine."""
    speed, start = (statistics.median(values) for values in list(zip(*runs, strict=True))[:2])
    memory = max(run.memory for run in runs)
    begun = f", {start:.1f} s until the first image" if engine == "ray" else ""
    return f"{engine:5}  {speed:7.1f} images/s  {ratio:.2f} times  driver {memory / 1e6:.0f} MB{begun}"


@click.command()
@click.argument("scans", type=click.Path(path_type=Path, exists=True, file_okay=False))
@model_option
@click.option("--actors", type=click.IntRange(1), default=2, show_default=True, help="Number of actors and threads.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Number of runs of each engine.")
@click.option("--memory", metavar="N,N", help="Numbers of files whose driver's memory is measured instead.")
@click.option("--at-least", type=float, default=0.85, show_default=True, help="Least ratio of the speeds.")
@click.option("--at-most-more", type=float, default=64.0, show_default=True, help="MB that the most files may add.")
def main(
    scans: Path, model: Path | None, actors: int, rounds: int, memory: str | None, at_least: float, at_most_more: float
) -> None:
    """Compare the engines on the SCANS of a folder, in turn."""
    if memory is not None:
        counts = sorted(map(int, memory.split(",")))
        found = [_driver_memory(scans, model, count, actors) for count in counts]
        for count, run in zip(counts, found, strict=True):
            click.echo(f"{count:7} files  driver {run.memory / 1e6:.0f} MB  {run.speed:.1f} images/s")
        more = (found[-1].memory - found[0].memory) / 1e6
        if more > at_most_more:
            raise click.ClickException(f"expected at most {at_most_more:g} MB more, found {more:.0f} MB")
        return
    runs: dict[str, list[Run]] = {engine: [] for engine in _ENGINES}

    def time_of(engine: str) -> float:
        runs[engine].append(predict(engine, scans, model, actors))
        return runs[engine][-1].speed

    samples = measure_in_turn(_ENGINES, rounds, time_of)
    click.echo(f"{actors} actors or threads; medians of {rounds} runs each, in turn")
    for engine in _ENGINES:
        click.echo(render(engine, runs[engine], paired_ratio(samples[engine], samples["local"])))
    ratio = paired_ratio(samples["ray"], samples["local"])
    if ratio < at_least:
        raise click.ClickException(f"expected at least {at_least:g} of the local engine's images/s, found {ratio:.2f}")


def _driver_memory(scans: Path, model: Path | None, count: int, actors: int) -> Run:
    files = sorted(file.resolve() for file in scans.rglob("*") if file.is_file())
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        for number, file in enumerate(islice(cycle(files), count)):
            Path(folder, f"{number:07d}{file.suffix}").symlink_to(file)
        return predict("ray", Path(folder), model, actors)


if __name__ == "__main__":
    main()
