"""Compares whole processes on a folder of scans and on one scan: ctonnx, PyTorch eager, Ultralytics and Optimum.

    python -m ctonnx_bench.experiments.end_to_end.folder [RUN] [--images 400] [--rounds 5] [--peers NAMES] [--breakdown]

Each measurement is a separate process, from its start to its end, with a warm disk and compiled bytecode; the rounds
are interleaved. Every peer uses the weights of the run, and the predictions of every process are checked.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from ctonnx.system import text
from ctonnx.system.cpu import available_cores
from ctonnx_bench.experiments.end_to_end.peers.peer import PEERS, read_rows
from ctonnx_bench.experiments.scans import SIDE, draw_scans
from ctonnx_bench.measurement.environment import describe
from ctonnx_bench.measurement.processes import ProcessFailed, Sample, launch

__all__ = ["CASES", "Agreement", "Contender", "breakdown", "compare", "main", "measure", "table"]

CASES = ("folder", "one scan")
_IMPORTS, _REST = "interpreter, imports", "the rest"  # the rest: waiting threads, and the end of the process
_BASELINE = PEERS["pytorch"].title
_REFERENCE, _INT8 = "ctonnx FP32", "ctonnx INT8"
_PATH = "PATH"  # placeholder in a contender's command for the folder or the scan
_LARGEST_DP = 0.01  # difference of a label's probability between programs that compute in float32
_NOISY = 1.25  # slowest over fastest process


@dataclass(frozen=True)
class Contender:
    """Title of a column, and the command, in which the word PATH stands for the folder or the scan."""

    title: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Agreement of a contender's predictions with ctonnx FP32's, over all of its processes.

    `differing` are the files with another label, or none, in at least one process; `largest_dp` is the largest
    difference of the probability of the same label.
    """

    images: int
    differing: tuple[str, ...] = ()
    largest_dp: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether both computed the same network; labels alone do not show it if all scans have the same label."""
        return not self.differing and self.largest_dp <= _LARGEST_DP


def compare(
    reference: Mapping[str, tuple[str, float]], found: Mapping[str, tuple[str, float]], before: Agreement
) -> Agreement:
    """Compares one process's predictions with ctonnx FP32's, and adds the differences to those of processes before."""
    same = {name for name, (label, _) in reference.items() if name in found and found[name][0] == label}
    largest = max((abs(reference[name][1] - found[name][1]) for name in same), default=0.0)
    differing = {*before.differing, *reference} - (same - {*before.differing})
    return Agreement(max(before.images, len(reference)), tuple(sorted(differing)), max(before.largest_dp, largest))


def measure(
    contenders: Sequence[Contender], paths: Mapping[str, Path], folder: Path, rounds: int
) -> tuple[dict[str, dict[str, list[Sample]]], dict[str, Agreement]]:
    """Runs every contender in turn, after one process of each on one scan that is not counted.

    Returns the samples of each contender and case, and the agreement of each contender with ctonnx FP32, which must be
    among them.
    """
    samples: dict[str, dict[str, list[Sample]]] = {item.title: {case: [] for case in paths} for item in contenders}
    agreements: dict[str, Agreement] = {}
    for number in range(-1, rounds):
        for case, path in paths.items() if number >= 0 else [("one scan", paths["one scan"])]:
            predictions: dict[str, dict[str, tuple[str, float]]] = {}
            for item in contenders if number % 2 == 0 else reversed(contenders):
                command = [str(path) if word == _PATH else word for word in item.command]
                measured = launch(command, folder)
                predictions[item.title] = read_rows(measured.out)
                if number >= 0:
                    samples[item.title][case].append(measured.sample)
            reference = predictions.pop(_REFERENCE)
            for title, found in predictions.items():
                agreements[title] = compare(reference, found, agreements.get(title, Agreement(0)))
    return samples, agreements


def table(samples: Mapping[str, Mapping[str, Sequence[Sample]]], images: int) -> list[str]:
    """Returns the lines of a Markdown table: medians (minimum to maximum), and the factor over PyTorch, by round."""
    rows: list[tuple[str, str, Callable[[Sample], float], bool, str]] = [
        (f"folder of {images}, s", "folder", lambda sample: sample.seconds, False, ".2f"),
        (f"folder of {images}, images/s", "folder", lambda sample: images / sample.seconds, True, ".1f"),
        ("one scan, cold process, s", "one scan", lambda sample: sample.seconds, False, ".2f"),
        ("peak memory, folder, MB", "folder", lambda sample: sample.peak_bytes / 1e6, False, ".0f"),
        ("peak memory, one scan, MB", "one scan", lambda sample: sample.peak_bytes / 1e6, False, ".0f"),
    ]
    cells = [["measurement", *samples]]
    for name, case, value, more_is_better, style in rows:
        cells.append([name])
        for title, cases in samples.items():
            own = [value(sample) for sample in cases[case]]
            cell = f"{statistics.median(own):{style}} ({min(own):{style}} to {max(own):{style}})"
            if _BASELINE in samples and title != _BASELINE:
                pairs = zip(own, map(value, samples[_BASELINE][case]), strict=True)
                ratios = [mine / theirs if more_is_better else theirs / mine for mine, theirs in pairs]
                cell += f" {statistics.median(ratios):.2f}x"
            cells[-1].append(cell)
    return text.table(cells[0], cells[1:], padded=True)


def breakdown(model: Path, paths: Mapping[str, Path], folder: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Returns the seconds of each stage, for each case and round, measured in a new process."""
    found: dict[str, list[dict[str, float]]] = {case: [] for case in paths}
    for number in range(-1, rounds):  # the first is not counted
        for case, path in paths.items():
            measured = launch(
                [sys.executable, "-m", "ctonnx_bench.experiments.end_to_end.peers.ctonnx", str(model), str(path)],
                folder,
            )
            inner = json.loads(measured.err.splitlines()[-1])
            stages = {_IMPORTS: inner["imported"] - measured.start} | inner["stages"]
            if number >= 0:
                found[case].append(stages | {_REST: measured.sample.seconds - sum(stages.values())})
    return found


