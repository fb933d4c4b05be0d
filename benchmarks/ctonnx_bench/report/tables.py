"""Tables of a benchmark: for the terminal, and as Markdown."""

from collections.abc import Mapping
from typing import Any

from ctonnx.parity.rounding import Form, shown
from ctonnx.system.text import aligned, table
from ctonnx_bench.analysis.statistics import NOISY, marks
from ctonnx_bench.report.notes import notes

__all__ = ["columns", "environment_lines", "file_lines", "markdown", "subtitle", "terminal"]

_MANY = 1000  # images, from which on the interval of the agreement is left out


def columns(document: Mapping[str, Any]) -> list[list[str]]:
    """Returns the cells of the table, heading first: speed, memory, size and parity, a row for each case."""
    cases = document["cases"]
    optional = {
        "GPU MB": any(case["figures"]["device_bytes"] is not None for case in cases),
        "CPU mJ/image": any(_joules(case)[0] for case in cases),
        "GPU mJ/image": any(_joules(case)[1] for case in cases),
        "accuracy [95 %]": any(case["accuracy"] for case in cases),
        "novelty, ranks": any("novelty_correlation" in case["parity"] for case in cases),
        "flagged alike": any("novelty_agreement" in case["parity"] for case in cases),
        "times as fast": any(case["times_as_fast"] for case in cases),
    }
    rows = [_cells(case) for case in cases]
    names = [name for name in rows[0] if optional.get(name, True)]
    than = next((case["times_as_fast"]["than"] for case in cases if case["times_as_fast"]), None)
    heads = [f"x {than}" if name == "times as fast" else name for name in names]
    return [heads, *([row[name] for name in names] for row in rows)]


def terminal(document: Mapping[str, Any]) -> str:
    """Returns the table and its notes for a terminal."""
    lines = aligned(columns(document))
    return "\n".join(
        [f"{subtitle(document)}; {document['environment']['cpu']}", "", *lines, "", *notes(document, compared=False)]
    )


def markdown(document: Mapping[str, Any], *, title: str | None = None, level: int = 1) -> str:
    """Returns the report as Markdown, with the command, machine and files to reproduce it; default title: the model."""
    heading = "#" * level
    heads, *rows = ([cell.replace("|", "\\|") for cell in row] for row in columns(document))
    lines = [
        f"{heading} {title or 'Benchmark of ' + document['models'][0]['name']}",
        "",
        f"{subtitle(document)}; {document['environment']['cpu']}. Measured on {document['created'][:10]} by:",
        "",
        "```console",
        f"$ {document['command']}",
        "```",
        "",
        *table(heads, rows, numbers=True),
        "",
        *(f"- {note}" for note in notes(document)),
        "",
        f"{heading}# Machine",
        "",
        *(f"- {line}" for line in environment_lines(document)),
        "",
        f"{heading}# Files",
        "",
        *(f"- {line}" for line in file_lines(document)),
        "",
    ]
    return "\n".join(lines)


def file_lines(document: Mapping[str, Any]) -> list[str]:
    """Returns the path, precision, size and SHA-256 of each measured file, as Markdown."""
    return [
        f"`{model['file']}`: {model['precision']}, {model['bytes'] / 1e6:.1f} MB, SHA-256 `{model['sha256']}`"
        for model in document["models"]
    ]


def subtitle(document: Mapping[str, Any]) -> str:
    """Returns the model, provider, threads, image size and timed part of a benchmark."""
    settings, model = document["settings"], document["models"][0]
    threads = "/".join(str(count) for count in dict.fromkeys(case["threads"] for case in document["cases"]))
    part = "the file to the prediction, one batch after the other" if settings["files"] else "pixels to the prediction"
    return f"{model['name']} on {settings['provider']}, {threads} threads, {model['image_size']} pixels, from {part}"


def environment_lines(document: Mapping[str, Any]) -> list[str]:
    """Returns the entries of the environment."""
    about = document["environment"]
    features = f" ({', '.join(about['features'])})" if about["features"] else ""
    lines = [
        f"processor: {about['cpu']}{features}, {about['cores_allowed']} of {about['cores_of_the_host']} cores",
        f"GPU: {about['gpu']}" if about["gpu"] else "",
        f"governor: {about['governor'] or 'unknown'}; load average at the start {about['load_average']}",
        f"available memory: {about['memory_bytes'] / 1e9:.1f} GB" if about["memory_bytes"] else "",
        f"container's limit of CPU time: {about['cpu_limit']}" if about["cpu_limit"] else "",
        f"system: {about['system']}, Python {about['python']}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    ]
    return [line for line in lines if line]


def _cells(case: Mapping[str, Any]) -> dict[str, str]:
    measured, parity = case["figures"], case["parity"]
    latency = measured["latency_ms"]
    least, most = case["bounds"]["min_agreement"], case["bounds"]["max_dp"]
    ends = (shown(end, least, digits=0, form="%") for end in parity["agreement_interval"])
    interval = f" [{', '.join(ends)}]" if parity["images"] < _MANY else ""
    faster = case["times_as_fast"]
    ratio = f"{faster['value']:.2f}" if faster else "-"
    if faster and len(case["rounds"]) > 1:
        ratio += f" ({faster['low']:.2f} to {faster['high']:.2f})"
    cpu, gpu = _joules(case)
    accuracy = case["accuracy"]
    return {
        "case": case["title"] + marks(case),
        "batch": str(case["batch_size"]),
        "verdict": ("FAILED" if case["own"] else "WRONG") if case["failures"] else case["verdict"],
        "p50 ms": f"{latency['p50']:.2f}",
        **{name: "-" if latency[name] is None else f"{latency[name]:.2f}" for name in ("p90", "p95", "p99")},
        "mean": f"{latency['mean']:.2f}",
        "IQR": shown(latency["iqr"] / latency["p50"], NOISY, digits=0, form="%"),
        "images/s": f"{measured['images_per_s']:.1f}",
        "times as fast": ratio,
        "agree [95 %]": shown(parity["agreement"], least, digits=1, form="%") + interval,
        "max |dp|": shown(parity["max_dp"], most, digits=1, form="e"),
        "mean |dp|": f"{parity['mean_dp']:.1e}",
        "novelty, ranks": _novelty(case, "novelty_correlation", digits=4, form="f"),
        "flagged alike": _novelty(case, "novelty_agreement", digits=1, form="%"),
        "accuracy [95 %]": f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
        if accuracy
        else "-",
        "cold s": f"{measured['cold_start_s']:.2f}",
        "first ms": f"{measured['first_run_ms']:.0f}",
        "RAM MB": _mega(measured["peak_bytes"]),
        "GPU MB": _mega(measured["device_bytes"]),
        "CPU mJ/image": f"{cpu * 1e3:.1f}" if cpu else "-",
        "GPU mJ/image": f"{gpu * 1e3:.1f}" if gpu else "-",
        "file MB": f"{case['bytes'] / 1e6:.1f}",
    }


def _novelty(case: Mapping[str, Any], name: str, *, digits: int, form: Form) -> str:
    """Returns a measure of the novelty, not rounded across its bound; "-" for a model without this output."""
    value, bound = case["parity"].get(name), case["bounds"].get(f"min_{name}")
    return "-" if value is None else shown(value, *(() if bound is None else (bound,)), digits=digits, form=form)


def _joules(case: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the joules per image: of all processors, and of the GPU."""
    found = case["figures"]["joules_per_image"]
    return sum(value for name, value in found.items() if name != "gpu"), found.get("gpu", 0.0)


def _mega(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.0f}"
