"""Compares the parts of shards with the whole run, byte for byte after sorting; one shard is killed and continued.

    python -m ctonnx_bench.experiments.throughput.shards MODEL [--scans 4000] [--shards 1 --shards 2 --shards 8]

The scans are phantoms of 512 pixels as PNG files, with a damaged file, in a temporary folder. Each run is a process of
its own, `ctonnx predict`. Of each number of shards above 1, the second one gets SIGKILL once half of its rows are
there, and is then continued.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ctonnx.errors import CheckFailed
from ctonnx.system.cpu import available_cores
from ctonnx_bench.experiments.scans import draw_scans

__all__ = ["check_shards", "main"]

_FOLDERS = 40
_TIME = "2026-12-01T08:00:00Z"
_POLL = 0.02  # seconds between looks at the rows of the shard that will be killed


def _command(model: Path, folder: Path, output: Path, *options: str) -> list[str]:
    words = [str(folder), "--model", str(model), "--time", _TIME, "--output", str(output), *options]
    return [sys.executable, "-P", "-m", "ctonnx", "predict", *words]


def _run(command: Sequence[str]) -> None:
    """Runs a command; one that fails, which a damaged file is not, ends the check with its messages."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise CheckFailed(f"expected {' '.join(command)} to succeed, found exit code {done.returncode}: {done.stderr}")


def _killed(command: Sequence[str], part: Path, rows: int) -> int:
    """Kills a command once its part has a number of rows, and returns their number; 0 if it ended before."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if part.exists() and part.read_bytes().count(b"\n") > rows:
                process.kill()
                process.wait()
                return part.read_bytes().count(b"\n") - 1
            time.sleep(_POLL)
    return 0


def check_shards(model: Path, folder: Path, place: Path, count: int, whole: Sequence[bytes]) -> tuple[float, int]:
    """Predicts a folder in shards, one after the other, and merges their parts.

    Args:
        model: Model file.
        folder: Folder of the scans.
        place: New folder for the parts.
        count: Number of shards.
        whole: Sorted rows of the whole run.

    Returns:
        The seconds of all shards together, without the one that was killed before it was continued, and the number of
        rows that this one had.

    Raises:
        CheckFailed: If a command fails, no process could be killed, or the merged rows are others.
    """
    place.mkdir()
    seconds, rows_when_killed = 0.0, 0
    for number in range(1, count + 1):
        part = place / f"{number}.jsonl"
        command = _command(model, folder, part, "--shard", f"{number}/{count}", "--resume")
        if number == 2:
            rows_when_killed = _killed(command, part, len(whole) // (2 * count))
            if not rows_when_killed:
                raise CheckFailed("expected to kill a shard before its end, found that it had ended; use more --scans")
        start = time.perf_counter()
        _run(command)
        seconds += time.perf_counter() - start
    merged = place / "all.jsonl"
    _run([sys.executable, "-P", "-m", "ctonnx", "predict", "--merge", str(place), "--output", str(merged)])
    rows = sorted(merged.read_bytes().splitlines())
    if rows != list(whole):
        missing, more = len(set(whole) - set(rows)), len(set(rows) - set(whole))
        raise CheckFailed(
            f"expected the {len(whole)} rows of the whole run from {count} shards, found {len(rows)}: {missing} "
            f"missing or different, {more} others"
        )
    return seconds, rows_when_killed


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--scans", type=click.IntRange(4), default=4000, show_default=True, help="Number of scans.")
@click.option(
    "--shards", "counts", type=click.IntRange(1), multiple=True, default=(1, 2, 8), show_default=True, help="Shards."
)
def main(model: Path, scans: int, counts: tuple[int, ...]) -> None:
    """Check that the union of shards is the whole run, with MODEL."""
    with tempfile.TemporaryDirectory(prefix="ctonnx-shards-") as name:
        place = Path(name)
        folder = place / "scans"
        for number, file in enumerate(draw_scans(folder, scans)):
            inner = folder / str(number % min(_FOLDERS, scans))
            inner.mkdir(exist_ok=True)
            file.rename(inner / file.name)
        (folder / "damaged.png").write_bytes(b"")
        start = time.perf_counter()
        _run(_command(model, folder, place / "whole.jsonl"))
        seconds = time.perf_counter() - start
        whole = sorted((place / "whole.jsonl").read_bytes().splitlines())
        failed = sum(json.loads(row)["error"] is not None for row in whole)
        click.echo(f"{model.name} on {available_cores()} cores, {scans} scans and a damaged file")
        click.echo(f"whole run: {len(whole)} rows, {failed} with an error, {seconds:.1f} s")
        for count in dict.fromkeys(counts):
            seconds, rows = check_shards(model, folder, place / str(count), count, whole)
            killed = f"; 2/{count} killed at {rows} rows and continued" if rows else ""
            click.echo(f"{count} shards, one after the other: the same {len(whole)} rows, {seconds:.1f} s{killed}")


if __name__ == "__main__":
    main()
