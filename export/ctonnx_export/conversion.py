"""From the deploy graph to an ONNX model: traced, cleaned of this machine's traces, simplified, checked."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from ctonnx.operators import OPSET
from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.parity import compare
from ctonnx_export.graph import DeployGraph
from ctonnx_export.sessions import open_model

__all__ = ["Simplified", "convert", "run_onnx", "simplify", "strip"]

_SIMPLIFY_SECONDS = 300
_MAX_SIMPLIFIED_DP = 1e-5


@dataclass(frozen=True)
class Simplified:
    """What became of the attempt to simplify.

    Attributes:
        model: the simplified model, or the one that came in.
        note: `simplified`, or why not.
    """

    model: onnx.ModelProto
    note: str


def convert(graph: DeployGraph, size: int) -> onnx.ModelProto:
    """Traces the graph at batch 2, with the batch free, to a checked ONNX model.

    Args:
        graph: in evaluation mode.
        size: height and width of the pixels.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    with _interruptible(), _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes={"pixels": {0: batch}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model: onnx.ModelProto = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def simplify(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> Simplified:
    """Simplifies a model with onnxsim in a process of its own, whose crash would leave this one whole.

    The result is taken only if the checker passes it and it gives the answers that it gave before.

    Args:
        model: not changed.
        pixels: uint8 [images, size, size, 3] to compare the answers on.
    """
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        program = (
            "import onnx, onnxsim, sys; model, same = onnxsim.simplify(sys.argv[1]); "
            "onnx.save(model, sys.argv[2]); sys.exit(not same)"
        )
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", program, str(before), str(after)],
                capture_output=True,
                text=True,
                timeout=_SIMPLIFY_SECONDS,
                env={**os.environ, "TMPDIR": folder},  # what it leaves where it is interrupted goes with the folder
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Simplified(model, f"not simplified: onnxsim took more than {_SIMPLIFY_SECONDS} s")
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Simplified(model, f"not simplified: onnxsim ended with exit code {done.returncode} ({last})")
        simplified = onnx.load(after)
    strip(simplified)
    if problem := _problem(model, simplified, pixels):
        return Simplified(model, f"not simplified: {problem}")
    return Simplified(simplified, "simplified")


def run_onnx(model: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Returns onnxruntime's answers on the CPU for batches of pixels, uint8 [images, size, size, 3] each."""
    session = open_model(model)
    return Outputs.concatenate([Outputs(*session.run(OUTPUT_NAMES, {"pixels": pixels})) for pixels in batches])


def _problem(before: onnx.ModelProto, after: onnx.ModelProto, pixels: NDArray[np.uint8]) -> str | None:
    """Says what is wrong with the simplified model, or None."""
    if list(before.graph.input) != list(after.graph.input) or list(before.graph.output) != list(after.graph.output):
        return "onnxsim changed the inputs or outputs"
    try:
        onnx.checker.check_model(after, full_check=True)
        parity = compare(run_onnx(before, [pixels]), run_onnx(after, [pixels]))
    # The checker and onnxruntime have no common error class; whatever they object to, the unsimplified model stands.
    except Exception as error:
        return f"onnxsim's result does not run ({error})"
    if not parity.max_dp <= _MAX_SIMPLIFIED_DP:
        return f"onnxsim's result differs by {parity.max_dp:.3g}"
    return None


def strip(model: onnx.ModelProto) -> None:
    """Removes stack traces, file paths and value descriptions: no part of the model, and other on each machine."""
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "ctonnx"
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's account of its own steps, and of its own exceptions, off the terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C end the tracing, which may take a KeyboardInterrupt for a fault of its own and go on without it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def note(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupted:
        raise KeyboardInterrupt
