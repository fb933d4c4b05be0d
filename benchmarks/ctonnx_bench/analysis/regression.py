"""`--compare`: the figures of a benchmark against those of an earlier one, as a gate."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    "cautions",
    "compare_reports",
    "missing",
    "refuse_other_measurement",
    "regressed",
    "table",
    "wrong_before",
]

_STARTS = 3  # processes, of which a cold start's spread can be told
_ALWAYS = ("p50 ms", "peak MB")  # gated; the others where nothing doubts them


@dataclass(frozen=True)
class Change:
    """One figure of one case, before and now.

    Attributes:
        case: Its name.
        figure: which one, with its unit.
        before: in the earlier report.
        now: in this one.
        noisy: Whether either is doubted.
        gated: Whether it may fail the comparison; a peer's figures, and some that are doubted, are shown alone.
    """

    case: str
    figure: str
    before: float
    now: float
    noisy: bool = False
    gated: bool = True

    @property
    def worse(self) -> float:
        """By which share it is worse: 0.1 is 10 % slower or larger; negative is better."""
        return self.now / self.before - 1


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Returns how the figures of each case changed that both reports have.

    The median latency, MLPerf's SingleStream (the 90th percentile at batch 1), the cold start, and the peak memory.
    Gated are ctonnx's own: the median and the memory always, the other two where neither report doubts them.

    Raises:
        CtonnxError: they have none in common.
    """
    earlier = {case["name"]: case for case in old["cases"]}
    found = []
    for case in new["cases"]:
        if (before := earlier.get(case["name"])) is None:
            continue
        noisy = any(_is_noisy(item) for item in (before, case))
        unsteady = any(_starts_unsteadily(item) for item in (before, case))
        for name, value in _figures(case).items():
            if (was := _figures(before).get(name)) and value is not None:
                doubted = (noisy or unsteady) if name == "cold s" else noisy
                gated = bool(case["own"]) and (name in _ALWAYS or not doubted)
                found.append(Change(case["name"], name, was, value, doubted, gated))
    if not found:
        raise CtonnxError(
            f"expected cases that the earlier report has too, found none: it has {', '.join(earlier) or 'no case'}; "
            "measure with the same models, batch sizes, threads and provider"
        )
    return found


def regressed(changes: Sequence[Change], fail_over: float) -> list[Change]:
    """Returns the gated figures that are worse by more than the share that is allowed."""
    return [change for change in changes if change.gated and change.worse > fail_over]


def missing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns ctonnx's cases that the earlier report has and the new one lacks."""
    measured = {case["name"] for case in new["cases"]} | set(new["broken"])
    return [case["name"] for case in old["cases"] if case["own"] and case["name"] not in measured]


def wrong_before(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns ctonnx's cases whose answers were wrong in the earlier report."""
    measured = {case["name"] for case in new["cases"]}
    return [case["name"] for case in old["cases"] if case["own"] and case["failures"] and case["name"] in measured]


def refuse_other_measurement(old: Mapping[str, Any], settings: Settings) -> None:
    """Ends with an error where an earlier report is of something that the settings do not measure.

    Raises:
        CtonnxError: Files against pixels, one provider against another, a sweep against none, or other batch sizes.
    """
    before = old["settings"]
    pairs = [
        (_mode(before.get("files")), _mode(settings.files)),
        (f"--provider {before['provider']}", f"--provider {settings.provider}"),
        (_sweep(before.get("sweep")), _sweep(settings.sweep)),
    ]
    for was, now in pairs:
        if was != now:
            raise CtonnxError(
                f"expected an earlier report of the same measurement, found one {was}, where this is {now}; measure as "
                "it was measured, or compare with another report"
            )
    sizes = {case["batch_size"] for case in old["cases"]}
    if not sizes & set(settings.batch_sizes):
        raise CtonnxError(
            f"expected an earlier report with one of these batch sizes, found one of {_batches(sizes)}, where this is "
            f"{_batches(settings.batch_sizes)}; measure as it was measured, or compare with another report"
        )


def _batches(sizes: Iterable[int]) -> str:
    return f"--batch-size {','.join(map(str, sorted(set(sizes))))}"


def cautions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns what makes the two reports hard to compare: another machine, library, file, or case that one lacks."""
    found = [f"no longer the same {said}" for said in differences(old["environment"], new["environment"])]
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
    return for_target(model["precision"], model.get("target"))  # which earlier reports do not tell


def table(changes: Sequence[Change], fail_over: float) -> str:
    """Returns the comparison for a terminal."""
    rows = [["case", "figure", "before", "now", "change", ""]]
    for change in changes:
        verdict = ("REGRESSION" if change.gated else "worse") if change.worse > fail_over else ""
        values = [f"{value:.2f}" for value in (change.before, change.now)]
        note = " ".join(filter(None, [verdict, "(noisy)" if change.noisy else ""]))
        worse = shown(change.worse, fail_over, digits=1, form="%", sign="+")
        rows.append([change.case, change.figure, *values, worse, note])
    return "\n".join(aligned(rows, left=(0, 1, 5)))


def _figures(case: Mapping[str, Any]) -> dict[str, float | None]:
    figures = case["figures"]
    peak, latency = figures["peak_bytes"], figures["latency_ms"]
    return {
        "p50 ms": latency["p50"],
        "SingleStream ms": latency["p90"] if case["batch_size"] == 1 else None,
        "cold s": figures["cold_start_s"],
        "peak MB": None if peak is None else peak / 1e6,
    }


def _is_noisy(case: Mapping[str, Any]) -> bool:
    latency = case["figures"]["latency_ms"]
    return bool(latency["iqr"] > NOISY * latency["p50"] or case["doubts"])


def _starts_unsteadily(case: Mapping[str, Any]) -> bool:
    """Says whether the cold starts of the processes lie too far from each other, or are too few to tell."""
    starts = [item["cold_start_s"] for item in case["rounds"]]
    if len(starts) < _STARTS:
        return True
    quarters = statistics.quantiles(starts, n=4, method="inclusive")
    return bool(quarters[2] - quarters[0] > NOISY * quarters[1])


def _mode(files: object) -> str:
    return "from files (--end-to-end)" if files else "from ready pixels"


def _sweep(swept: object) -> str:
    return "of a sweep" if swept else "without a sweep"
