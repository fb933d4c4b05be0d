"""Compares `ctonnx serve` with the predictor: a single request, many clients, ready time, and memory.

    python -m ctonnx_bench.experiments.serving.server [MODEL] [--clients 32] [--requests 1000] [--long-run N]

The server is a separate process; the load comes from this one, over loopback, with persistent connections. The
predictor is measured in processes too, in turn with the server, which is idle meanwhile: its time for one scan is
compared with a single request, and its streaming throughput, with the workers of `ctonnx predict`, with that of many
clients. Every response is compared with the predictor's label.
"""

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.cpu import available_cores
from ctonnx_bench.experiments.scans import draw_scans
from ctonnx_bench.experiments.serving.load import Load, ask, requests_for
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.processes import compiled_environ
from ctonnx_bench.measurement.worker import timed_loop

__all__ = ["Server", "main", "serving", "time_predictor"]

_SINGLE = 60  # requests and predictions per round that are timed one by one
_WARM_UP = 5  # predictions
_IDLE_SECONDS = 2.0
_PARTS = 10  # of a long run; memory is read after each
_WAIT = 60.0


@dataclass(frozen=True)
class Server:
    """Running `ctonnx serve`: its port, process ID, and seconds from its start until it was ready."""

    port: int
    process: int
    ready_seconds: float

    @property
    def memory(self) -> float:
        """Resident memory in MB."""
        return float(psutil.Process(self.process).memory_info().rss / 1e6)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the process so far."""
        times = psutil.Process(self.process).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Server]:
    """Runs `ctonnx serve` with a model and further options until the block ends.

    Raises:
        click.ClickException: If it does not become ready.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", str(port), *options]
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=compiled_environ()) as process:
        try:
            while True:
                try:
                    if ask(port, b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200:
                        break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - start > _WAIT:
                        errors = process.stderr.read() if process.poll() is not None and process.stderr else ""
                        raise click.ClickException(f"ctonnx serve does not become ready: {errors.strip()}") from None
                time.sleep(0.002)
            yield Server(port, process.pid, time.perf_counter() - start)
        finally:
            process.terminate()


def time_predictor(model: Path | str, folder: Path | str, streams: bool) -> list[float]:
    """Returns the seconds of streaming a folder's PNG scans, or of predicting single scans that are read before."""
    files = sorted(Path(folder).glob("*.png"))
    if not streams:
        with Predictor(model) as predictor:
            contents = [file.read_bytes() for file in files]
            timed_loop(predictor.predict, contents, 0, least=_WARM_UP)
            return timed_loop(predictor.predict, contents, 0, least=_SINGLE)
    with Predictor(model, workers=workers_for(len(files))) as predictor:
        for _ in predictor.predict_many(files[:16]):
            pass
        start = time.perf_counter()
        for _ in predictor.predict_many(files):
            pass
        return [time.perf_counter() - start]


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--clients", type=click.IntRange(1), default=32, show_default=True, help="Number of clients.")
@click.option("--requests", type=click.IntRange(1), default=1000, show_default=True, help="Requests per round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of predictor and server.")
@click.option("--scans", type=click.IntRange(1), default=200, show_default=True, help="Number of different scans.")
@click.option("--long-run", type=click.IntRange(0), default=0, help="Requests after the rounds, to see memory growth.")
@click.option("--option", "options", multiple=True, help="Option of ctonnx serve, as in --option=--max-batch=8.")
@child_option(time_predictor)
def main(
    model: Path | None, clients: int, requests: int, rounds: int, scans: int, long_run: int, options: tuple[str, ...]
) -> None:
    """Compare ctonnx serve with the predictor on MODEL (default: the newest run's), on generated PNG scans."""
    model = find_model(model)
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as name:
        files = draw_scans(Path(name) / "scans", scans)
        size = statistics.mean(file.stat().st_size for file in files)
        with Predictor(model) as predictor:
            labels = [predictor.predict(file).label for file in files]
        bodies = requests_for(files)
        module, folder = "ctonnx_bench.experiments.serving.server", files[0].parent
        predictions: list[float] = []
        single: list[float] = []
        rates: list[float] = []
        loads: list[Load] = []
        with serving(model, *options) as server:
            idle_memory, before = server.memory, server.cpu_seconds
            time.sleep(_IDLE_SECONDS)
            idle_cpu = (server.cpu_seconds - before) / _IDLE_SECONDS
            Load.run(server.port, bodies, labels, clients=1, requests=10)
            for _ in range(rounds):
                predictions += measure_in_child(module, model, folder, False)
                single += Load.run(server.port, bodies, labels, clients=1, requests=_SINGLE).seconds
                rates.append(len(files) / measure_in_child(module, model, folder, True)[0])
                loads.append(Load.run(server.port, bodies, labels, clients=clients, requests=requests))
            after = server.memory
            click.echo(
                f"{model.name} on {available_cores()} cores: {scans} PNG scans of {size / 1e3:.0f} kB, medians of "
                f"{rounds} rounds in turn\n"
                f"ready after                {server.ready_seconds:8.2f} s\n"
                f"idle                       {idle_memory:8.0f} MB, {idle_cpu:.1%} of a core\n"
                f"predictor, one scan        {statistics.median(predictions) * 1e3:8.1f} ms\n"
                f"single request             {statistics.median(single) * 1e3:8.1f} ms "
                f"({(statistics.median(single) - statistics.median(predictions)) * 1e3:+.1f} ms)"
            )
            _print_loads(rates, loads, clients)
            click.echo(f"memory afterwards          {after:8.0f} MB")
            if long_run:
                _long_run(server, bodies, labels, clients=clients, requests=long_run)
    if sum(load.wrong for load in loads):
        raise click.ClickException("expected the predictor's labels, found others in the responses")


def _print_loads(rates: Sequence[float], loads: Sequence[Load], clients: int) -> None:
    shares = [load.rate / rate for load, rate in zip(loads, rates, strict=True)]
    seconds = sorted(one for load in loads for one in load.seconds)
    p50, p99 = (seconds[min(len(seconds) - 1, int(len(seconds) * share))] for share in (0.5, 0.99))
    statuses = sum((Counter(load.statuses) for load in loads), Counter[int]())
    click.echo(
        f"predictor, streaming       {statistics.median(rates):8.1f} images/s\n"
        f"{f'{clients} clients':26} {statistics.median(load.rate for load in loads):8.1f} images/s "
        f"({statistics.median(shares):.1%} of streaming in the same round; {min(shares):.1%} to {max(shares):.1%})\n"
        f"their requests         p50 {p50 * 1e3:8.1f} ms, p99 {p99 * 1e3:.1f} ms ({p99 / p50:.2f} times p50)\n"
        f"statuses                   {', '.join(f'{count} of {status}' for status, count in sorted(statuses.items()))}"
    )


def _long_run(server: Server, bodies: Sequence[bytes], labels: Sequence[str], *, clients: int, requests: int) -> None:
    seen: list[float] = []
    statuses = Counter[int]()
    start = time.perf_counter()
    for part in range(_PARTS):
        count = requests * (part + 1) // _PARTS - requests * part // _PARTS
        statuses += Counter(Load.run(server.port, bodies, labels, clients=clients, requests=count).statuses)
        seen.append(server.memory)
        click.echo(f"  after {requests * (part + 1) // _PARTS:7} requests: {seen[-1]:.0f} MB", err=True)
    click.echo(
        f"long run                   {requests:8} requests in {time.perf_counter() - start:.0f} s: memory "
        f"{seen[0]:.0f} MB after a {_PARTS}th, {seen[len(seen) // 2]:.0f} MB after half, {seen[-1]:.0f} MB at the end; "
        + ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
    )


if __name__ == "__main__":
    main()
