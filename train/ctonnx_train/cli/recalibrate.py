"""`ctonnx recalibrate`: fits an exported model's temperature and thresholds on a site's own scans."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx_train.cli.options import class_name_option, dataset_folder, labels_option, log

if TYPE_CHECKING:
    from ctonnx_train.recalibration.scans import ScanSplit

__all__ = ["recalibrate"]


@click.command(context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    metavar="NEW",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="New .onnx file, in a folder without the golden inputs of other models.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test", "all"]),
    default="all",
    help="Scans of DATA to use.",
)
@click.option(
    "--sensitivity",
    type=FiniteRange(0, 1, min_open=True),
    help="Target sensitivity of the operating point; default: the model's.",
)
@click.option(
    "--coverage",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Coverage of the prediction sets; default: the model's, or 0.95.",
)
@click.option(
    "--novelty-quantile",
    "quantile",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Share of the scans, and of scans like them, that is not flagged as unlike the training images; default: the "
    "model's.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="Regular expression for a scan's patient in its path, if the labels file names none.",
)
@labels_option
@class_name_option
@click.option(
    "--replicates",
    type=click.IntRange(0),
    default=2000,  # metrics.REPLICATES, without the import of NumPy
    help="Number of bootstrap resamples; 0 gives no intervals of likelihood, ECE and AUROC.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed of the folds and of the bootstrap.")
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the tables.")
def recalibrate(
    model: Path,
    data: Path | None,
    output: Path,
    split: "ScanSplit",
    sensitivity: float | None,
    coverage: float | None,
    quantile: float | None,
    group_regex: str | None,
    labels: Path | None,
    class_names: dict[str, str],
    replicates: int,
    seed: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Fit a model's thresholds to a site's own labelled scans.

    MODEL is an .onnx file or a run, DATA a folder with the model's classes, with the same layout as for train, or
    --labels names the class of each scan. Writes a new file with the same network, whose temperature, operating point,
    prediction sets, novelty threshold and range of brightness are fitted on DATA; the earlier values stay in its
    history. Takes 20 suspicious scans, 20 others, and 5 of each class, or more.
    The table compares the model before and after on scans that chose neither, by cross-validation.

    Patients come from the column patient of --labels, else from --group-regex, else from DICOM headers. If they are
    known, each counts once, is kept in one fold, and the rule that decides about patients is fitted, too.

    \b
    Examples:
      ctonnx recalibrate runs/lungs/export/model.int8.onnx our-scans --output recalibrated/model.int8.onnx
      ctonnx recalibrate model.int8.onnx --labels export/labels.csv --output recalibrated/model.int8.onnx
    """
    from ctonnx.prediction.model_selection import find_model
    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_train.recalibration.recalibrate import recalibrate_model
    from ctonnx_train.recalibration.report import as_text

    data = dataset_folder(data, labels)
    path = find_model(model)
    remove_leftovers([output.parent], log)
    found = recalibrate_model(
        path,
        data,
        output,
        split=split,
        class_names=class_names,
        group_regex=group_regex,
        labels_file=labels,
        sensitivity=sensitivity,
        coverage=coverage,
        quantile=quantile,
        replicates=replicates,
        seed=seed,
        threads=threads,
        log=log,
    )
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else as_text(found))
    if found["golden"]:
        log("golden.npz contains pixels of validation images: treat it like the images themselves")
