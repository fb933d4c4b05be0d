"""`ctonnx evaluate`: metrics of a model on labelled images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.cli.options import threads_option
from ctonnx.parity.rounding import exactly
from ctonnx_train.cli.options import Percent, class_name_option, dataset_folder, labels_option, log

if TYPE_CHECKING:
    from ctonnx.artifacts.decision.patient_rule import Aggregate
    from ctonnx_train.evaluation.evaluate import EvaluatedSplit

__all__ = ["evaluate"]

_ONE_PERCENT = 0.01


@click.command(context_settings={"show_default": True})
@click.argument("model", metavar="MODEL_OR_RUN", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test", "all"]),
    help="Images of DATA to evaluate; default: test, else valid, else all; with --external all.",
)
@click.option(
    "--compare",
    metavar="OTHER",
    type=click.Path(path_type=Path),
    help="Run or .onnx file to compare with: McNemar's test and top-1 agreement.",
)
@click.option(
    "--external",
    is_flag=True,
    help="Evaluate an exported model on data whose classes are others: is the scan suspicious?",
)
@click.option(
    "--positive",
    metavar="CLASSES",
    multiple=True,
    help="Positive classes of DATA, with --external, separated by commas; default: all but normal, benign.",
)
@click.option(
    "--negative",
    metavar="CLASSES",
    multiple=True,
    help="Negative classes of DATA, with --external, separated by commas; default: the others.",
)
@click.option(
    "--stress",
    is_flag=True,
    help="Change the scans as other scanners, windows, viewers and formats would; show which decisions change.",
)
@click.option(
    "--fail-over",
    type=Percent(),
    metavar="PERCENT",
    help="Largest percentage (5 or 5%, not 0.05) of the scans decided before that a mild or middle change of --stress "
    "may flip or refer; else exit code 1, also if all were referred before. Inverted scans may be referred.",
)
@click.option(
    "--drop-leaks",
    is_flag=True,
    help="Leave out images that the model was trained on (identical pixels), and those of its training patients.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="Regular expression for an image's patient in its path: metrics per patient, and intervals that allow for "
    "images of one patient being alike.",
)
@click.option(
    "--aggregate",
    type=click.Choice(["max", "mean", "top-k"]),
    help="Slices that a patient's score is the mean of: the most suspicious, all, or the K most suspicious; default: "
    "those of the model's rule for patients, if it has one. Needs patients.",
)
@click.option(
    "--top-k",
    metavar="K",
    type=click.IntRange(1),
    show_default="3",
    help="Number of slices of --aggregate top-k.",
)
@labels_option
@class_name_option
@click.option(
    "--replicates",
    type=click.IntRange(0),
    default=2000,  # metrics.REPLICATES, without the import of NumPy
    help="Number of bootstrap resamples; 0 gives no intervals.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed of the bootstrap.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for evaluation.json, report.md and the plots.",
)
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the report.")
def evaluate(
    model: Path,
    data: Path | None,
    split: "EvaluatedSplit | None",
    compare: Path | None,
    external: bool,
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    stress: bool,
    fail_over: float | None,
    drop_leaks: bool,
    group_regex: str | None,
    labels: Path | None,
    aggregate: "Aggregate | None",
    top_k: int | None,
    class_names: dict[str, str],
    replicates: int,
    seed: int,
    output: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure a checkpoint or an exported model on labelled images.

    MODEL_OR_RUN is the folder or name of a run, or an .onnx file. DATA has the same layout as for train, or --labels
    describes it, but it need not have all classes. Each metric has a 95 % bootstrap interval. Images that the model was
    trained on are identified by their pixels, patients by the pseudonyms of the run.

    Where the patients are known, the metrics are also those of patients, by the model's rule for them, and of their
    subgroups.

    With --external the classes of DATA may be others, such as benign and malignant. The first line is the verdict on
    the operating point; the exit code is 1 if it does not hold there. Copies of a scan are left out.

    With --stress, the same scans are changed in contrast, brightness, window, shape, sharpness, noise, compression and
    orientation. Of the scans that were decided before, it reports the share that each change flips and the share that
    it refers; of all, the share whose predicted class changes. For a run, the result is kept for the model card of
    ctonnx export.

    \b
    Examples:
      ctonnx evaluate runs/lungs chest-ct --output lungs-test
      ctonnx evaluate runs/lungs --labels export/labels.csv
      ctonnx evaluate runs/lungs chest-ct --compare runs/lungs/export/model.fp32.onnx
      ctonnx evaluate model.int8.onnx other-hospital --external --positive malignant --negative normal,benign
      ctonnx evaluate runs/lungs/export/model.int8.onnx chest-ct --stress --fail-over 5%
    """
    if fail_over is not None and not stress:
        raise click.UsageError("expected --fail-over with --stress, found it alone")
    if top_k and aggregate != "top-k":
        raise click.UsageError(f"expected --top-k with --aggregate top-k, found {aggregate or 'it alone'}")
    if fail_over is not None and 0 < fail_over < _ONE_PERCENT:
        text, meant = (exactly(share, form="%").removesuffix("%") for share in (fail_over, round(100 * fail_over, 12)))
        log(f"warning: --fail-over is a percentage: {text} %: did you mean {meant}?")
    data = dataset_folder(data, labels)
    if external:
        if aggregate:
            raise click.UsageError("expected --external or --aggregate, found both")
        if stress:
            raise click.UsageError("expected --external or --stress, found both")
        if compare:
            raise click.UsageError("expected --external or --compare, found both")
        _evaluate_external(
            model,
            data,
            output,
            as_json,
            positive=positive,
            negative=negative,
            split=split or "all",
            labels=labels,
            class_names=class_names,
            group_regex=group_regex,
            drop_leaks=drop_leaks,
            replicates=replicates,
            seed=seed,
            threads=threads,
        )
        return
    if positive or negative:
        raise click.UsageError("expected --positive and --negative with --external, found them without it")
    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_train.network.openmp import use_passive_waiting

    use_passive_waiting()  # before PyTorch is loaded
    from ctonnx_train.evaluation.evaluate import evaluate_model
    from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
    from ctonnx_train.evaluation.report import as_markdown, check_output_folder, write_evaluation

    if output:
        remove_leftovers([output.parent], log)
        check_output_folder(output)  # before the work
    opened = open_evaluated_model(model, threads=threads)
    found = evaluate_model(
        opened,
        data,
        split=split,
        other=open_evaluated_model(compare, threads=threads) if compare else None,
        labels_file=labels,
        class_names=class_names,
        group_regex=group_regex,
        aggregate=aggregate,
        top_k=top_k,
        drop_leaks=drop_leaks,
        replicates=replicates,
        seed=seed,
        log=log,
    )
    section, plots = "", {}
    if stress:
        from ctonnx_train.evaluation.report import evaluation_title
        from ctonnx_train.stress import report
        from ctonnx_train.stress.plot import plot_stress
        from ctonnx_train.stress.stress_test import stress_test

        found.document["stress"] = stressed = stress_test(opened, found, log=log)
        section = report.as_markdown(stressed)
        plots = {"stress": plot_stress(stressed, evaluation_title(found.document))}
        if opened.run is not None and opened.run.folder == opened.path:
            report.write_of_run(stressed, opened.run)
            log(f"{opened.run.stress_file}: wrote the stress test, for the model card of ctonnx export")
    try:
        if as_json:
            click.echo(json.dumps(found.document, indent=2, ensure_ascii=False))
        else:
            click.echo("\n".join(filter(None, (as_markdown(found.document), section))))
    finally:  # an error in printing or in writing does not prevent the other
        if output:
            write_evaluation(found, output, section=section, more_plots=plots)
            click.echo(f"{output}: wrote evaluation.json, report.md and the plots", err=True)
    if fail_over is not None:
        _end_by_gate(found.document["stress"], fail_over)


def _evaluate_external(model: Path, data: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    from ctonnx.prediction.model_selection import find_model
    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_train.evaluation.external.external import evaluate_external
    from ctonnx_train.evaluation.external.report import as_markdown, write_report
    from ctonnx_train.evaluation.report import check_output_folder

    path = find_model(model)
    if output:
        remove_leftovers([output.parent], log)
        check_output_folder(output)  # before the work
    found = evaluate_external(path, data, **options, log=log)
    try:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else as_markdown(found))
    finally:  # an error in printing or in writing does not prevent the other
        if output:
            write_report(found, output)
            click.echo(f"{output}: wrote evaluation.json and report.md", err=True)
    if found["verdict"]["name"] == "does not hold":
        click.get_current_context().exit(1)


def _end_by_gate(document: dict[str, Any], bound: float) -> None:
    """Logs which changes break the bound, and ends the command with exit code 1 if there are any."""
    from ctonnx_train.stress.gate import failures
    from ctonnx_train.stress.report import gate_lines

    for line in gate_lines(document, bound):
        log(line)
    if failures(document, bound):
        click.get_current_context().exit(1)
