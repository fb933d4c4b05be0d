"""Operating point and decisions, measured on labelled images or patients, as lines of Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.artifacts.decision.rule import describe_reasons
from ctonnx.parity.rounding import cautious
from ctonnx.system.text import counted, table

__all__ = ["decision_lines", "escape_cell", "suspicious_lines"]


def suspicious_lines(found: Mapping[str, Any] | None, fitted_on: str, unit: str = "image") -> Iterator[str]:
    """Yields the sensitivity and specificity of an operating point; nothing for None.

    Args:
        found: Metrics from `ctonnx_train.evaluation.fitting.threshold.suspicious_metrics`.
        fitted_on: Name of the images that it was fitted on.
        unit: `image`, or `patient` for metrics of patients.
    """
    if found is None:
        return
    yield (
        f"**Suspicious** ({' + '.join(found['positive'])} of {found['threshold']:.4g} or more, fitted on the "
        f"{fitted_on}): sensitivity {cautious(found['sensitivity'], found['sensitivity_interval'])} on "
        f"{counted(found[f'sensitivity_{unit}s'], unit)}, specificity "
        f"{cautious(found['specificity'], found['specificity_interval'])} on {found[f'specificity_{unit}s']}.\n"
    )


def decision_lines(found: Mapping[str, Any] | None, *, seen: bool, unit: str = "image") -> Iterator[str]:
    """Yields the decisions and the coverage of the prediction sets; nothing for None.

    Args:
        found: Metrics from `ctonnx_train.evaluation.fitting.decisions.decision_metrics`.
        seen: Whether the sets were fitted on some of the images.
        unit: `image`, or `patient` for metrics of patients.
    """
    if found is None:
        return
    kinds = describe_reasons(found["referred_by"])
    yield (
        f"**Decisions**: {found['referred']} of {counted(found[f'{unit}s'], unit)} referred, "
        f"{cautious(found['referred_share'], found['referred_share_interval'], up=True)} ({kinds}): "
        f"{found['positive_referred']} suspicious and {found['negative_referred']} others. Among those decided, "
        f"sensitivity {cautious(found['sensitivity'], found['sensitivity_interval'])} on "
        f"{counted(found[f'sensitivity_{unit}s'], unit)}, specificity "
        f"{cautious(found['specificity'], found['specificity_interval'])} on {found[f'specificity_{unit}s']}.\n"
    )
    if "coverage" not in found:
        return
    rows = [
        [
            escape_cell(name),
            str(of[f"{unit}s"]),
            cautious(of["share"], of["share_interval"]),
            cautious(of["promised"]),
        ]
        for name, of in found["coverage"].items()
    ]
    yield from table(["class", f"{unit}s", "with their class in the prediction set", "promised"], rows)
    fitted = f" The sets were fitted on some of these {unit}s: expect a lower coverage on others." if seen else ""
    yield f"\nMean size of a prediction set: {found['set_size']:.2f} classes.{fitted}\n"


def escape_cell(text: str) -> str:
    """Returns a name escaped for a cell of a table."""
    return text.replace("|", "\\|")
