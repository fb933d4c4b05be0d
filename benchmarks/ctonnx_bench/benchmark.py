"""`run_benchmark`: measures models and peers, holds their answers against a reference, and returns one document."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.machine import available_cores
from ctonnx.outputs import Outputs
from ctonnx.parity import DEVICE_GATES, Gate
from ctonnx.runs import Run
from ctonnx_bench.cases import Case, plan_cases
from ctonnx_bench.checks import Images, golden_images, images_in, judge, labelled_images
from ctonnx_bench.contenders import Contender, Model, find_peers, own, read_models, run_of
from ctonnx_bench.environment import describe
from ctonnx_bench.peers.adapters import ADAPTERS
from ctonnx_bench.rounds import Bench, CaseFailed, Round
from ctonnx_bench.summary import doubts, mlperf, summarize
from ctonnx_bench.sweep import plan_sweep

__all__ = ["SCHEMA_VERSION", "Settings", "run_benchmark"]

SCHEMA_VERSION = 1
"""Of the document: raised when a reader of the old version could misuse a new one."""

_CALIBRATION = 300  # images, as `ctonnx export` takes
_REFERENCE_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and how.

    Attributes:
        models: `.onnx` files, folders of them, or runs; none means the newest run.
        provider: one of `ctonnx.providers.PROVIDERS`.
        batch_sizes: images at a time.
        threads: within an operator; None means every core that this process may use.
        sweep: whether thread counts, workers and spinning are measured instead, of ctonnx alone.
        duration: seconds that each case is timed, over all rounds.
        rounds: processes of each case.
        data: labelled images to check on; None takes the golden inputs.
        files: a folder of images to time from the file to the answer; None times pixels that are ready.
        reference: a run, whose PyTorch checkpoint is asked for the right answers.
        peers: names of `PEERS`.
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


def run_benchmark(settings: Settings, *, command: str, say: Callable[[str], object]) -> dict[str, Any]:
    """Measures, and returns the document that bench.json holds; its `passed` says whether ctonnx's answers are right.

    A peer that cannot do it is in `skipped` with the reason. A peer whose answers are wrong is named in its case's
    `failures`, and does not change `passed`: it is not ctonnx that failed.

    Args:
        settings: what, and how.
        command: as it was typed, for the report.
        say: is told each step.

    Raises:
        CtonnxError: ctonnx cannot run as it was asked to, or there is nothing to check its answers with.
    """
    if not hasattr(os, "wait4"):
        raise CtonnxError("expected a system with wait4 (Linux, macOS), which tells how a process ended, found none")
    models = read_models(settings.models)
    run = run_of(models, settings.reference)
    peers, skipped = find_peers(settings.peers, models, run, settings.provider)
    images = _images(settings, models[0], calibrates=any(ADAPTERS[peer.adapter].prepares for peer in peers))
    environment = describe()
    cores = settings.threads or available_cores()
    if settings.sweep:
        cases = plan_sweep(own(models), settings.batch_sizes, provider=settings.provider, cores=cores)
    else:
        cases = plan_cases(
            [*own(models), *peers],
            settings.batch_sizes,
            provider=settings.provider,
            threads=cores,
            files=settings.files is not None,
        )
    spec = models[0].spec
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        bench = Bench(Path(folder), images, asdict(spec.preprocessing), asdict(spec.dicom_window))
        cases, answers = _answer(bench, cases, skipped, say)
        about, reference = _reference(settings, bench, answers, images, models, run, say)
        seconds = settings.duration / settings.rounds
        found, failed = bench.measure(cases, rounds=settings.rounds, seconds=seconds, say=say)
    skipped |= failed
    gates = {str(model.path.resolve()): _gate(model) for model in models}
    rows = []
    for case, rounds in found.items():
        gate = gates.get(str(case.contender.model)) if case.contender.own else None
        judgement = judge(case.contender, answers[case], reference, images, gate)
        rows.append(_row(case, rounds, judgement.parity.as_dict(), judgement.accuracy, judgement.failures))
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "ctonnx bench",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": _plain(settings),
        "environment": environment,
        "models": [model.as_dict() for model in models],
        "checked_on": {"images": len(images), "about": images.about, "reference": about},
        "cases": rows,
        "mlperf": mlperf(rows),
        "skipped": skipped,
        "passed": not any(row["failures"] for row in rows if row["own"]),
    }


def _images(settings: Settings, model: Model, *, calibrates: bool) -> Images:
    if settings.files is not None:
        return images_in(settings.files, model)
    if settings.data is not None:
        return labelled_images(settings.data, model, calibrate=_CALIBRATION if calibrates else 0)
    return golden_images(model)


def _answer(
    bench: Bench, cases: Sequence[Case], skipped: dict[str, str], say: Callable[[str], object]
) -> tuple[list[Case], dict[Case, Outputs]]:
    """Lets each case answer for all images once; returns those that could, and their answers."""
    answers: dict[Case, Outputs] = {}
    made: dict[str, Contender] = {}
    for case in cases:
        title = case.contender.title
        if title in skipped:
            continue
        say(f"answering: {case.title}, batch {case.batch_size}")
        try:
            if ADAPTERS[case.contender.adapter].prepares:
                if title not in made:
                    say(f"{title}: making its model")
                    made[title] = bench.prepare(case).contender
                case = case.of(made[title])
            answers[case] = bench.answers(case)
        except CaseFailed as error:
            skipped[title] = f"it failed: {error}"
    left = {case: given for case, given in answers.items() if case.contender.title not in skipped}
    return list(left), left


def _reference(
    settings: Settings,
    bench: Bench,
    answers: dict[Case, Outputs],
    images: Images,
    models: Sequence[Model],
    run: Run | None,
    say: Callable[[str], object],
) -> tuple[str, Outputs]:
    """Returns whose answers count as right, and these."""
    first = next(iter(answers))
    if settings.reference is not None and run is not None:
        say("answering: PyTorch, the reference")
        contender = Contender("PyTorch, the reference", "pytorch", run.folder.resolve(), "fp32", 0)
        case = replace(first, contender=contender, batch_size=_REFERENCE_BATCH, bound=False, workers=1)
        try:
            return "PyTorch, computed here", bench.answers(case)
        except CaseFailed as error:
            raise CtonnxError(
                f"expected PyTorch to answer for --reference, found: {error}; it needs: "
                'pip install "ctonnx[train,export]"'
            ) from error
    if images.golden is not None:
        return "PyTorch, as kept in golden.npz", images.golden.outputs
    for case, given in answers.items():
        if case.contender.own and case.contender.precision == "fp32":
            return "ctonnx FP32", given
    beside = models[0].path.resolve().with_name("model.fp32.onnx")
    if not beside.is_file():
        raise CtonnxError(
            f"expected model.fp32.onnx beside '{models[0].path}', whose answers count as right, found none; measure it "
            "too, or name the run with --reference RUN"
        )
    say("answering: FP32, the reference")
    whole = Contender("ctonnx FP32, the reference", first.contender.adapter, beside, "fp32", 0)
    return "ctonnx FP32", bench.answers(replace(first, contender=whole, bound=False, workers=1))


def _gate(model: Model) -> Gate | None:
    """Returns the gate that a model was shipped with, as far as it says so."""
    kept = model.spec.gate
    if kept is None:
        return None
    names = {item.name for item in fields(Gate)}
    return Gate(**{name: value for name, value in kept.items() if name in names})


def _row(
    case: Case,
    rounds: Sequence[Round],
    parity: dict[str, Any],
    accuracy: dict[str, Any] | None,
    failures: Sequence[str],
) -> dict[str, Any]:
    """Returns a case's entry in the document."""
    figures = summarize(rounds, case.batch_size)
    limit = DEVICE_GATES[case.contender.precision].max_dp
    largest = max(item.largest_dp for item in rounds)
    wrong = list(failures)
    if not largest <= limit:
        wrong.append(f"while it was timed, a probability differed by {largest:.3g} from its own answer before")
    return {
        "name": case.name,
        "title": case.title,
        "contender": case.contender.title,
        "own": case.contender.own,
        "precision": case.contender.precision,
        "batch_size": case.batch_size,
        "provider": case.provider,
        "threads": case.threads,
        "bound": case.bound,
        "spinning": case.spinning,
        "workers": case.workers,
        "model": str(case.contender.model),
        "bytes": case.contender.size,
        "figures": figures,
        "parity": parity,
        "accuracy": accuracy,
        "largest_dp_while_timed": largest,
        "failures": wrong,
        "doubts": doubts(rounds, figures),
        "rounds": [asdict(item) for item in rounds],
    }


def _plain(settings: Settings) -> dict[str, Any]:
    """Returns the settings as JSON can hold them."""
    return {
        name: [str(item) if isinstance(item, Path) else item for item in value]
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, Path)
        else value
        for name, value in asdict(settings).items()
    }
