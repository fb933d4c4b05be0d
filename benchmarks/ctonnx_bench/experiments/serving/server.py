"""What `ctonnx serve` adds to the predictor: a lone request, many clients, ready time, and memory.

    python -m ctonnx_bench.experiments.serving.server [MODEL] [--clients 32] [--requests 1000] [--rounds 5] [--long-run
    N]

The server is a process of its own, as `ctonnx serve` starts it; the load comes from this one, over loopback, with
connections that are kept. The predictor is measured in processes too, in turn with the server, which is idle meanwhile:
its own time for a scan beside a lone request's, and its streaming throughput, with the workers that `ctonnx predict`
takes, beside that of many clients. Every answer is checked against the predictor's.
"""

import json
import os
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

from ctonnx_bench.experiments.serving.load import Load, ask, requests_for

__all__ = ["Server", "main", "serving", "streamed"]

_LONE = 60  # requests and predictions of a round that are timed one by one
_IDLE_SECONDS = 2.0
_PARTS = 10  # of a long run, after each of which memory is looked at
_WAIT = 60.0


@dataclass(frozen=True)
class Server:
    """A running `ctonnx serve`.

    Attributes:
        port: that it listens on.
        process: Its number.
        ready_seconds: from its start until it said that it is ready.
    """

    port: int
    process: int
    ready_seconds: float

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        import psutil

        return float(psutil.Process(self.process).memory_info().rss / 1e6)

    @property
    def cpu_seconds(self) -> float:
        """That the process has used so far."""
        import psutil

        times = psutil.Process(self.process).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Server]:
    """Runs `ctonnx serve` until the block ends.

    Args:
        model: The `.onnx` file.
        options: Further ones.

    Raises:
        click.ClickException: it does not get ready.
    """
    port = _free_port()
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", str(port), *options]
    # As after an installation that compiles: else every start would compile the sources again.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            while True:
                try:
                    if ask(port, b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200:
                        break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - start > _WAIT:
                        said = process.stderr.read() if process.poll() is not None and process.stderr else ""
                        raise click.ClickException(f"ctonnx serve does not get ready: {said.strip()}") from None
                time.sleep(0.002)
            yield Server(port, process.pid, time.perf_counter() - start)
        finally:
            process.terminate()


def streamed(model: Path, files: Sequence[Path], *, alone: bool) -> list[float]:
    """Measures the predictor in this process.

    Args:
        model: The `.onnx` file.
        files: The scans.
        alone: Whether one after the other is predicted, each read by then, or all are streamed.

    Returns:
        Seconds of each, one by one; or of all of them.
    """
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.streaming import workers_for

    if alone:
        with Predictor(model) as predictor:
            contents = [file.read_bytes() for file in files]
            for content in contents[:5]:
                predictor.predict(content)
            seconds = []
            for number in range(_LONE):
                start = time.perf_counter()
                predictor.predict(contents[number % len(contents)])
                seconds.append(time.perf_counter() - start)
            return seconds
    with Predictor(model, workers=workers_for(len(files))) as predictor:
        for _ in predictor.predict_many(files[:16]):
            pass
        start = time.perf_counter()
        for _ in predictor.predict_many(files):
            pass
        return [time.perf_counter() - start]


def _apart(model: Path, folder: Path, *, alone: bool) -> list[float]:
    """Measures the predictor in a process of its own."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "ctonnx_bench.experiments.serving.server",
        "--child",
        json.dumps([str(model), str(folder), alone]),
    ]
    found: list[float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def _child(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Measures the predictor, prints the seconds, and ends."""
    if value is not None:
        model, folder, alone = json.loads(value)
        click.echo(json.dumps(streamed(Path(model), sorted(Path(folder).glob("*.png")), alone=alone)))
        ctx.exit()


def _free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--clients", type=click.IntRange(1), default=32, show_default=True, help="That ask at a time.")
@click.option("--requests", type=click.IntRange(1), default=1000, show_default=True, help="Of all clients, in a round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of predictor and server in turn.")
@click.option(
    "--scans", type=click.IntRange(1), default=200, show_default=True, help="That the requests are drawn from."
)
@click.option("--long-run", type=click.IntRange(0), default=0, help="Requests after that, to see whether memory grows.")
@click.option("--option", "options", multiple=True, help="Of ctonnx serve, as in --option=--max-batch=8.")
@click.option("--child", hidden=True, is_eager=True, expose_value=False, callback=_child)
def main(
    model: Path | None, clients: int, requests: int, rounds: int, scans: int, long_run: int, options: tuple[str, ...]
) -> None:
    """Measure ctonnx serve on MODEL (default: the newest run's), with generated PNG scans of 512x512 pixels.

    Beside it, in the same rounds, what the predictor takes alone.
    """
    from ctonnx.prediction.model_selection import find_model
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.system.cpu import available_cores
    from ctonnx_bench.experiments.scans import draw_scans

    model = find_model(model)
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as name:
        files = draw_scans(Path(name) / "scans", scans)
        size = statistics.mean(file.stat().st_size for file in files)
        with Predictor(model) as predictor:
            labels = [predictor.predict(file).label for file in files]
        bodies = requests_for(files)
        alone: list[float] = []
        lone: list[float] = []
        rates: list[float] = []
        loads: list[Load] = []
        with serving(model, *options) as server:
            idle_memory, before = server.memory, server.cpu_seconds
            time.sleep(_IDLE_SECONDS)
            idle_cpu = (server.cpu_seconds - before) / _IDLE_SECONDS
            Load.run(server.port, bodies, labels, clients=1, requests=10)
            for _ in range(rounds):
                alone += _apart(model, files[0].parent, alone=True)
                lone += Load.run(server.port, bodies, labels, clients=1, requests=_LONE).seconds
                rates.append(len(files) / _apart(model, files[0].parent, alone=False)[0])
                loads.append(Load.run(server.port, bodies, labels, clients=clients, requests=requests))
            after = server.memory
            click.echo(
                f"{model.name} on {available_cores()} cores: {scans} PNG scans of {size / 1e3:.0f} kB, {rounds} rounds "
                f"in turn, medians\n"
                f"ready after                {server.ready_seconds:8.2f} s\n"
                f"idle                       {idle_memory:8.0f} MB, {idle_cpu:.1%} of a core\n"
                f"predictor, one scan        {statistics.median(alone) * 1e3:8.1f} ms\n"
                f"lone request               {statistics.median(lone) * 1e3:8.1f} ms "
                f"({(statistics.median(lone) - statistics.median(alone)) * 1e3:+.1f} ms)"
            )
            _tell(rates, loads, clients)
            click.echo(f"memory after them          {after:8.0f} MB")
            if long_run:
                _long_run(server, bodies, labels, clients=clients, requests=long_run)
    if sum(load.wrong for load in loads):
        raise click.ClickException("expected the predictor's labels, found others among the answers")


def _tell(rates: Sequence[float], loads: Sequence[Load], clients: int) -> None:
    shares = [load.rate / rate for load, rate in zip(loads, rates, strict=True)]
    seconds = sorted(one for load in loads for one in load.seconds)
    p50, p99 = (seconds[min(len(seconds) - 1, int(len(seconds) * share))] for share in (0.5, 0.99))
    statuses = sum((Counter(load.statuses) for load in loads), Counter[int]())
    click.echo(
        f"predictor, streaming       {statistics.median(rates):8.1f} images/s\n"
        f"{f'{clients} clients':26} {statistics.median(load.rate for load in loads):8.1f} images/s "
        f"({statistics.median(shares):.1%} of it in the same round; {min(shares):.1%} to {max(shares):.1%})\n"
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
