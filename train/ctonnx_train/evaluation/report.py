"""An evaluation as files: JSON, Markdown and plots."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ctonnx.artifacts.spec import VALIDATION_IMAGES
from ctonnx.errors import CtonnxError
from ctonnx.parity.comparison import MAX_DP
from ctonnx.parity.rounding import shown
from ctonnx.system.files import atomic_file, atomic_folder, write_text
from ctonnx.system.text import counted, escape_undecodable, table
from ctonnx_train.evaluation.drawing.plots import (
    plot_confusion,
    plot_curves,
    plot_reliability,
    plot_risk,
    plot_roc,
    save_plot,
)
from ctonnx_train.evaluation.evaluate import Evaluation
from ctonnx_train.evaluation.fitting.lines import decision_lines, escape_cell, suspicious_lines
from ctonnx_train.evaluation.patients.report import patient_lines

__all__ = ["as_markdown", "check_output_folder", "evaluation_title", "write_curves", "write_evaluation"]

_FILES = {"evaluation.json", "report.md", "confusion.png", "roc.png", "reliability.png", "risk.png", "stress.png"}
_NAMES = {
    "precision": "precision",
    "sensitivity": "sensitivity (recall)",
    "specificity": "specificity",
    "f1": "F1",
    "auroc": "AUROC",
}


def check_output_folder(folder: Path) -> None:
    """Raises CtonnxError unless the folder is new, empty, or contains only an earlier evaluation."""
    if folder.is_dir() and (foreign := {file.name for file in folder.iterdir()} - _FILES):
        raise CtonnxError(
            f"expected a new folder or an earlier evaluation at '{folder}', found other files ('{min(foreign)}' "
            "first); choose another --output"
        )


def write_evaluation(
    evaluation: Evaluation, folder: Path, *, section: str = "", more_plots: Mapping[str, Figure] | None = None
) -> None:
    """Writes the folder of an evaluation atomically; an earlier evaluation is replaced.

    Args:
        evaluation: Result of `ctonnx_train.evaluation.evaluate.evaluate_model`.
        folder: Folder to write.
        section: Markdown for the end of the report.
        more_plots: Plots for the report, by the name of the file without its extension.

    Raises:
        CtonnxError: If the folder contains other files.
        OSError: If the folder cannot be written.
    """
    check_output_folder(folder)
    document, classes = evaluation.document, evaluation.document["model"]["classes"]
    title = evaluation_title(document)
    metrics = document["metrics"]
    with atomic_folder(folder) as temporary:
        write_text(
            temporary / "evaluation.json", escape_undecodable(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        )
        text = as_markdown(document, plots=True)
        if section:
            text += f"\n{section}"
        for name, figure in (more_plots or {}).items():
            save_plot(figure, temporary / f"{name}.png")
            text += f"\n![{name}]({name}.png)\n"
        write_text(temporary / "report.md", escape_undecodable(text))
        probabilities, labels = evaluation.probabilities, evaluation.labels
        save_plot(plot_confusion(metrics["confusion_matrix"], classes, title), temporary / "confusion.png")
        save_plot(plot_roc(probabilities, labels, classes, metrics, title), temporary / "roc.png")
        save_plot(plot_reliability(probabilities, labels, metrics["ece"], title), temporary / "reliability.png")
        save_plot(plot_risk(probabilities, labels, classes, document, title), temporary / "risk.png")


def write_curves(history: Sequence[Mapping[str, Any]], title: str, best_epoch: int, file: Path) -> None:
    """Writes the plot of a training's curves."""
    with atomic_file(file) as temporary:
        save_plot(plot_curves(history, title, best_epoch=best_epoch), temporary)


def as_markdown(document: Mapping[str, Any], *, plots: bool = False) -> str:
    """Returns an evaluation's document as Markdown, optionally with the plots as files next to it."""
    return "\n".join(_lines(document, plots)) + "\n"