@contextmanager
def _confined(cores: int) -> Iterator[None]:
    """Limits this process and its children to a number of cores, if the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _contenders(run_folder: Path, peers: Sequence[str], folder: Path) -> tuple[list[Contender], dict[str, str]]:
    """Returns the contenders, and the reason for each skipped one."""
    found: list[Contender] = []
    skipped: dict[str, str] = {}
    for title, precision in ((_INT8, "int8"), (_REFERENCE, "fp32")):
        model = run_folder / "export" / f"model.{precision}.onnx"
        if model.is_file():
            command = (sys.executable, "-m", "ctonnx", "predict", "--model", str(model), "--format", "csv", _PATH)
            found.append(Contender(title, command))
        else:
            skipped[title] = "not exported; ctonnx export --precision all"
    for name in peers:
        title, needed, install = PEERS[name]
        if missing := [module for module in needed if not find_spec(module)]:
            skipped[title] = f"{', '.join(missing)} not installed; pip install {install}"
            continue
        program, model = (sys.executable, "-m", f"ctonnx_bench.experiments.end_to_end.peers.{name}"), run_folder
        if name != "pytorch":
            model = folder / name
            model.mkdir()
            try:
                launch([*program, "--prepare", str(run_folder), str(model)], folder)
            except ProcessFailed as error:
                skipped[title] = f"its model could not be prepared: {error.message.splitlines()[-1]}"
                continue
        found.append(Contender(title, (*program, str(model), _PATH, str(available_cores()))))
    return found, skipped


def _peers(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"expected some of {','.join(PEERS)}, found {unknown[0]!r}")
    return names


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--images", type=click.IntRange(1), default=400, show_default=True, help="Number of scans in the folder.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of processes for each case."
)
@click.option("--peers", default=",".join(PEERS), show_default=True, callback=_peers, help="Peers to compare with.")
@click.option("--cores", type=click.IntRange(1), default=2, show_default=True, help="Number of cores per process.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="File for every sample.")
@click.option("--breakdown", "has_stages", is_flag=True, help="Also show the time of each stage of ctonnx INT8.")
def main(
    run: Path | None, images: int, rounds: int, peers: list[str], cores: int, json_file: Path | None, has_stages: bool
) -> None:
    """Compare ctonnx predict with other programs on generated scans, with the models of RUN (default: the newest)."""
    from ctonnx.artifacts.run import find_run
    from ctonnx.errors import CtonnxError
    from ctonnx.system.files import write_text

    if not hasattr(os, "wait4"):
        raise click.UsageError("expected a system with wait4 (Linux, macOS), which reports a process's peak memory")
    try:
        run_folder = find_run(run).folder.resolve()
    except CtonnxError as error:
        raise click.UsageError(str(error)) from error
    if not (run_folder / "export" / "model.fp32.onnx").is_file():
        raise click.UsageError(f"expected model.fp32.onnx in '{run_folder}/export', found none; ctonnx export {run}")
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as name, _confined(cores):
        folder = Path(name)
        scans = draw_scans(folder / "scans", images)
        size = statistics.mean(file.stat().st_size for file in scans)
        paths = {"folder": folder / "scans", "one scan": scans[0]}
        about = describe()
        contenders, skipped = _contenders(run_folder, peers, folder)
        samples, agreements = measure(contenders, paths, folder, rounds)
        int8 = run_folder / "export" / "model.int8.onnx"
        stages = breakdown(int8, paths, folder, rounds) if has_stages and _INT8 in samples else {}
    ratio = f", and the factor over {_BASELINE} in the same round" if _BASELINE in samples else ""
    click.echo(
        f"{run_folder.name}: {images} grey PNG scans of {SIDE}x{SIDE}, {size / 1e3:.0f} kB each, on "
        f"{about['cores_allowed']} cores of {about['cpu']}; {rounds} interleaved rounds: median (minimum to maximum)"
        f"{ratio}\n"
    )
    click.echo("\n".join(table(samples, images)) + "\n")
    for case, found in stages.items():
        click.echo("\n".join(_stage_table(case, found)) + "\n")
    for title, reason in skipped.items():
        click.echo(f"{title}: skipped, {reason}")
    for title, agreement in agreements.items():
        click.echo(
            f"{title}: same labels as {_REFERENCE} on {agreement.images - len(agreement.differing)} of "
            f"{agreement.images} scans, largest difference of their probability {agreement.largest_dp:.4f}"
        )
    if noisy := [title for title, cases in samples.items() if any(map(_is_noisy, cases.values()))]:
        click.echo(f"note: noisy measurement: {', '.join(noisy)} differ by more than a factor of {_NOISY} over rounds")
    if json_file:
        document = {
            "schema_version": 1,
            "run": run_folder.name,
            "images": {"count": images, "side": SIDE, "mean_bytes": size},
            "rounds": rounds,
            "environment": about,
            "commands": {contender.title: contender.command for contender in contenders},
            "samples": {
                title: {case: [asdict(sample) for sample in found] for case, found in cases.items()}
                for title, cases in samples.items()
            },
            "agreement": {title: asdict(agreement) for title, agreement in agreements.items()},
            "skipped": skipped,
            "breakdown": stages,
        }
        write_text(json_file, json.dumps(document, indent=2) + "\n")
    if wrong := [title for title, agreement in agreements.items() if title != _INT8 and not agreement.holds]:
        raise click.ClickException(f"expected the predictions of {_REFERENCE}, found others of {', '.join(wrong)}")


def _is_noisy(samples: Sequence[Sample]) -> bool:
    seconds = [sample.seconds for sample in samples]
    return max(seconds) > _NOISY * min(seconds)


def _stage_table(case: str, found: Sequence[Mapping[str, float]]) -> list[str]:
    medians = {stage: statistics.median(stages[stage] for stages in found) for stage in found[0]}
    total = sum(medians.values())
    lines = [f"{stage:22} {seconds:8.3f} s {seconds / total:7.1%}" for stage, seconds in medians.items()]
    return [f"{_INT8}, {case}: time of each stage, medians", *lines, f"{'all':22} {total:8.3f} s"]


if __name__ == "__main__":
    main()
