"""`run_family`: measures the models of a family in one interleaved run, and compares each with the first."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.errors import CtonnxError
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.parity.outputs import Outputs
from ctonnx.system.text import Log
from ctonnx_bench.analysis.speedup import speedup_over
from ctonnx_bench.benchmark.document import case_row, plan
from ctonnx_bench.benchmark.family.comparison import accuracy_of, agreement_interval, compare_outputs
from ctonnx_bench.benchmark.family.front import pareto_front
from ctonnx_bench.benchmark.family.images import FamilyImages, golden_family_images, labelled_family_images
from ctonnx_bench.benchmark.family.members import members_of, read_family
from ctonnx_bench.cases.contenders import Model
from ctonnx_bench.cases.settings import SCHEMA_VERSION, Settings
from ctonnx_bench.correctness import reference
from ctonnx_bench.correctness.judgement import Verdict, altered, gate_of
from ctonnx_bench.measurement.environment import describe
from ctonnx_bench.measurement.rounds import Bench

__all__ = ["mark_front", "run_family"]


def run_family(settings: Settings, names: Sequence[str] = (), *, command: str, log: Log) -> dict[str, Any]:
    """Measures, and returns the document that is written to family.json, with the command line for the report.

    It is as that of `run_benchmark`, except that `parity`, `accuracy` and `times_as_fast` of a case compare it with the
    first model. Its `failures` are those on the golden inputs beside it, and outputs that changed while it was timed.
    `ms_per_image` is the median latency over the batch size; `on_front` and `on_front_with_size` are explained in
    `mark_front`.

    Args:
        settings: Settings of the benchmark; `data` are the labelled images, None compares on golden inputs.
        names: Names of the models, one for each; without any, they are named by run and precision.
        command: Command line, for the report.
        log: Called with each progress message.

    Raises:
        CtonnxError: If ctonnx cannot run with these settings, or the models cannot be compared.
    """
    if not hasattr(os, "wait4"):
        raise CtonnxError("expected a system with wait4 (Linux, macOS), which reports how a process ended, found none")
    models = read_family(settings.models)
    members = members_of(models, names)
    spec = models[0].spec
    # Pixels are copied from the host on a GPU too, as `ctonnx predict` does: one case for each model and batch size.
    cases = [case for case in plan(settings, members, spec.preprocessing.size) if not case.bound]
    images = (
        golden_family_images(models[0]) if settings.data is None else labelled_family_images(settings.data, models, log)
    )
    environment = describe()
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), images.checked, asdict(spec.preprocessing), asdict(spec.dicom_window))
        cases, outputs = reference.predict_all(bench, cases, {}, log)
        golden = reference.check_golden(bench, cases, models, log)
        seconds = settings.duration / settings.rounds
        timed = bench.measure(cases, rounds=settings.rounds, seconds=seconds, log=log)
    if not timed.found:
        raise CtonnxError(next(iter(timed.broken.values()), "expected a case to be measured, found none that could be"))
    of_path = {model.path.resolve(): model for model in models}
    rows = []
    for case, rounds in timed.found.items():
        first = next(other for other in outputs if other.batch_size == case.batch_size)
        model = of_path[case.contender.model]
        verdict = _verdict(model, outputs[first], outputs[case], images, golden.get(case))
        row = case_row(case, rounds, verdict, timed.broken.get(case))
        row["parity"]["agreement_interval"] = agreement_interval(verdict.parity, images)
        row["ms_per_image"] = row["figures"]["latency_ms"]["p50"] / case.batch_size
        rows.append(row)
    faster = speedup_over(rows, members[0].title, members[0].title)
    rows = mark_front([{**row, "times_as_fast": faster.get(row["name"])} for row in rows])
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": "ctonnx bench --family",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {**json.loads(json.dumps(asdict(settings), default=str)), "names": list(names)},
        "environment": environment,
        "models": [{"title": member.title, **model.as_dict()} for member, model in zip(members, models, strict=True)],
        "checked_on": {
            "images": len(images.checked),
            "effective_images": images.effective,
            "split": images.split,
            "about": images.checked.about,
            "reference": members[0].title,
            "cautions": list(images.checked.caveats),
            "unjudged": [
                member.title
                for member, model in zip(members, models, strict=True)
                if not (model.path.resolve().parent / FILE_NAME).is_file()
            ],
        },
        "cases": rows,
        "broken": {case.name: reason for case, reason in timed.broken.items()},
        "passed": not timed.broken and not any(row["failures"] for row in rows),
    }


def mark_front(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the cases with two more entries, by the measured values without their intervals.

    `on_front` is whether no other right case of the batch size is at least as fast and as accurate (without labels: as
    small), and better in one of the two; `on_front_with_size` is the same for speed, accuracy and size together. Cases
    with wrong outputs are not on the front.
    """
    found = []
    for row in rows:
        beside = [other for other in rows if other["batch_size"] == row["batch_size"] and not other["failures"]]
        costs = {other["name"]: _costs(other) for other in beside}
        plane = {name: cost[:2] for name, cost in costs.items()}
        found.append(
            {
                **row,
                "on_front": row["name"] in pareto_front(plane),
                "on_front_with_size": row["name"] in pareto_front(costs),
            }
        )
    return found


def _costs(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Returns the milliseconds for an image, the error if there are labels, and the size in bytes."""
    error = () if row["accuracy"] is None else (1 - row["accuracy"]["value"],)
    return row["ms_per_image"], *error, float(row["bytes"])


def _verdict(
    model: Model, first: Outputs, outputs: Outputs, images: FamilyImages, golden: tuple[str, ...] | None
) -> Verdict:
    """Returns the verdict: a model is right if it computes what PyTorch computed for the golden inputs beside it.

    Args:
        model: The model.
        first: Outputs of the first model for the images.
        outputs: Outputs of the model for the same images.
        images: The images.
        golden: Failures on the golden inputs; None if the model has none.
    """
    failure = altered(model)
    return Verdict(
        compare_outputs(first, outputs),
        gate_of(model) or GATES[model.spec.precision],
        accuracy_of(first, outputs, images),
        (*(golden or ()), *([failure] if failure else ())),
        unproven="unjudged" if golden is None else None,
    )
