"""Markdown of the export report: report.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.parity.rounding import shown
from ctonnx.system.text import counted, table
from ctonnx_export.report.decisions import decision_lines
from ctonnx_export.report.parity_table import parity_table, show_change, show_correlation, show_counts
from ctonnx_export.report.stress import stress_lines

__all__ = ["GOLDEN_PIXELS", "as_markdown", "pending_lines"]

GOLDEN_PIXELS = "`golden.npz` contains pixels of validation images: treat it like the images themselves."

_PREPROCESSING = ("color", "crop", "resize", "intensity")


def as_markdown(facts: Mapping[str, Any]) -> str:
    """Returns the Markdown text of a report from `ctonnx_export.report.facts.report`."""
    model, precisions = facts["model"], facts["precisions"]
    how = model["preprocessing"]
    size = how["size"]
    lines = [f"# {model['name']}: export report", ""]
    if not facts["files"]:
        lines += ["**Nothing of this export was written: the earlier export in this folder was kept.**", ""]
    if model["synthetic"]:
        lines += ["**Trained on synthetic phantoms: its predictions have no clinical meaning.**", ""]
    lines += [
        "A research tool, not a medical device.",
        "",
        *(line for name, of in precisions.items() for line in _failure(name, of)),
        *pending_lines(facts),
        *([*(f"- Note: {note}." for note in facts["notes"]), ""] if facts["notes"] else []),
        "## Parity",
        "",
        "FP32 is compared with PyTorch on the validation images; the other precisions are compared with FP32 on these "
        "and on training images that calibration did not use. INT8 is chosen from several candidates: its values are "
        "those of images that did not choose it, which the row *images that judge* names.",
        "",
        *parity_table(precisions),
        "",
        *_candidates(precisions.get("int8")),
        "## Metrics of the checkpoint",
        "",
        *table(
            ["images", "number", "accuracy", "macro F1", "macro AUROC"],
            [
                [split, str(of["images"]), *map(_share, (of["accuracy"], of["macro"]["f1"], of["macro"]["auroc"]))]
                for split, of in model["metrics"].items()
            ],
        ),
        "",
        *_copies(model["data"].get("leaks")),
        *decision_lines(facts),
        *stress_lines(facts),
        "## Model",
        "",
        *table(
            ["property", "value"],
            [
                ["classes", ", ".join(model["classes"])],
                ["input", f"`pixels`, uint8 [batch, {size}, {size}, 3]"],
                ["colour, crop, resize, intensity", ", ".join(how[name] for name in _PREPROCESSING)],
                ["temperature", f"{model['temperature']:.4g}"],
                ["trained", f"{model['created']} on `{model['data']['name']}`"],
                ["data fingerprint", f"`{model['data']['fingerprint']}`"],
                ["checkpoint SHA-256", f"`{model['checkpoint_sha256']}`"],
                ["onnxsim", precisions["fp32"]["onnxsim"]],
                ["versions", ", ".join(f"{name} {version}" for name, version in model["versions"].items())],
            ],
        ),
        "",
        *_files(facts["files"]),
    ]
    return "\n".join(lines) + "\n"


def _files(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not files:
        return []
    return [
        "## Files",
        "",
        *table(
            ["file", "bytes", "SHA-256"],
            [[f"`{name}`", str(file["bytes"]), f"`{file['sha256']}`"] for name, file in files.items()],
        ),
        "",
        GOLDEN_PIXELS,
    ]


def pending_lines(facts: Mapping[str, Any]) -> list[str]:
    """Returns lines on the requested precisions that are not exported yet, if any."""
    if not (pending := facts["pending"]):
        return []
    names = " and ".join(name.upper() for name in pending)
    verb = "is" if len(pending) == 1 else "are"
    return [
        f"**{names} {verb} missing**: requested, but not exported yet when this was written. If the export was "
        f"interrupted, complete it with `ctonnx export {facts['model']['name']} --precision "
        f"{','.join([*facts['precisions'], *pending])}`.",
        "",
    ]


def _failure(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["failures"]:
        failures = "; ".join(facts["failures"])
        yield f"**{name.upper()} failed its gate and was not written**: {failures}. {facts['advice']}"
        yield ""


def _candidates(facts: Mapping[str, Any] | None) -> list[str]:
    """Returns the section on the INT8 candidates that the search tried."""
    if facts is None:
        return []
    calibration, scheme = facts["calibration"], facts["quantization"]
    corrected = scheme["bias_correction"]["images"]
    uncorrected = "bias not corrected after the training" if "learned" in scheme else "too few to correct the bias"
    least = facts["gate"]["min_agreement"]
    missed = all(attempt["failures"] for attempt in facts["attempts"])
    rejected = "Nearest to the gate, but failed, too" if missed else "Chosen, but rejected"
    rows = [
        {
            "calibrator": _name(attempt),
            "adds": attempt["residual_adds"],
            "float layers": str(len(attempt["layers_in_float"])),
            "agreement, choosing images": shown(attempt["parity"]["agreement"], least, digits=2, form="%"),
            "mean \\|dp\\|": f"{attempt['parity']['mean_dp']:.4f}",
            "heatmaps": show_correlation(attempt["parity"], facts["gate"]),
            "accuracy": show_change({**attempt, "gate": facts["gate"]}, "accuracy"),
            "ms": f"{attempt['milliseconds']:.1f}",
            "MB": f"{attempt['bytes'] / 1e6:.1f}",
            "gate": "; ".join(attempt["failures"]).replace("|", "\\|") or "passed",
        }
        for attempt in facts["attempts"]
    ]
    return [
        "## INT8: candidates",
        "",
        f"For {scheme['target']}, calibrated on {calibration['images']} images ({calibration['of']}; "
        f"{calibration['asked_for']} were requested), "
        f"{f'bias corrected on {corrected} of them' if corrected else uncorrected}. "
        f"{'Selected' if facts['passed'] else rejected}: {_name(scheme)}, "
        f"{scheme['residual_adds']} adds, {len(scheme['layers_in_float'])} layers in float. The table "
        f"has the values on the images that chose{_choosing(facts)}: they are optimistic, as the best of several is "
        "partly the best by chance; the parity table above has those of the images that judge. Milliseconds are the "
        "time for one image on the exporting machine, from a few consecutive runs: not reliable if other programs were "
        "running.",
        "",
        *table(list(rows[0]), [list(row.values()) for row in rows]),
        "",
        *_learned(facts.get("learned")),
    ]


def _name(scheme: Mapping[str, Any]) -> str:
    """Returns the calibrator of a candidate, and whether it was fine-tuned from that."""
    learned = scheme.get("learned")
    if learned is None:
        return str(scheme["calibrator"])
    again = ", bias corrected" if learned["bias_corrected"] else ""
    return f"{scheme['calibrator']}, fine-tuned{again}"


def _learned(facts: Mapping[str, Any] | None) -> list[str]:
    """Returns the paragraph on the fine-tuning and its exactness, if there was one."""
    if facts is None:
        return []
    exactness = facts["exactness"]
    chosen = "was better than the candidate without" if facts["chosen"] else "was not better than the candidate without"
    return [
        f"Fine-tuning: the weights, biases and scales of {facts['from']} were trained on FP32's outputs for "
        f"{counted(facts['images'], 'calibration image')}, {counted(facts['epochs'], 'epoch')} (seed {facts['seed']}). "
        f"No compared image had a part in it. On the images that chose, its result {chosen}. PyTorch, in which it was "
        f"trained, and onnxruntime compute the same graph: max \\|dp\\| {exactness['max_dp']:.3g} on "
        f"{counted(exactness['images'], 'compared image')}; at most {exactness['bound']:g} is allowed.",
        "",
    ]


def _choosing(facts: Mapping[str, Any]) -> str:
    """Returns the number of images that chose, in brackets; empty if it is unknown."""
    judged = facts.get("judged")
    return f" ({sum(judged['choosing'].values())}: {show_counts(judged['choosing'])})" if judged else ""


def _copies(leaks: Mapping[str, Any] | None) -> list[str]:
    """Returns the table of images that the dataset contains more than once."""
    if leaks is None:
        return []
    rows = [
        ["groups of files with identical pixels", f"{leaks['groups']} ({leaks['files']} files)"],
        ["of these, across splits", f"{leaks['groups_across_splits']} ({leaks['files_across_splits']} files)"],
        ["of these, with different labels", f"{leaks['groups_with_several_labels']}"],
        ["files that leaked from an earlier split", show_counts(leaks["leaked"])],
        ["files excluded by `--drop-leaks`", show_counts(leaks["dropped"])],
    ]
    return [*table(["copies in the dataset", ""], rows), ""]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
