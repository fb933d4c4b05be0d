"""The document of a benchmark for people: a table for the terminal, and Markdown."""

from collections.abc import Mapping
from typing import Any

from ctonnx.machine import architecture
from ctonnx.parity import MAX_DP
from ctonnx.providers import PROVIDERS, int8_targets
from ctonnx.rounding import shown
from ctonnx_bench.summary import NOISY, marks

__all__ = ["RIGHT", "columns", "environment_lines", "markdown", "notes", "terminal", "way_of"]

RIGHT = "right: the answers agree with the reference's as the gate asks; it does not mean a correct diagnosis"
"""What stands wherever answers are called right."""

_MANY = 1000  # images, above which the interval of their agreement is narrow enough to be left out


def columns(document: Mapping[str, Any]) -> list[list[str]]:
    """Returns the cells of the one table, its heading first: speed, memory, size and parity, a row for each case."""
    cases = document["cases"]
    optional = {
        "GPU MB": any(case["figures"]["device_bytes"] is not None for case in cases),
        "CPU mJ/image": any(_joules(case)[0] for case in cases),
        "GPU mJ/image": any(_joules(case)[1] for case in cases),
        "accuracy [95 %]": any(case["accuracy"] for case in cases),
        "times as fast": any(case["times_as_fast"] for case in cases),
    }
    rows = [_cells(case) for case in cases]
    names = [name for name in rows[0] if optional.get(name, True)]
    than = next((case["times_as_fast"]["than"] for case in cases if case["times_as_fast"]), None)
    heads = [f"x {than}" if name == "times as fast" else name for name in names]
    return [heads, *([row[name] for name in names] for row in rows)]


def terminal(document: Mapping[str, Any]) -> str:
    """Returns the table and its notes for a terminal."""
    table = columns(document)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return "\n".join(
        [f"{way_of(document)}; {document['environment']['cpu']}", "", *lines, "", *notes(document, compared=False)]
    )


def markdown(document: Mapping[str, Any], *, title: str | None = None, level: int = 1) -> str:
    """Returns the report as Markdown, with what is needed to make it again.

    Args:
        document: the benchmark's.
        title: its heading; None names the models.
        level: of the heading.
    """
    marks = "#" * level
    first, *rest = columns(document)
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rest]
    head = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in first) + " |",
        "| --- |" + " ---: |" * (len(first) - 1),
    ]
    lines = [
        f"{marks} {title or 'Benchmark of ' + document['models'][0]['name']}",
        "",
        f"{way_of(document)}; {document['environment']['cpu']}. Made on {document['created'][:10]} by:",
        "",
        "```console",
        f"$ {document['command']}",
        "```",
        "",
        *head,
        *rows,
        "",
        *(f"- {note}" for note in notes(document)),
        "",
        f"{marks}# The machine",
        "",
        *(f"- {line}" for line in environment_lines(document)),
        "",
        f"{marks}# The files",
        "",
        *(
            f"- `{model['file']}`: {model['precision']}, {model['bytes'] / 1e6:.1f} MB, SHA-256 `{model['sha256']}`"
            for model in document["models"]
        ),
        "",
    ]
    return "\n".join(lines)


