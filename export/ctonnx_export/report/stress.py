"""The stress test of a run's checkpoint, for the export's report and model card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    images: Count
    share: Share | None


@dataclass(frozen=True)
class _Strength:
    shown: str
    class_changed: _Changed
    decision_changed: _Changed | None = None
    flipped: _Changed | None = None


@dataclass(frozen=True)
class _Transform:
    title: str
    judged_by: Literal["decision_changed", "flipped", "class_changed"]
    strengths: tuple[_Strength, ...]


@dataclass(frozen=True)
class _Model:
    file: str
    kind: str
    precision: str
    sha256: str


@dataclass(frozen=True)
class _Data:
    name: str
    fingerprint: str


@dataclass(frozen=True)
class _StressTest:
    checkpoint_sha256: str
    model: _Model
    data: _Data
    split: str
    images: Count
    transforms: tuple[_Transform, ...]


def read_stress(run: Run, checkpoint_sha256: str) -> dict[str, Any] | None:
    """Returns the run's stress test, or None if there is none that can be read, or it is not one of these weights."""
    try:
        found = json_schema.load(_StressTest, run.stress_file)
    except (OSError, ValueError):
        return None
    is_of_weights = found.checkpoint_sha256 == found.model.sha256 == checkpoint_sha256  # and not of an exported file
    return asdict(found) if is_of_weights and found.images else None


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
    measured, data = found["model"], found["data"]
    without_decisions = all(transform["judged_by"] == "class_changed" for transform in found["transforms"])
    return [
        "## Stress test",
        "",
        f"Measured: {measured['kind']} `{measured['file']}` (SHA-256 `{measured['sha256']}`) on {found['images']} "
        f"images of {data['name']} ({found['split']}, fingerprint `{data['fingerprint']}`), changed as other "
        "scanners, windows, viewers and file formats would. **The exported files were not stress-tested**: FP32's "
        f"decisions are those of the checkpoint within its parity, and those of FP16 and INT8 can differ. `ctonnx "
        f"evaluate FILE DATA --stress` measures a file.",
        "",
        (
            "Share of the predicted classes that change, as the model has no operating point, by strength."
            if without_decisions
            else _of_decided(found)
        ),
        "",
        *table(
            ["change", "mild", "middle", "strong", "flipped, at most"],
            [_row(transform) for transform in found["transforms"]],
        ),
        "",
    ]


def _of_decided(found: Mapping[str, Any]) -> str:
    """Returns the sentence on the shares, with the number of images that were decided before the change."""
    steps = (step for transform in found["transforms"] for step in transform["strengths"] if step["flipped"])
    decided = next((step["flipped"]["images"] for step in steps), 0)
    text = (
        "Share of the decisions that change (flipped or newly referred), by strength; for inverted scans, which it "
        f"should refer, of those that flip. All are shares of the {decided} images that were decided before."
    )
    if not decided:
        return "**All images were referred before any change**: there was no decision that could change."
    return text


def _row(transform: Mapping[str, Any]) -> list[str]:
    steps: Sequence[Mapping[str, Any]] = transform["strengths"]
    cells = [f"{of['shown']}: {_share(of[transform['judged_by']])}" for of in steps]
    flips = [of["flipped"] for of in steps if of["flipped"] and of["flipped"]["share"] is not None]
    most = max(flips, key=lambda of: float(of["share"]), default=None)
    return [transform["title"], *cells, *[""] * (3 - len(cells)), _share(most) if most else "-"]


def _share(change: Mapping[str, Any] | None) -> str:
    return "-" if change is None or change["share"] is None else shown(change["share"], _BOUND, digits=1, form="%")
