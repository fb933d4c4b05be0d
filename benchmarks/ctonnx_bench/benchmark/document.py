"""`run_benchmark`: measures models and peers, compares their outputs with a reference, and returns one document."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.parity.acceptance_gates import DEVICE_GATES
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.cpu import available_cores
from ctonnx.system.memory import memory_limit
from ctonnx.system.text import Log
from ctonnx_bench.analysis.speedup import times_as_fast
from ctonnx_bench.analysis.statistics import find_warnings, mlperf, summarize
from ctonnx_bench.cases.adapters.adapter import ADAPTERS
from ctonnx_bench.cases.case import Case, plan_cases
from ctonnx_bench.cases.contenders import Contender, Model, find_peers, own, read_models, run_of
from ctonnx_bench.cases.images import CheckImages, golden_images, images_in, labelled_images
from ctonnx_bench.cases.settings import SCHEMA_VERSION, Settings
from ctonnx_bench.cases.sweep import plan_sweep
from ctonnx_bench.correctness import reference
from ctonnx_bench.correctness.judgement import Verdict
from ctonnx_bench.measurement.environment import describe
from ctonnx_bench.measurement.rounds import Bench, Round

__all__ = ["case_row", "plan", "run_benchmark"]

_CHANGE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}
"""Largest difference of a logit or heatmap between two runs of a file on one machine, as a share of the maximum."""

_CALIBRATION = 300  # images, as `ctonnx export` uses

_IMAGE_BYTES = 9e6
"""Memory for each image of 224 x 224 in a batch: the peaks of FP32 at batch 1 and 8 in docs/reference/results.md."""


def run_benchmark(settings: Settings, *, command: str, log: Log) -> dict[str, Any]:
    """Measures, and returns the document that is written to bench.json, with the command line for the report.

    `passed` is True if no case of ctonnx has `failures`. The failures of a peer do not change it, and neither do bounds
    in `not_shown`, which the images show neither kept nor broken. Peers that cannot run are in `skipped`.

    Raises:
        CtonnxError: If ctonnx cannot run with these settings, or there is no reference.
    """
    if not hasattr(os, "wait4"):
        raise CtonnxError("expected a system with wait4 (Linux, macOS), which reports how a process ended, found none")
    models = read_models(settings.models)
    run = run_of(models, settings.reference)
    peers, skipped = find_peers(settings.peers, models, run, settings.provider)
    images = _images(settings, models[0], calibrates=any(ADAPTERS[peer.adapter].prepares for peer in peers))
    environment = describe()
    spec = models[0].spec
    cases = plan(settings, [*own(models), *peers], spec.preprocessing.size)
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), images, asdict(spec.preprocessing), asdict(spec.dicom_window))
        cases, outputs = reference.predict_all(bench, cases, skipped, log)
        asked = run if settings.reference is not None else None
        expected = reference.find_reference(bench, outputs, images, models, asked, log)
        checked = [*cases, *expected.cases]
        golden = reference.check_golden(bench, checked, models, log) if images.golden is None else {}
        seconds = settings.duration / settings.rounds
        timed = bench.measure(cases, rounds=settings.rounds, seconds=seconds, log=log)
    if not timed.found:
        raise CtonnxError(next(iter(timed.broken.values()), "expected a case to be measured, found none that could be"))
    skipped |= timed.skipped
    outputs = {case: outputs[case] for case in timed.found}
    verdicts = reference.judge_all(outputs, images, models, expected, golden)
    rows = [case_row(case, rounds, verdicts[case], timed.broken.get(case)) for case, rounds in timed.found.items()]
    faster = {} if settings.sweep else times_as_fast(rows)
    rows = [{**row, "times_as_fast": faster.get(row["name"])} for row in rows]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "ctonnx bench",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": json.loads(json.dumps(asdict(settings), default=str)),
        "environment": environment,
        "models": [model.as_dict() for model in models],
        "checked_on": {
            "images": len(images),
            "about": images.about,
            "reference": expected.about,
            "cautions": list(images.caveats),
            "calibrated_on_them": images.calibration is None
            and any(ADAPTERS[case.contender.adapter].prepares for case in timed.found),
            "reference_wrong": reference.reference_is_wrong(expected, golden),
        },
        "cases": rows,
        "mlperf": mlperf(rows),
        "skipped": skipped,
        "broken": {case.name: reason for case, reason in timed.broken.items()},
        "passed": not timed.broken and not any(row["failures"] for row in rows if row["own"]),
    }


def plan(settings: Settings, contenders: Sequence[Contender], side: int) -> list[Case]:
    """Returns the cases in the order in which they are measured; `side` is the input's height and width in pixels.

    Raises:
        CtonnxError: If the largest batch does not fit into memory.
    """
    cores, has_files = settings.threads or available_cores(), settings.files is not None
    sizes, provider = settings.batch_sizes, settings.provider
    if settings.sweep:
        cases = plan_sweep(contenders, sizes, provider=provider, cores=cores)
    else:
        cases = plan_cases(contenders, sizes, provider=provider, threads=cores, files=has_files)
    largest = max(case.batch_size for case in cases)
    needed, limit = largest * _IMAGE_BYTES * (side / 224) ** 2, memory_limit()
    if limit is not None and needed > limit:
        raise CtonnxError(
            f"expected batches that fit into the {limit / 1e9:.1f} GB of memory available to this process, found one "
            f"of {largest} images, which needs about {needed / 1e9:.0f} GB; choose a smaller --batch-size"
        )
    return [replace(case, side=side, files=has_files) for case in cases]


def _images(settings: Settings, model: Model, *, calibrates: bool) -> CheckImages:
    if settings.files is not None:
        return images_in(settings.files, model)
    if settings.data is not None:
        return labelled_images(settings.data, model, calibrate=_CALIBRATION if calibrates else 0)
    return golden_images(model)


def case_row(case: Case, rounds: Sequence[Round], verdict: Verdict, broken: str | None) -> dict[str, Any]:
    """Returns a case's entry in the document; `broken` is the error of a later round."""
    measurements = summarize(rounds, case.batch_size)
    largest = {name: max(getattr(item, f"largest_d{name}") for item in rounds) for name in ("p", "logit", "heatmap")}
    late = [f"it failed in a later round: {broken}"] if broken else []
    verdict = replace(verdict, failures=(*verdict.failures, *late, *_changes(case.contender.precision, **largest)))
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
        "figures": measurements,
        "parity": {**verdict.parity.as_dict(), "agreement_interval": verdict.parity.agreement_interval},
        "gate": verdict.gate.summary,
        "bounds": asdict(verdict.gate),
        "accuracy": verdict.accuracy,
        "largest_differences_while_timed": largest,
        "failures": list(verdict.failures),
        "not_shown": list(verdict.not_shown),
        "verdict": verdict.state,
        "doubts": find_warnings(rounds, measurements, threads=case.threads, cores=available_cores()),
        "rounds": [asdict(item) for item in rounds],
    }


def _changes(precision: str, *, p: float, logit: float, heatmap: float) -> list[str]:
    """Returns the outputs that changed while a case was timed, by more than its precision allows."""
    allowed, change = DEVICE_GATES[precision].max_dp, _CHANGE[precision]
    found = []
    if not p <= allowed:
        found.append(
            f"while it was timed, a probability differed by {shown(p, allowed, digits=3)} from its own output before, "
            f"at most {exactly(allowed)} is allowed"
        )
    return found + [
        f"while it was timed, a {name} differed from its own output before by {shown(share, change, digits=3)} times "
        f"the largest, at most {exactly(change)} is allowed"
        for name, share in (("logit", logit), ("heatmap", heatmap))
        if not share <= change
    ]
