"""Self-contained HTML page with the table and the plots."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from ctonnx_bench.report.charts import plot_batches, plot_distribution, plot_tradeoff, to_svg
from ctonnx_bench.report.notes import RIGHT, notes
from ctonnx_bench.report.tables import columns, environment_lines, subtitle

__all__ = ["html_page"]

_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 86rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; }
p.about { color: #555; margin: 0 0 1rem; }
.verdict { display: inline-block; padding: .2rem .7rem; border-radius: 1rem; font-weight: 600; }
.right { background: #e2f4ec; color: #00573d; }
.unclear { background: #fff1c7; color: #6b4a00; }
.wrong { background: #fde5d8; color: #8a2f00; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .78rem; }
th, td { padding: .35rem .4rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e2e2e2; }
th { border-bottom: 2px solid #888; font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.group td { border-top: 2px solid #bbb; }
td.wrong { font-weight: 600; background: #fde5d8; color: #8a2f00; }
td.unclear { font-weight: 600; background: #fff1c7; color: #6b4a00; }
figure { margin: 0 0 1.5rem; overflow-x: auto; }
img { width: 100%; min-width: 38rem; max-width: 54rem; height: auto; }
pre { background: #f5f5f5; padding: .75rem 1rem; overflow-x: auto; border-radius: .3rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
li { margin: .15rem 0; overflow-wrap: anywhere; }
code { font-size: .9em; }
@media print { body { max-width: none; } .scroll { overflow: visible; } table { font-size: .6rem; } }
"""


def html_page(document: Mapping[str, Any]) -> str:
    """Returns the HTML page of a benchmark's document."""
    name = escape(document["models"][0]["name"])
    verdict = _verdict(document)
    about = f"{subtitle(document)}; {document['environment']['cpu']}, {document['created'][:10]}"
    is_unreliable = any(case["doubts"] for case in document["cases"] if case["own"])
    badge = ' <span class="verdict unclear">unreliable measurements: see the notes</span>' if is_unreliable else ""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Benchmark of {name}</title><style>{_CSS}</style></head><body>",
        f'<h1>Benchmark of {name}</h1><p class="about">{escape(about)}</p>',
        f'<p><span class="verdict {verdict[0]}">{verdict[1]}</span>{badge}</p>',
        f'<p class="about">{escape(RIGHT)}.</p>',
        f"<pre>$ {escape(document['command'])}</pre>",
        '<h2>Speed, memory, size and parity</h2><div class="scroll"><table>',
        *_table(document),
        "</table></div>",
        "<h2>Plots</h2>",
        *_plots(document),
        "<h2>Notes</h2>",
        *_list(notes(document)),
        "<h2>The machine</h2>",
        *_list(environment_lines(document)),
        "<h2>The files</h2>",
        *_list(f"{item['file']}: {item['precision']}, SHA-256 {item['sha256']}" for item in document["models"]),
        "<p class='about'>ctonnx is a research tool, not a medical device. Every raw sample is in bench.json.</p>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _verdict(document: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the CSS class and the text of the badge for ctonnx's outputs."""
    if not document["passed"]:
        return "wrong", "wrong outputs"
    if any(case["verdict"] == "not shown" for case in document["cases"] if case["own"]):
        return "unclear", "not all outputs of ctonnx are shown to be right: see the notes"
    if any(case["verdict"] == "reference" for case in document["cases"]):
        return "right", "the outputs agree with the reference"
    return "right", "all outputs of ctonnx are right"


def _table(document: Mapping[str, Any]) -> Iterator[str]:
    head, *rows = columns(document)
    yield "<thead><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr></thead><tbody>"
    before = None
    for row, case in zip(rows, document["cases"], strict=True):
        group = ' class="group"' if before not in (None, case["batch_size"]) else ""
        before = case["batch_size"]
        state = "wrong" if case["failures"] else "unclear" if case["verdict"] == "not shown" else ""
        verdict = f' class="{state}"' if state else ""
        cells = (
            f"<td{verdict if name == 'verdict' else ''}>{escape(cell)}</td>"
            for name, cell in zip(head, row, strict=True)
        )
        yield f"<tr{group}>{''.join(cells)}</tr>"
    yield "</tbody>"


def _plots(document: Mapping[str, Any]) -> Iterator[str]:
    sizes = sorted({case["batch_size"] for case in document["cases"]})
    of_size = {size: [case for case in document["cases"] if case["batch_size"] == size] for size in sizes}
    reference = document["checked_on"]["reference"]
    plots = [
        ("Correctness against latency, with the file's size as area", plot_tradeoff(of_size[sizes[0]], reference)),
        *((f"Latency of every run at batch {size}", plot_distribution(cases)) for size, cases in of_size.items()),
    ]
    if len(sizes) > 1:
        plots.append(("Latency per image against the batch size", plot_batches(document["cases"])))
    for title, plot in plots:
        data = b64encode(to_svg(plot).encode()).decode()
        yield f'<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}"></figure>'


def _list(lines: Iterable[str]) -> list[str]:
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]
