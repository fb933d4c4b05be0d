"""The stress test of a run's checkpoint, for the export's report and model card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.report_schema import Count, Share
from ctonnx.artifacts.run import Run
from ctonnx.parity.rounding import shown
from ctonnx.system.text import table

__all__ = ["read_stress", "stress_lines"]

_BOUND = 0.05  # of the share, as in the tables of the stress test


@dataclass(frozen=True)
class _Changed:
    count: Count
    share: Share


@dataclass(frozen=True)
class _Strength:
    shown: str
    class_changed: _Changed
    flipped: _Changed | None = None
    newly_referred: _Changed | None = None


@dataclass(frozen=True)
class _Transform:
    title: str
    strengths: tuple[_Strength, ...]


@dataclass(frozen=True)
class _StressTest:
    checkpoint_sha256: str
    kind: str
    split: str
    images: Count
    transforms: tuple[_Transform, ...]


def read_stress(run: Run, checkpoint_sha256: str) -> dict[str, Any] | None:
    """Returns the run's stress test, or None if there is none of these weights that can be read."""
    try:
        found = json_schema.load(_StressTest, run.stress_file)
    except (OSError, ValueError):
        return None
    return asdict(found) if found.checkpoint_sha256 == checkpoint_sha256 and found.images else None


def stress_lines(facts: Mapping[str, Any]) -> list[str]:
    """Returns the section on the stress test: its table, or that there was none and the command for it."""
    found, name = facts["stress"], facts["model"]["name"]
    if found is None:
        return [
            "## Stress test",
            "",
            "**It was not stress-tested**: whether its decisions hold for the same scan with another contrast, window, "
            f"padding or compression is not known. `ctonnx evaluate {name} DATA --stress` measures it; export the run "
            "again to have the result here.",
            "",
        ]
    return [
        "## Stress test",
        "",
        f"{found['kind']} on {found['images']} images ({found['split']}), changed as other scanners, windows, viewers "
        "and file formats would: share of the decisions that became the opposite one"
        + (" (of the predicted classes, as it has no operating point)" if _without_decisions(found) else "")
        + ", by strength.",
        "",
        *table(
            ["change", "mild", "middle", "strong", "newly referred, at most"],
            [_row(transform) for transform in found["transforms"]],
        ),
        "",
    ]


def _row(transform: Mapping[str, Any]) -> list[str]:
    steps: Sequence[Mapping[str, Any]] = transform["strengths"]
    cells = [f"{of['shown']}: {_share(of['flipped'] or of['class_changed'])}" for of in steps]
    referred = [of["newly_referred"] for of in steps if of["newly_referred"]]
    most = max(referred, key=lambda of: float(of["share"]), default=None)
    return [transform["title"], *cells, *[""] * (3 - len(cells)), _share(most) if most else "-"]


def _without_decisions(found: Mapping[str, Any]) -> bool:
    return all(of["flipped"] is None for transform in found["transforms"] for of in transform["strengths"])


def _share(change: Mapping[str, Any]) -> str:
    return shown(change["share"], _BOUND, digits=1, form="%")
