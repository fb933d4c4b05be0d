"""Conversion of the deploy graph to an ONNX model without information about this machine."""

import contextlib
import io
import logging
import signal
import threading
import warnings
from collections.abc import Iterator

import onnx
import torch

from ctonnx.artifacts.onnx_file.operators import OPSET
from ctonnx.parity.outputs import NOVELTY, output_names
from ctonnx_export.graph.deploy_graph import DeployGraph, EnsembleGraph

__all__ = ["convert", "strip"]


def convert(graph: DeployGraph | EnsembleGraph, size: int) -> onnx.ModelProto:
    """Traces the graph with a dynamic batch of images, `size` pixels a side; returns a checked ONNX model."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    with _interruptible(), _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=list(output_names([NOVELTY] if graph.novelty else [])),
            dynamic_shapes={"pixels": {0: batch}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model: onnx.ModelProto = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Removes stack traces, file paths and value descriptions, which differ between machines."""
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "ctonnx"
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the exporter's progress messages, warnings and logged exceptions."""
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
    """Makes Ctrl-C end the tracing, which may catch a KeyboardInterrupt as an error of its own and continue."""
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
