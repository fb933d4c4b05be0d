"""`ctonnx bench`: measures speed, size and correctness of models and peers on this device."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx.cli.model_banner import show_newer_run
from ctonnx.cli.options import FiniteRange, provider_option, threads_option
from ctonnx.parity.rounding import share_of_percent
from ctonnx_bench.cases.settings import ReportOptions, Settings

if TYPE_CHECKING:
    from ctonnx.inference.providers import Provider

__all__ = ["bench"]


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    found = []
    for word in value.split(","):
        if not word.strip().isdecimal() or int(word) < 1:
            raise click.BadParameter(f"expected positive whole numbers joined by commas, found '{word.strip()}'")
        found.append(int(word))
    return tuple(dict.fromkeys(found))


def _peers(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from ctonnx_bench.cases.adapters.adapter import PEERS

    names = PEERS if value == "all" else tuple(name.strip() for name in value.split(",") if name.strip())
    if value and not names:
        raise click.BadParameter(f"expected names joined by commas, or all; found '{value}'")
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"expected some of {', '.join(PEERS)}, joined by commas, or all; found '{unknown[0]}'")
    return tuple(dict.fromkeys(names))


def _share(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        share = share_of_percent(float(value.removesuffix("%")))
    except ValueError:
        share = -1.0
    if not 0 <= share < 100:
        raise click.BadParameter(f"expected a percentage such as 10%, found '{value}'")
    return share


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = () if value is None else tuple(name.strip() for name in value.split(","))
    if not all(names):
        raise click.BadParameter(f"expected names joined by commas, found an empty one in '{value}'")
    return names


def _images(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not (1 <= number < 1e15 and number.is_integer()):
        raise click.BadParameter(f"expected a number of images such as 10e6, found '{value}'")
    return int(number)


def _deadline(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    from ctonnx_bench.benchmark.plan import seconds_of

    try:
        return seconds_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("models", metavar="[MODEL]...", type=click.Path(path_type=Path), nargs=-1)
@provider_option
@click.option(
    "--batch-size",
    "batch_sizes",
    default=",".join(map(str, Settings.batch_sizes)),
    show_default=True,
    metavar="INTEGER,...",
    callback=_numbers,
    help="Batch sizes to measure.",
)
@threads_option
@click.option(
    "--duration",
    type=FiniteRange(0, 86_400),
    default=Settings.duration,
    show_default=True,
    help="Seconds for which each case is timed, over all rounds.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=Settings.rounds,
    show_default=True,
    help="Number of processes for each case.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Dataset with labelled images to check outputs on; default: golden.npz.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run whose PyTorch checkpoint is the reference; needs torch.",
)
@click.option(
    "--peers",
    default="",
    metavar="NAME,...|all",
    callback=_peers,
    help="Peers to measure: pytorch, pytorch-fp16, torch-compile, torch-compile-fp16, torch-graphs-fp16, "
    "onnxruntime, openvino, openvino-file, openvino-int8.",
)
@click.option(
    "--end-to-end",
    "files",
    type=click.Path(exists=True),
    metavar="DIR",
    help="Folder of images to time from the file to the prediction, instead of from the pixels.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for bench.json, bench.md and bench.html (with --family: family.json, family.md, family.png); default: "
    "bench/ in the models' run or the working folder.",
)
@click.option(
    "--sweep",
    type=click.Choice(["threads"]),
    help="Sweep over thread counts up to --threads, workers, spinning and batch sizes; saves the best settings.",
)
@click.option(
    "--compare",
    "baseline",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="An earlier bench.json to compare latency, cold start and peak memory with.",
)
@click.option(
    "--fail-over",
    metavar="PERCENT",
    callback=_share,
    help="Allowed worsening of a measurement with --compare; more is exit code 1."
    f"  [default: {ReportOptions.fail_over:.0%}]",
)
@click.option(
    "--publish",
    "published",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Markdown file to write the results into, if those of ctonnx are right and reliable.",
)
@click.option("--hardware", metavar="NAME", help="Name of this machine for --publish; default: its processor or GPU.")
@click.option(
    "--family",
    is_flag=True,
    help="Compare models of several exports, such as a network and the pruned one, with the first, and plot accuracy "
    "against latency.",
)
@click.option(
    "--names",
    metavar="NAME,...",
    callback=_names,
    help="Names of the models with --family, one for each file; default: run and precision.",
)
@click.option(
    "--plan",
    "images",
    metavar="IMAGES",
    callback=_images,
    help="Number of images, such as 10e6: measure only how fast the files of --end-to-end are predicted here, and show "
    "how many machines predict that many before --deadline.",
)
@click.option("--deadline", metavar="TIME", callback=_deadline, help="Time for --plan, such as 8h, 90min or 2d.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON document instead of the table.")
def bench(
    models: tuple[Path, ...],
    provider: "Provider",
    batch_sizes: tuple[int, ...],
    threads: int | None,
    duration: float,
    rounds: int,
    data: Path | None,
    reference: Path | None,
    peers: tuple[str, ...],
    files: str | None,
    sweep: str | None,
    output: Path | None,
    baseline: Path | None,
    fail_over: float | None,
    published: Path | None,
    hardware: str | None,
    family: bool,
    names: tuple[str, ...],
    images: int | None,
    deadline: float | None,
    as_json: bool,
) -> None:
    """Measure speed, size and correctness of models on this device.

    MODEL is an .onnx file, a folder of them, or a run (default: all precisions of the newest run with an export). Each
    case runs in separate processes, in turn with the others, and every output is checked while it is timed: if ctonnx's
    are wrong, the exit code is 1. "right" means agreement with PyTorch's outputs for the golden inputs, or for --data
    with those of FP32 or, with --reference, PyTorch; it does not mean a correct diagnosis.

    \b
    Examples:
      ctonnx bench
      ctonnx bench runs/lungs --batch-size 1,8,32 --data DATA --peers all
      ctonnx bench --provider cuda --duration 30
      ctonnx bench --end-to-end scans/
      ctonnx bench --sweep threads --batch-size 1,4
      ctonnx bench --publish docs/reference/results.md --hardware "mini-PC with an N100"
      ctonnx bench --compare old/bench.json --fail-over 10%
      ctonnx bench runs/lungs runs/lungs-operations-0.5 --family --data DATA
      ctonnx bench --plan 10e6 --deadline 8h --end-to-end scans/
    """
    if images is not None or deadline is not None:
        _show_plan(models, provider, threads, images, deadline, files, duration, rounds, as_json=as_json)
        return
    from ctonnx.errors import CheckFailed
    from ctonnx.system.files import json_text
    from ctonnx_bench.analysis.regression import table
    from ctonnx_bench.benchmark.workflow import measure_and_report
    from ctonnx_bench.report.tables import terminal

    if names and not family:
        raise click.UsageError("expected --family with --names, found none: it names the models of a family")
    others = {
        "--reference": reference,
        "--peers": peers,
        "--end-to-end": files,
        "--sweep": sweep,
        "--compare": baseline,
        "--publish": published,
    }
    if family and (found := [name for name, value in others.items() if value]):
        raise click.UsageError(
            f"expected --family without {found[0]}: it measures ctonnx's models against the first of them"
        )
    if fail_over is not None and baseline is None:
        raise click.UsageError("expected --compare with --fail-over, found none: name the bench.json to compare with")
    if hardware is not None and published is None:
        raise click.UsageError("expected --publish with --hardware, found none: name the file to publish in")
    if files is not None and data is not None:
        raise click.UsageError("expected --data or --end-to-end, found both: each names the images to check on")
    if sweep and (peers or files is not None):
        raise click.UsageError(
            "expected --sweep without --peers and --end-to-end: it measures only ctonnx, from ready pixels"
        )
    if sweep and 1 not in batch_sizes:
        raise click.UsageError(f"expected 1 among --batch-size with --sweep, found {','.join(map(str, batch_sizes))}")
    settings = Settings(
        models=models,
        provider=provider,
        batch_sizes=batch_sizes,
        threads=threads,
        sweep=sweep is not None,
        duration=duration,
        rounds=rounds,
        data=data,
        files=files,
        reference=reference,
        peers=peers,
    )
    if not models:
        show_newer_run()
    allowed = ReportOptions.fail_over if fail_over is None else fail_over
    options = ReportOptions(output=output, baseline=baseline, fail_over=allowed, published=published, hardware=hardware)
    command = shlex.join(["ctonnx", *sys.argv[1:]])
    if family:
        _family(settings, names, output, command, as_json)
        return
    report = measure_and_report(settings, options, command=command, log=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json_text(report.document), nl=False)
    else:
        click.echo(terminal(report.document))
        if report.changes is not None:
            caveats = report.document["compared_with"]["cautions"]
            click.echo("\n" + "\n".join([table(report.changes, allowed), *caveats]))
    for line in report.messages:
        click.echo(line, err=True)
    if report.failures:
        raise CheckFailed(";\n".join(report.failures))


def _family(settings: Settings, names: tuple[str, ...], output: Path | None, command: str, as_json: bool) -> None:
    """Measures a family, and prints its report."""
    from ctonnx.errors import CheckFailed
    from ctonnx.system.files import json_text
    from ctonnx_bench.benchmark.family.tables import terminal
    from ctonnx_bench.benchmark.family.workflow import measure_family

    report = measure_family(settings, names, output, command=command, log=lambda line: click.echo(line, err=True))
    click.echo(json_text(report.document) if as_json else terminal(report.document), nl=not as_json)
    for line in report.messages:
        click.echo(line, err=True)
    if report.failures:
        raise CheckFailed(";\n".join(report.failures))


_OF_PLANS = {"models", "provider", "threads", "images", "deadline", "files", "duration", "rounds", "as_json"}


def _show_plan(
    models: tuple[Path, ...],
    provider: "Provider",
    threads: int | None,
    images: int | None,
    deadline: float | None,
    files: str | None,
    duration: float,
    rounds: int,
    *,
    as_json: bool,
) -> None:
    """Measures the throughput on files, and prints the plan."""
    from ctonnx.system.files import json_text
    from ctonnx_bench.benchmark.plan import measure_throughput, plan_for

    context = click.get_current_context()
    for option, value in (("--plan", images), ("--deadline", deadline), ("--end-to-end", files)):
        if value is None:
            raise click.UsageError(f"expected {option} for a plan, found none; see the examples of --help")
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name not in _OF_PLANS and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"expected --plan without {max(parameter.opts, key=len)}, found both")
    if len(models) > 1:
        raise click.UsageError(f"expected one model for --plan, found {len(models)}")
    if not models:
        show_newer_run()
    throughput = measure_throughput(
        models[0] if models else None,
        str(files),
        provider=provider,
        threads=threads,
        duration=duration,
        passes=rounds,
        log=lambda line: click.echo(line, err=True),
    )
    plan = plan_for(images or 0, deadline or 0.0, throughput)
    click.echo(json_text(plan.as_dict()), nl=False) if as_json else click.echo("\n".join(plan.lines()))