def _lines(document: Mapping[str, Any], plots: bool) -> Iterator[str]:
    model, data, metrics = document["model"], document["data"], document["metrics"]
    yield f"# {evaluation_title(document)}\n"
    for caveat in document.get("caveats", ()):
        yield f"**Warning: {caveat}.**\n"
    if model["synthetic"]:
        yield "**Trained on synthetic phantoms: these metrics have no clinical meaning.**\n"
    images = f"{counted(data['images'], 'image')} ({data['split']})"
    yield f"{model['kind']} `{model['path']}` on {images} of `{data['path']}`."
    yield "A research tool, not a medical device.\n"
    yield from _flaws(data)
    level = f"{metrics['bootstrap']['level']:.0%} interval" if "bootstrap" in metrics else "interval"
    intervals = metrics.get("intervals", {})
    whole = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "ece": "ECE"}
    rows = [[label, _value(metrics[name]), _interval(intervals.get(name))] for name, label in whole.items()]
    macro, bounds = metrics["macro"], intervals.get("macro", {})
    rows += [[f"macro {label}", _value(macro[name]), _interval(bounds.get(name))] for name, label in _NAMES.items()]
    yield from table(["metric", "value", level], rows)
    yield ""
    rows = []
    for name, values in metrics["per_class"].items():
        bounds = intervals.get("per_class", {}).get(name, {})
        cells = [f"{_value(values[metric])} {_interval(bounds.get(metric))}".strip() for metric in _NAMES]
        rows.append([escape_cell(name), str(values["images"]), *cells])
    yield from table(["class", "images", *_NAMES.values()], rows)
    yield ""
    names = [escape_cell(name) for name in model["classes"]]
    rows = [[name, *map(str, row)] for name, row in zip(names, metrics["confusion_matrix"], strict=True)]
    yield from table(["true \\ predicted", *names], rows)
    yield ""
    yield from suspicious_lines(document["suspicious"], document["model"].get("fitted_on", VALIDATION_IMAGES))
    yield from decision_lines(document.get("decisions"), seen=_fitted_the_values(document))
    if patients := document.get("patients"):
        yield from patient_lines(patients, seen=_fitted_the_values(document))
    yield from _comparison(document.get("comparison"))
    if "bootstrap" in metrics:
        how = metrics["bootstrap"]
        resamples = f"{counted(how['replicates'], 'bootstrap resample')} of {_units(how)}"
        score = "Wilson score"
        if how["unit"] != "image":
            score += f" for the effective number of images, as if all images of a {how['unit']} were alike"
        yield (
            f"Intervals: percentiles of {resamples} (seed {how['seed']}); of sensitivity and specificity at the "
            f"operating point: {score}. The ECE of few images is too high, and that of their resamples even "
            "higher."
        )
    if plots:
        yield ""
        yield from (f"![{name}]({name}.png)" for name in ("confusion", "roc", "reliability", "risk"))


def _flaws(data: Mapping[str, Any]) -> Iterator[str]:
    """Yields notes on images that were seen in training and on copies in the training data."""
    seen, leaks = data["seen_in_training"], data["trained_on_with_copies"]
    if seen["trained_on"] is None:
        yield "- Whether the model was trained on some of these images is unknown: its run is not next to it."
    elif seen["dropped"]:
        verb = "was" if seen["dropped"] == 1 else "were"
        yield f"- {counted(seen['dropped'], 'image')} that the model was trained on {verb} left out."
    elif seen["trained_on"]:
        verb = "is" if seen["trained_on"] == 1 else "are"
        yield (
            f"- **{seen['trained_on']} of these images {verb} among those that the model was trained on: the metrics "
            "are optimistic.**"
        )
    else:
        yield "- None of these images is among those that the model was trained on (identical pixels)."
    if leaks and not leaks["groups"] and not any(leaks["leaked"].values()):
        yield "- No image is in its dataset twice (identical pixels)."
    elif leaks:
        leaked = ", ".join(f"{count} of {split}" for split, count in leaks["leaked"].items() if count) or "none"
        dropped = ", ".join(f"{count} of {split}" for split, count in leaks["dropped"].items() if count)
        yield (
            f"- Its dataset contains {counted(leaks['groups'], 'group')} of files with identical pixels "
            f"({counted(leaks['files'], 'file')}), "
            f"{leaks['groups_across_splits']} of them across splits, {leaks['groups_with_several_labels']} with "
            f"different labels. Files that leaked from an earlier split: {leaked}"
            + (f"; left out: {dropped}." if dropped else ".")
        )
    yield ""


def _fitted_the_values(document: Mapping[str, Any]) -> bool:
    """Returns whether some of the images are among those that the values of the decision were fitted on."""
    data = document["data"]
    if document["model"].get("fitted_on", VALIDATION_IMAGES) == VALIDATION_IMAGES:
        return bool(data["seen_in_training"]["chosen_by"])
    return bool(data.get("recalibrated_on"))


def _comparison(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    test, seen = found["mcnemar"], found["seen_in_training"]
    yield f"## Compared with {found['other']['kind']} `{found['other']['path']}`\n"
    trained_on = "not known" if seen["trained_on"] is None else seen["trained_on"]
    rows = {
        "accuracy, this and the other": f"{_value(found['accuracy'])}, {_value(found['other_accuracy'])}",
        "agreement": shown(found["agreement"], digits=2, form="%"),
        "max and mean \\|dp\\|": f"{found['max_dp']:.3g}, {found['mean_dp']:.3g}",
        "only this one right, only the other right": f"{test['only_first_right']}, {test['only_second_right']}",
        _title_of_test(test): f"p = {test['p_value']:.3g}",
        "images that the other was trained on": str(trained_on),
    }
    yield from table(["metric", "value"], list(rows.items()))
    yield f"\n{MAX_DP}.\n"


def _title_of_test(test: Mapping[str, Any]) -> str:
    if "units" not in test:
        return "McNemar's exact test, two-sided"
    return f"exact test, two-sided, that swaps the two on all images of a patient ({test['units']} differ)"


def evaluation_title(document: Mapping[str, Any]) -> str:
    """Returns the title of a report: the model's name and the split."""
    titles = {"valid": "validation", "test": "test", "train": "training", "all": "all"}
    return f"{document['model']['name']}: {titles[document['data']['split']]} images"


def _units(how: Mapping[str, Any]) -> str:
    unit = how["unit"].replace("group of", "groups of" if how["units"] != 1 else "group of")
    return f"{how['units']} {unit}" if unit.startswith("group") and " " in unit else counted(how["units"], unit)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