def notes(document: Mapping[str, Any], *, compared: bool = True) -> list[str]:
    """Returns what must be known to read the table: reference, MLPerf's measures, doubts, failures, who is missing.

    Args:
        document: the benchmark's.
        compared: whether what it was compared with is among them.
    """
    checked, settings = document["checked_on"], document["settings"]
    lines = [
        *_failures(document),
        f"agreement and |dp| on {checked['about']} against {checked['reference']}; while timing, every probability and "
        "logit was checked, and each image's last heatmap",
        MAX_DP,
        f"{settings['rounds']} round{'s'[: settings['rounds'] != 1]} of processes, {settings['duration']:g} s a case",
        "milliseconds are of a whole batch; cold: from the process's start to its first answer; RAM: its peak",
    ]
    asked: dict[str, list[str]] = {}
    for case in document["cases"]:
        if case["own"]:
            asked.setdefault(case["gate"], []).append(case["precision"].upper())
    lines.append(RIGHT)
    lines += [f"right, {', '.join(dict.fromkeys(names))}: {gate}" for gate, names in asked.items()]
    lines += [*_made_for_others(document), *checked["cautions"]]
    if any(case["verdict"] == "not shown" for case in document["cases"]):
        lines.append(
            "not shown: below a bound, which its 95 % interval or what the export kept reaches, so that these images "
            "show neither right nor wrong; more images do, with --data"
        )
    if checked["reference_wrong"]:
        lines.append("the reference is wrong itself, on the golden inputs: to agree with it says nothing")
    if any(case["verdict"] == "reference" for case in document["cases"]):
        lines.append(
            "reference: held against itself, so nothing says that it is right; golden.npz beside the model would, or "
            "--reference RUN"
        )
    if than := next((case["times_as_fast"]["than"] for case in document["cases"] if case["times_as_fast"]), None):
        lines.append(
            f"x {than}: how many times as fast at the same batch size, in the same round: median (least to greatest)"
        )
    if checked["calibrated_on_them"]:
        lines.append(
            "OpenVINO, its INT8: calibrated on the very images that judge it, which flatters it; --data with training "
            "images would not"
        )
    if any(case["doubts"] for case in document["cases"]):
        lines.append("~ the figures are to be doubted, ! the machine was slowed down; why stands below")
    doubted: dict[str, list[str]] = {}
    for case in document["cases"]:
        for doubt in case["doubts"]:
            doubted.setdefault(doubt, []).append(_where(case))
    lines += [f"{doubt}: {'; '.join(where)}" for doubt, where in doubted.items()]
    for title, found in document["mlperf"].items():
        said = []
        if found["single_stream_ms"] is not None:
            mark = " ~" if found["doubted"] else ""
            said.append(f"SingleStream {found['single_stream_ms']:.2f} ms{mark} (90th percentile)")
        mark = " ~" if found["offline_doubted"] else ""
        said.append(f"Offline {found['offline_images_per_s']:.1f} images/s{mark} (batch {found['offline_batch_size']})")
        lines.append(f"MLPerf's measures, {title}: {', '.join(said)}")
    if earlier := document.get("compared_with") if compared else None:
        lines += [
            f"against the report of {earlier['created']}: {change['case']}, {change['figure']}: "
            f"{change['before']:.2f}, now {change['now']:.2f} "
            f"({shown(change['worse'], earlier['fail_over'], digits=1, form='%', sign='+')})"
            for change in earlier["changes"]
        ]
        lines += earlier["cautions"]
    lines += [f"{title}: skipped, {reason}" for title, reason in document["skipped"].items()]
    return lines


def _failures(document: Mapping[str, Any]) -> list[str]:
    named = {case["name"] for case in document["cases"]}
    return [
        *(
            f"{'FAILED' if case['own'] else 'WRONG'}: {_where(case)}: {failure}"
            for case in document["cases"]
            for failure in case["failures"]
        ),
        *(
            f"NOT SHOWN: {_where(case)}: {doubt}"
            for case in document["cases"]
            if case["verdict"] == "not shown"
            for doubt in case["not_shown"]
        ),
        *(f"FAILED: {name}: {reason}" for name, reason in document["broken"].items() if name not in named),
    ]


def _made_for_others(document: Mapping[str, Any]) -> list[str]:
    """Says which INT8 files another --target of the export would make faster here."""
    about, provider = document["environment"], document["settings"]["provider"]
    if "int8" not in PROVIDERS[provider].precisions:
        return []
    processor = architecture(about["architecture"])
    better: dict[str, str] = {}
    if provider == "cpu" and processor == "x86" and about["features"]:
        better = {"x86": "amx"} if "amx_int8" in about["features"] else {"amx": "x86"}
    measured = {model["target"] for model in document["models"]}
    lines = []
    for model in document["models"]:
        target = model["target"]
        if target is not None and target not in int8_targets(provider, processor):
            lines.append(
                f"{model['file']} is for --target {target}, not for {provider} on this processor, where it can be "
                "slower than FP32"
            )
        elif target in better and better[target] not in measured:
            has = "has AMX" if target == "x86" else "has no AMX"
            lines.append(
                f"{model['file']} is for --target {target}, and this processor {has}: exported from the same images, "
                f"INT8 of --target {better[target]} gives the same answers, faster"
            )
    return lines


