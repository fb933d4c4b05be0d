"""Report of a family: a table for the terminal, and Markdown."""

from collections.abc import Mapping
from typing import Any

from ctonnx.parity.rounding import cautious, rounded_down
from ctonnx.system.text import aligned, counted, quoted, table
from ctonnx_bench.analysis.statistics import marks
from ctonnx_bench.report.notes import unreliable_lines
from ctonnx_bench.report.tables import environment_lines, file_lines

__all__ = ["columns", "markdown", "notes", "terminal"]


def columns(document: Mapping[str, Any]) -> list[list[str]]:
    """Returns the cells of the table, heading first: a row for each model at each batch size.

    Accuracies, their differences and the agreement are never rounded in a model's favour, and intervals are rounded
    outward.
    """
    cases = document["cases"]
    rows = [_cells(case, document["checked_on"]["reference"]) for case in cases]
    optional = {name: any(case["accuracy"] for case in cases) for name in ("accuracy [95 %]", "points [95 %]")}
    names = [name for name in rows[0] if optional.get(name, True)]
    first = document["checked_on"]["reference"]
    heads = {
        "times as fast": f"x {first}",
        "points [95 %]": f"points to {first} [95 %]",
        "agree [95 %]": f"agree with {first} [95 %]",
    }
    return [[heads.get(name, name) for name in names], *([row[name] for name in names] for row in rows)]


def terminal(document: Mapping[str, Any]) -> str:
    """Returns the table and its notes for a terminal."""
    lines = aligned(columns(document))
    return "\n".join([f"{_subtitle(document)}; {document['environment']['cpu']}", "", *lines, "", *notes(document)])


def markdown(document: Mapping[str, Any], picture: str) -> str:
    """Returns the report as Markdown, with the command, machine and files to reproduce it.

    `picture` is the name of the plot's file in the same folder.
    """
    heads, *rows = ([cell.replace("|", "\\|") for cell in row] for row in columns(document))
    measure = "accuracy" if document["cases"][0]["accuracy"] else "size"
    lines = [
        f"# Family of {document['models'][0]['name']}",
        "",
        f"{_subtitle(document)}; {document['environment']['cpu']}. Measured on {document['created'][:10]} by:",
        "",
        "```console",
        f"$ {document['command']}",
        "```",
        "",
        f"![{measure} against latency]({picture})",
        "",
        *table(heads, rows, numbers=True),
        "",
        *(f"- {note}" for note in notes(document)),
        "",
        "## Machine",
        "",
        *(f"- {line}" for line in environment_lines(document)),
        "",
        "## Files",
        "",
        *(f"- {model['title']}: {line}" for model, line in zip(document["models"], file_lines(document), strict=True)),
        "",
    ]
    return "\n".join(lines)


def notes(document: Mapping[str, Any]) -> list[str]:
    """Returns the notes of the table: failures, images, what the columns mean, reasons for unreliable measurements."""
    about, settings, first = document["checked_on"], document["settings"], document["checked_on"]["reference"]
    named = {case["name"] for case in document["cases"]}
    is_labelled = bool(document["cases"][0]["accuracy"])
    lines = [
        *(f"FAILED: {_named(case)}: {failure}" for case in document["cases"] for failure in case["failures"]),
        *(f"FAILED: {name}: {reason}" for name, reason in document["broken"].items() if name not in named),
        f"compared on {about['about']}; all models in turn, {counted(settings['rounds'], 'round')} of processes, "
        f"{settings['duration']:g} s for each row",
        f"ms/image: median of a batch over its size; x {first}: median of the rounds' own ratios (minimum to maximum)",
    ]
    if about["effective_images"] < about["images"]:
        lines.append(
            f"the intervals are those of {rounded_down(about['effective_images'], 1):g} independent images, as some "
            "are of one patient, or copies"
        )
    if is_labelled:
        lines.append(
            f"points to {first}: difference of the accuracies on the same images, in percentage points, with its "
            "interval for paired images; one that includes 0 shows neither a difference nor that there is none"
        )
    else:
        lines.append("no accuracy without labelled images: name a dataset with --data DIR")
    lines += [
        f"front: no other right model is at least as fast and as {'accurate' if is_labelled else 'small'}, and better "
        "in one of them; with size: the same for speed, "
        f"{'accuracy and size' if is_labelled else 'and size'}; by the measured values, without their intervals",
        "right: the model computes what PyTorch computed for the golden inputs beside it; agreement with "
        f"{first} is not required of another network",
        *about["cautions"],
    ]
    if about["unjudged"]:
        lines.append(
            f"unjudged: no golden.npz is beside {quoted(about['unjudged'])}, which would show whether the outputs are "
            "right"
        )
    return lines + unreliable_lines(document["cases"], "contender")


def _cells(case: Mapping[str, Any], first: str) -> dict[str, str]:
    is_first = case["contender"] == first  # it is not compared with itself
    faster, accuracy, parity = case["times_as_fast"], case["accuracy"], case["parity"]
    ratio = f"{faster['value']:.2f}" if faster else "-"
    if faster and len(case["rounds"]) > 1:
        ratio += f" ({faster['low']:.2f} to {faster['high']:.2f})"
    front = "yes" if case["on_front"] else "with size" if case["on_front_with_size"] else "-"
    return {
        "model": case["contender"] + marks(case),
        "batch": str(case["batch_size"]),
        "verdict": "FAILED" if case["failures"] else case["verdict"],
        "ms/image": f"{case['ms_per_image']:.2f}",
        "times as fast": ratio,
        "MB": f"{case['bytes'] / 1e6:.1f}",
        "accuracy [95 %]": cautious(accuracy["value"], (accuracy["low"], accuracy["high"])) if accuracy else "-",
        "points [95 %]": _points(accuracy["change"]) if accuracy and not is_first else "-",
        "agree [95 %]": "-" if is_first else cautious(parity["agreement"], parity["agreement_interval"]),
        "front": front,
    }


def _points(change: Mapping[str, float]) -> str:
    """Returns a difference of accuracies in points, rounded down, with its interval, rounded outward."""
    low, middle = (rounded_down(change[name], 3) * 100 for name in ("low", "difference"))
    high = -rounded_down(-change["high"], 3) * 100 + 0.0  # not -0
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def _subtitle(document: Mapping[str, Any]) -> str:
    settings, model = document["settings"], document["models"][0]
    threads = "/".join(str(count) for count in dict.fromkeys(case["threads"] for case in document["cases"]))
    return (
        f"{counted(len(document['models']), 'model')} on {settings['provider']}, {threads} threads, "
        f"{model['image_size']} pixels, from pixels to the prediction"
    )


def _named(case: Mapping[str, Any]) -> str:
    return f"{case['contender']}, batch {case['batch_size']}"
