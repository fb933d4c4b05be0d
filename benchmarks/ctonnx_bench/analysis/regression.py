"""Compares a benchmark with an earlier one, and finds regressions (`--compare`)."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.parity.rounding import shown
from ctonnx.system.text import aligned
from ctonnx_bench.analysis.statistics import NOISY
from ctonnx_bench.cases.contenders import for_target
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.measurement.environment import differences

__all__ = [
    "Change",
    "check_same_measurement",
    "compare_reports",
    "find_caveats",
    "missing",
    "regressed",
    "table",
    "wrong_before",
]

_STARTS = 3  # minimum number of processes for the spread of the cold start
_ALWAYS = ("p50 ms", "peak MB")  # always gated; the others only if they are reliable


@dataclass(frozen=True)
class Change:
    """Change of one measurement of a case; only a `gated` one may fail the comparison, the others are only shown.

    `figure` is the measurement's name with its unit; `noisy` is whether either value is unreliable.
    """

    case: str
    figure: str
    before: float
    now: float
    noisy: bool = False
    gated: bool = True

    @property
    def worse(self) -> float:
        """Relative change: 0.1 is 10 % slower or larger; negative is better."""
        return self.now / self.before - 1


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Returns the changes of each case that both reports contain.

    Compared are the median latency, MLPerf's SingleStream (the 90th percentile at batch 1), the cold start, and the
    peak memory. Those of ctonnx are gated: the median and the memory always, the other two if reliable in both reports.

    Raises:
        CtonnxError: If the reports have no case in common.
    """
    earlier = {case["name"]: case for case in old["cases"]}
    found = []
    for case in new["cases"]:
        if (before := earlier.get(case["name"])) is None:
            continue
        noisy = any(_is_noisy(item) for item in (before, case))
        unsteady = any(_starts_unsteadily(item) for item in (before, case))
        for name, value in _measurements(case).items():
            if (was := _measurements(before).get(name)) and value is not None:
                unreliable = (noisy or unsteady) if name == "cold s" else noisy
                gated = bool(case["own"]) and (name in _ALWAYS or not unreliable)
                found.append(Change(case["name"], name, was, value, unreliable, gated))
    if not found:
        raise CtonnxError(
            f"expected cases that are in the earlier report too, found none: it has {', '.join(earlier) or 'no case'}; "
            "measure with the same models, batch sizes, threads and provider"
        )
    return found


def regressed(changes: Sequence[Change], fail_over: float) -> list[Change]:
    """Returns the gated changes that are worse by more than the allowed share."""
    return [change for change in changes if change.gated and change.worse > fail_over]


def missing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns ctonnx's cases that are in the earlier report and missing in the new one."""
    measured = {case["name"] for case in new["cases"]} | set(new["broken"])
    return [case["name"] for case in old["cases"] if case["own"] and case["name"] not in measured]


def wrong_before(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns ctonnx's cases that were wrong in the earlier report."""
    measured = {case["name"] for case in new["cases"]}
    return [case["name"] for case in old["cases"] if case["own"] and case["failures"] and case["name"] in measured]


def check_same_measurement(old: Mapping[str, Any], settings: Settings) -> None:
    """Checks that an earlier report can be compared with a benchmark of these settings.

    Raises:
        CtonnxError: If files or pixels, the provider, the sweep or all batch sizes differ.
    """
    for was, now in zip(_kind(old["settings"]), _kind(asdict(settings)), strict=True):
        if was != now:
            raise CtonnxError(
                f"expected an earlier report of the same measurement, found one {was}, while this is {now}; measure in "
                "the same way, or compare with another report"
            )
    sizes = {case["batch_size"] for case in old["cases"]}
    if not sizes & set(settings.batch_sizes):
        raise CtonnxError(
            f"expected an earlier report with one of these batch sizes, found one of {_batches(sizes)}, while this is "
            f"{_batches(settings.batch_sizes)}; measure in the same way, or compare with another report"
        )


def _batches(sizes: Iterable[int]) -> str:
    return f"--batch-size {','.join(map(str, sorted(set(sizes))))}"


def find_caveats(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns caveats of the comparison: another machine, library or file, or a case missing in the new report."""
    found = [f"no longer the same {change}" for change in differences(old["environment"], new["environment"])]
    models = [{_model_name(model): model for model in document["models"]} for document in (old, new)]
    for name in (name for name in models[0] if name in models[1]):
        first, second = models[0][name], models[1][name]
        if first.get("checkpoint_sha256") != second.get("checkpoint_sha256"):
            found.append(f"{name} is of another checkpoint")
        elif first["sha256"] != second["sha256"]:
            found.append(f"{name} is another file of the same checkpoint")
    if (first := old["checked_on"]["about"]) != (second := new["checked_on"]["about"]):
        found.append(f"measured on different images: {first} and {second}")
    names = [{case["name"] for case in document["cases"]} for document in (old, new)]
    return found + [f"not measured now: {name}" for name in sorted(names[0] - names[1])]


def _model_name(model: Mapping[str, Any]) -> str:
    return for_target(model["precision"], model.get("target"))  # not in earlier reports


def table(changes: Sequence[Change], fail_over: float) -> str:
    """Returns the comparison for a terminal."""
    rows = [["case", "measurement", "before", "now", "change", ""]]
    for change in changes:
        verdict = ("REGRESSION" if change.gated else "worse") if change.worse > fail_over else ""
        values = [f"{value:.2f}" for value in (change.before, change.now)]
        note = " ".join(filter(None, [verdict, "(noisy)" if change.noisy else ""]))
        worse = shown(change.worse, fail_over, digits=1, form="%", sign="+")
        rows.append([change.case, change.figure, *values, worse, note])
    return "\n".join(aligned(rows, left=(0, 1, 5)))


def _measurements(case: Mapping[str, Any]) -> dict[str, float | None]:
    measured = case["figures"]
    peak, latency = measured["peak_bytes"], measured["latency_ms"]
    return {
        "p50 ms": latency["p50"],
        "SingleStream ms": latency["p90"] if case["batch_size"] == 1 else None,
        "cold s": measured["cold_start_s"],
        "peak MB": None if peak is None else peak / 1e6,
    }


def _is_noisy(case: Mapping[str, Any]) -> bool:
    latency = case["figures"]["latency_ms"]
    return bool(latency["iqr"] > NOISY * latency["p50"] or case["doubts"])


def _starts_unsteadily(case: Mapping[str, Any]) -> bool:
    """Returns whether the cold starts of the processes vary too much, or are too few to know."""
    starts = [item["cold_start_s"] for item in case["rounds"]]
    if len(starts) < _STARTS:
        return True
    quarters = statistics.quantiles(starts, n=4, method="inclusive")
    return bool(quarters[2] - quarters[0] > NOISY * quarters[1])


def _kind(settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Returns the properties in which compared measurements must not differ."""
    files = "from files (--end-to-end)" if settings.get("files") else "from ready pixels"
    sweep = "of a sweep" if settings.get("sweep") else "without a sweep"
    return files, f"--provider {settings['provider']}", sweep