def _where(case: Mapping[str, Any]) -> str:
    return f"{case['title']}, batch {case['batch_size']}"


def way_of(document: Mapping[str, Any]) -> str:
    """Returns what was measured, and how: the model, the provider, threads, image size, and from what on."""
    settings, model = document["settings"], document["models"][0]
    threads = "/".join(str(count) for count in dict.fromkeys(case["threads"] for case in document["cases"]))
    what = (
        "from the file to the answer, one batch after the other" if settings["files"] else "from pixels to the answer"
    )
    return f"{model['name']} on {settings['provider']}, {threads} threads, {model['image_size']} pixels, {what}"


def environment_lines(document: Mapping[str, Any]) -> list[str]:
    """Returns the environment, a line for each thing."""
    about = document["environment"]
    features = f" ({', '.join(about['features'])})" if about["features"] else ""
    lines = [
        f"processor: {about['cpu']}{features}, {about['cores_allowed']} of {about['cores_of_the_host']} cores",
        f"GPU: {about['gpu']}" if about["gpu"] else "",
        f"governor: {about['governor'] or 'not told'}; load average at the start {about['load_average']}",
        f"memory that it may use: {about['memory_bytes'] / 1e9:.1f} GB" if about["memory_bytes"] else "",
        f"container's limit of CPU time: {about['cpu_limit']}" if about["cpu_limit"] else "",
        f"system: {about['system']}, Python {about['python']}",
        "versions: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    ]
    return [line for line in lines if line]


def _cells(case: Mapping[str, Any]) -> dict[str, str]:
    figures, parity = case["figures"], case["parity"]
    latency = figures["latency_ms"]
    low, high = parity["agreement_interval"]
    least, most = case["bounds"]["min_agreement"], case["bounds"]["max_dp"]
    ends = (shown(end, least, digits=0, form="%") for end in (low, high))
    interval = f" [{', '.join(ends)}]" if parity["images"] < _MANY else ""
    faster = case["times_as_fast"]
    ratio = f"{faster['value']:.2f}" if faster else "-"
    if faster and len(case["rounds"]) > 1:
        ratio += f" ({faster['low']:.2f} to {faster['high']:.2f})"
    cpu, gpu = _joules(case)
    wrong = ("FAILED" if case["own"] else "WRONG") if case["failures"] else case["verdict"]
    accuracy = case["accuracy"]
    return {
        "what": case["title"] + marks(case),
        "batch": str(case["batch_size"]),
        "answers": wrong,
        "p50 ms": f"{latency['p50']:.2f}",
        **{name: "-" if latency[name] is None else f"{latency[name]:.2f}" for name in ("p90", "p95", "p99")},
        "mean": f"{latency['mean']:.2f}",
        "IQR": shown(latency["iqr"] / latency["p50"], NOISY, digits=0, form="%"),
        "images/s": f"{figures['images_per_s']:.1f}",
        "times as fast": ratio,
        "agree [95 %]": shown(parity["agreement"], least, digits=1, form="%") + interval,
        "max |dp|": shown(parity["max_dp"], most, digits=1, form="e"),
        "mean |dp|": f"{parity['mean_dp']:.1e}",
        "accuracy [95 %]": f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
        if accuracy
        else "-",
        "cold s": f"{figures['cold_start_s']:.2f}",
        "first ms": f"{figures['first_run_ms']:.0f}",
        "RAM MB": _mega(figures["peak_bytes"]),
        "GPU MB": _mega(figures["device_bytes"]),
        "CPU mJ/image": f"{cpu * 1e3:.1f}" if cpu else "-",
        "GPU mJ/image": f"{gpu * 1e3:.1f}" if gpu else "-",
        "file MB": f"{case['bytes'] / 1e6:.1f}",
    }


def _joules(case: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the joules of an image: of all processors, and of the GPU."""
    found = case["figures"]["joules_per_image"]
    return sum(value for name, value in found.items() if name != "gpu"), found.get("gpu", 0.0)


def _mega(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.0f}"
