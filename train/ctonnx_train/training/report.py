"""The reports that a training leaves in its run's folder: an evaluation of each split, and the curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.run import Run
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.evaluation.evaluate import Evaluation, summarize
from ctonnx_train.evaluation.report import write_curves, write_evaluation
from ctonnx_train.runs.record import RunRecord

__all__ = ["write_reports"]


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
    """Writes `evaluation/valid`, `evaluation/test` where there are test images, and `curves.png`.

    Args:
        run: Its folder.
        record: Its run.json.
        folder: where they are written; the run's own, or one that is moved there.
        splits: The samples.
        digests: of their pixels, by path.
        probabilities: of the evaluated splits, [images, classes].
        history: The epochs.
    """
    known: dict[Split, set[str]] = {split: {digests[sample.path] for sample in splits[split]} for split in splits}
    for split, answers in probabilities.items():
        labels = np.array([sample.label for sample in splits[split]])
        own = [digests[sample.path] for sample in splits[split]]
        document = summarize(
            model={
                "name": run.name,
                "kind": "PyTorch checkpoint",
                "path": str(run.folder),
                "classes": list(record.classes),
                "synthetic": record.synthetic,
            },
            data={
                "path": record.data["folder"],
                "split": split,
                "images": len(labels),
                "trained_on_with_copies": record.data["leaks"],
                "seen_in_training": {
                    "trained_on": sum(digest in known["train"] for digest in own),
                    "chosen_by": sum(digest in known["valid"] for digest in own),
                    "dropped": 0,
                },
            },
            metrics={name: value for name, value in record.metrics[split].items() if name != "suspicious"},
            suspicious=record.metrics[split]["suspicious"],
            point=record.operating_point,
        )
        write_evaluation(
            Evaluation(document=document, probabilities=answers, labels=labels),
            folder / run.evaluation_folder.name / split,
        )
    write_curves(history, run.name, record.training["best_epoch"], folder / "curves.png")
