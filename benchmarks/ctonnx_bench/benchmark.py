"""`run_benchmark`: measures models and peers, holds their answers against a reference, and returns one document."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.parity.gates import DEVICE_GATES
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.cpu import available_cores
from ctonnx.system.memory import memory_limit
from ctonnx.system.text import Log
from ctonnx_bench.analysis.speedup import times_as_fast
from ctonnx_bench.analysis.statistics import doubts, mlperf, summarize
from ctonnx_bench.cases.adapters.adapter import ADAPTERS
from ctonnx_bench.cases.case import Case, plan_cases
from ctonnx_bench.cases.contenders import Model, find_peers, own, read_models, run_of
from ctonnx_bench.cases.images import CheckImages, golden_images, images_in, labelled_images
from ctonnx_bench.cases.settings import SCHEMA_VERSION, Settings
from ctonnx_bench.cases.sweep import plan_sweep
from ctonnx_bench.correctness.judgement import Judgement, altered, gate_of, judge
from ctonnx_bench.correctness.reference import (
    Settled,
    answer_all,
    check_golden,
    find_reference,
    reference_is_wrong,
    settle,
    with_own_answers,
)
from ctonnx_bench.measurement.environment import describe
from ctonnx_bench.measurement.rounds import Bench, Round

__all__ = ["run_benchmark"]


_CHANGE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}
"""Of a logit or a heatmap from one run to another, as a share of the largest: the same file on the same machine."""

_CALIBRATION = 300  # images, as `ctonnx export` takes

_IMAGE_BYTES = 9e6
"""Of memory for each image of 224 x 224 in a batch: the peaks of FP32 at batch 1 and 8 in docs/reference/results.md."""


def run_benchmark(settings: Settings, *, command: str, log: Log) -> dict[str, Any]:
    """Measures, and returns the document that bench.json holds; its `passed` says whether ctonnx's answers are right.

    A peer that cannot do it is in `skipped` with the reason. A peer whose answers are wrong is named in its case's
    `failures`, and does not change `passed`: it is not ctonnx that failed. Answers that are not shown to be right, nor
    to be wrong, are named in `not_shown`, and do not change it either.

    Args:
        settings: what, and how.
        command: as it was typed, for the report.
        log: Called with each progress message.

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
    _refuse_too_many(max(case.batch_size for case in cases), spec.preprocessing.size)
    cases = [replace(case, side=spec.preprocessing.size, files=settings.files is not None) for case in cases]
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), images, asdict(spec.preprocessing), asdict(spec.dicom_window))
        cases, answers = answer_all(bench, cases, skipped, log)
        asked = run if settings.reference is not None else None
        reference = find_reference(bench, answers, images, models, asked, log)
        golden = check_golden(bench, [*cases, *reference.cases], models, log) if images.golden is None else {}
        seconds = settings.duration / settings.rounds
        timed = bench.measure(cases, rounds=settings.rounds, seconds=seconds, log=log)
    if not timed.found:
        raise CtonnxError(next(iter(timed.broken.values()), "expected a case to be measured, found none that could be"))
    skipped |= timed.skipped
    gates = {str(model.path.resolve()): gate_of(model) for model in models}
    changed = {str(model.path.resolve()): found for model in models if (found := altered(model))}
    rows = []
    for case, rounds in timed.found.items():
        gate = gates.get(str(case.contender.model)) if case.contender.own else None
        asked_of_it = with_own_answers(case.contender, images, models)
        judgement = judge(case.contender, answers[case], reference.outputs, asked_of_it, gate)
        settled = settle(case, judgement, reference, golden)
        if case.contender.own and (found := changed.get(str(case.contender.model))):
            settled = replace(settled, failures=(*settled.failures, found))
        if case in timed.broken:
            settled = replace(
                settled, failures=(*settled.failures, f"it failed in a later round: {timed.broken[case]}")
            )
        rows.append(_row(case, rounds, settled, judgement))
    faster = {} if settings.sweep else times_as_fast(rows)
    rows = [{**row, "times_as_fast": faster.get(row["name"])} for row in rows]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "ctonnx bench",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": _plain(settings),
        "environment": environment,
        "models": [model.as_dict() for model in models],
        "checked_on": {
            "images": len(images),
            "about": images.about,
            "reference": reference.about,
            "cautions": list(images.cautions),
            "calibrated_on_them": images.calibration is None
            and any(ADAPTERS[case.contender.adapter].prepares for case in timed.found),
            "reference_wrong": reference_is_wrong(reference, golden),
        },
        "cases": rows,
        "mlperf": mlperf(rows),
        "skipped": skipped,
        "broken": {case.name: reason for case, reason in timed.broken.items()},
        "passed": not timed.broken and not any(row["failures"] for row in rows if row["own"]),
    }


def _refuse_too_many(batch_size: int, side: int) -> None:
    """Refuses a batch that cannot fit into memory before anything fills it.

    Raises:
        CtonnxError: it is that large.
    """
    needed, limit = batch_size * _IMAGE_BYTES * (side / 224) ** 2, memory_limit()
    if limit is not None and needed > limit:
        raise CtonnxError(
            f"expected batches that fit into the {limit / 1e9:.1f} GB of memory that this process may use, found one "
            f"of {batch_size} images, which needs about {needed / 1e9:.0f} GB; choose a smaller --batch-size"
        )


def _images(settings: Settings, model: Model, *, calibrates: bool) -> CheckImages:
    if settings.files is not None:
        return images_in(settings.files, model)
    if settings.data is not None:
        return labelled_images(settings.data, model, calibrate=_CALIBRATION if calibrates else 0)
    return golden_images(model)


def _row(case: Case, rounds: Sequence[Round], settled: Settled, judgement: Judgement) -> dict[str, Any]:
    """Returns a case's entry in the document."""
    figures = summarize(rounds, case.batch_size)
    largest = {what: max(getattr(item, f"largest_d{what}") for item in rounds) for what in ("p", "logit", "heatmap")}
    wrong = [*settled.failures, *_changed(case.contender.precision, largest)]
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
        "image_size": case.side,
        "files": case.files,
        "model": str(case.contender.model),
        "bytes": case.contender.size,
        "figures": figures,
        "parity": {**settled.parity.as_dict(), "agreement_interval": settled.parity.agreement_interval},
        "gate": judgement.asked,
        "bounds": judgement.bounds,
        "accuracy": settled.accuracy,
        "largest_differences_while_timed": largest,
        "failures": wrong,
        "not_shown": list(settled.not_shown),
        "verdict": "wrong" if wrong else settled.verdict,
        "doubts": doubts(rounds, figures, threads=case.threads, cores=available_cores()),
        "rounds": [asdict(item) for item in rounds],
    }


def _changed(precision: str, largest: Mapping[str, float]) -> list[str]:
    """Returns what changed while a case was timed, by more than its precision allows."""
    allowed, found = DEVICE_GATES[precision].max_dp, []
    if not largest["p"] <= allowed:
        found.append(
            f"while it was timed, a probability differed by {shown(largest['p'], allowed, digits=3)} from its own "
            f"answer before, at most {exactly(allowed)} is allowed"
        )
    return found + [
        f"while it was timed, a {what} differed from its own answer before by "
        f"{shown(largest[what], _CHANGE[precision], digits=3)} times the largest, at most "
        f"{exactly(_CHANGE[precision])} is allowed"
        for what in ("logit", "heatmap")
        if not largest[what] <= _CHANGE[precision]
    ]


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
