"""The steps of `ctonnx predict --format csv PATH`, with a clock between them.

python -m ctonnx_bench.experiments.end_to_end.peers.ctonnx MODEL PATH
"""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import ctonnx.cli.commands.predict  # noqa: F401  part of the timed imports
from ctonnx.images import load, to_pixels
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.output.provenance import provenance
from ctonnx.prediction.output.row_formats import FORMATS
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.streaming import workers_for

BATCH = 4  # default of Predictor.predict_many on a CPU
now = time.perf_counter


def time_stages(model: Path, path: str) -> dict[str, Any]:
    """Prints the rows, and returns the seconds of each stage; those of parallel workers are divided by their number."""
    imported = now()
    files = find_images([path])
    workers = workers_for(len(files))
    predictor = Predictor(model, workers=workers)
    spec = predictor.spec
    loaded = now()

    def work(batch: Sequence[str]) -> tuple[Outputs, tuple[float, float, float]]:
        start = now()
        scans = [load(file) for file in batch]
        decoded = now()
        pixels = np.stack([to_pixels(scan, spec.preprocessing) for scan in scans])
        resized = now()
        outputs = predictor.predict_pixels(pixels)
        return outputs, (decoded - start, resized - decoded, now() - resized)

    with ThreadPoolExecutor(workers) as pool:
        batches = list(pool.map(work, [files[at : at + BATCH] for at in range(0, len(files), BATCH)]))
    ready = now()
    head, line = FORMATS["csv"](files, spec, 1, partial(provenance, model, spec))
    click.echo(head)
    rows = ((outputs, row) for outputs, _ in batches for row in range(len(outputs.probabilities)))
    for file, (outputs, row) in zip(files, rows, strict=True):
        pairs = zip(spec.classes, outputs.probabilities[row].tolist(), strict=True)
        named = dict(sorted(pairs, key=lambda pair: -pair[1]))
        click.echo(line(Prediction(file, named, outputs.logits[row], outputs.heatmap[row]), None))
    done = now()
    shares = [sum(seconds) / workers for seconds in zip(*(spent for _, spent in batches), strict=True)]
    names = ("session load", "decode", "resize", "inference", "output")
    return {"imported": imported, "stages": dict(zip(names, [loaded - imported, *shares, done - ready], strict=True))}


if __name__ == "__main__":
    click.echo(json.dumps(time_stages(Path(sys.argv[1]), sys.argv[2])), err=True)
