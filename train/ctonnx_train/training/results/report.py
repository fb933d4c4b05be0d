"""Reports of a training: a summary for the terminal, an evaluation of each split, and the training curves."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.caveats import model_caveats
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.rule import describe_basis
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import VALIDATION_IMAGES
from ctonnx.parity.rounding import cautious
from ctonnx_train.data.leakage import Leaks
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.evaluation.evaluate import Evaluation, summarize
from ctonnx_train.evaluation.fitting.decisions import decisions_as_text
from ctonnx_train.evaluation.patients.report import patient_table
from ctonnx_train.evaluation.report import write_curves, write_evaluation
from ctonnx_train.evaluation.statistics.metrics import as_table
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.results.out_of_fold import describe_folds

__all__ = ["summary", "write_reports"]

_OTHERS = ("suspicious", "decisions", "patients")  # in the metrics of run.json, and apart from them in an evaluation


def write_reports(
    run: Run,
    record: RunRecord,
    folder: Path,
    *,
    splits: Mapping[Split, Sequence[Sample]],
    digests: Mapping[str, str],
    probabilities: Mapping[Split, NDArray[np.floating[Any]]],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Writes `evaluation/valid`, `evaluation/test` (if there are test images) and `curves.png` to a folder.

    The folder is that of the run, or one that will be moved there. `digests` are those of the images' pixels, by path;
    `probabilities` those of each evaluated split, [images, classes]; `history` has the rows of metrics.csv.
    """
    known: dict[Split, set[str]] = {split: {digests[sample.path] for sample in splits[split]} for split in splits}
    for split, values in probabilities.items():
        labels = np.array([sample.label for sample in splits[split]])
        own = [digests[sample.path] for sample in splits[split]]
        is_out_of_fold = split == "valid" and "folds" in record.training  # another network predicted each image
        document = summarize(
            model={
                "name": run.name,
                "kind": "PyTorch checkpoint",
                "path": str(run.folder),
                "classes": list(record.classes),
                "synthetic": record.synthetic,
                "fitted_on": VALIDATION_IMAGES,
            },
            data={
                "path": record.data["folder"],
                "split": split,
                "images": len(labels),
                "trained_on_with_copies": record.data["leaks"],
                "seen_in_training": {
                    "trained_on": 0 if is_out_of_fold else sum(digest in known["train"] for digest in own),
                    "chosen_by": sum(digest in known["valid"] for digest in own),
                    "dropped": 0,
                },
            },
            metrics={name: value for name, value in record.metrics[split].items() if name not in _OTHERS},
            suspicious=record.metrics[split]["suspicious"],
            decisions=record.metrics[split]["decisions"],
            patients=record.metrics[split].get("patients"),
            rule=record.patient_rule,
            point=record.operating_point,
            sets=record.prediction_sets,
            novelty=record.novelty,
            shortcuts=record.shortcuts,
        )
        write_evaluation(
            Evaluation(document=document, probabilities=values, labels=labels),
            folder / run.evaluation_folder.name / split,
        )
    write_curves(history, run.name, record.training["best_epoch"], folder / "curves.png")


def summary(record: RunRecord, leaks: Leaks) -> Iterator[str]:
    """Yields lines with the caveats and metrics of a run, its operating point, the leaks and the speed."""
    titles = {"valid": "validation", "test": "test"}
    found = model_caveats(
        record.metrics,
        record.operating_point,
        record.prediction_sets,
        record.shortcuts,
        record.novelty,
        rule=record.patient_rule,
    )
    for caveat in found:
        yield f"warning: {caveat}"
    if folds := record.training.get("folds"):
        titles["valid"] = "out-of-fold"
        yield describe_folds(folds) + "\n"
    for split, metrics in record.metrics.items():
        yield as_table(titles[split], metrics) + "\n"
    if record.ensemble_metrics and folds:
        title = f"test, the mean of the {len(folds)} folds' networks (export --ensemble)"
        yield as_table(title, record.ensemble_metrics["test"]) + "\n"
    if point := record.operating_point:
        gap = "" if point.gap is None else f", in the gap from {point.gap[0]:.6g} to {point.gap[1]:.6g}"
        yield f"suspicious: {' + '.join(point.positive)} of {point.threshold:.6g} or more{gap}"
        for split, metrics in record.metrics.items():
            found = metrics["suspicious"]
            shown = (f"{n} {cautious(found[n], found[f'{n}_interval'])}" for n in ("sensitivity", "specificity"))
            yield f"  {', '.join(shown)} on the {titles[split]} images{_fitted_on(point) if split == 'valid' else ''}"
        yield ""
        has_sets, has_novelty = record.prediction_sets is not None, record.novelty is not None
        yield f"decisions rest on {describe_basis(sets=has_sets, novelty=has_novelty)}"
        for split, metrics in record.metrics.items():
            fitted = ", on which the sets were fitted" if split == "valid" and record.prediction_sets else ""
            yield f"  {decisions_as_text(metrics['decisions'])} on the {titles[split]} images{fitted}"
        yield ""
    for split, metrics in record.metrics.items():
        if patients := metrics.get("patients"):
            yield from patient_table(titles[split], patients)
            yield ""
    yield f"data: {leaks.sentence()}"
    training = record.training
    yield f"{training['seconds_per_epoch']:.1f} s per epoch, {training['data_share']:.1%} of it for data"


def _fitted_on(point: OperatingPoint) -> str:
    if not point.leaked_images or point.leaked_images_used:
        return ", on which it was fitted"
    return f"; it was fitted without the {point.leaked_images} of these that leaked"
