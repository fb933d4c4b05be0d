"""Speed of FP32 and INT8 compared with the processor's limit, a bare matrix product.

    python -m ctonnx_bench.experiments.throughput.roofline [EXPORT] [--batch-size 8] [--rounds 5] [--seconds 2]

A convolution is at best as fast as a matrix product. The rate of onnxruntime's matrix product, on a matrix that fits
into the caches, is therefore the limit of any network with onnxruntime on this machine.
"""

import math
import statistics
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ctonnx.cli.options import FiniteRange
from ctonnx.prediction.model_selection import newest_export
from ctonnx.system.cpu import available_cores
from ctonnx_bench.experiments.throughput.precisions import measure
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn
from ctonnx_bench.measurement.worker import timed_loop

__all__ = ["PRECISIONS", "main", "matrix_rate", "operations"]

PRECISIONS = ("fp32", "int8")

_SIDE = 1024  # of the matrices
_WARM_UP = 3


def matrix_rate(precision: str, seconds: float) -> float:
    """Returns the operations per second of a matrix product; an addition and a multiplication count as two.

    INT8 multiplies uint8 by int8 into int32.
    """
    is_int8 = precision == "int8"
    random = np.random.default_rng(0)
    left = random.integers(0, 255, (_SIDE, _SIDE)).astype(np.uint8 if is_int8 else np.float32)
    right = random.integers(-127, 127, (_SIDE, _SIDE)).astype(np.int8 if is_int8 else np.float32)
    kinds = (TensorProto.UINT8, TensorProto.INT32) if is_int8 else (TensorProto.FLOAT, TensorProto.FLOAT)
    input_info, output_info = (
        helper.make_tensor_value_info(name, kind, [_SIDE, _SIDE])
        for name, kind in zip(("left", "product"), kinds, strict=True)
    )
    node = helper.make_node("MatMulInteger" if is_int8 else "MatMul", ["left", "right"], ["product"])
    weights = [numpy_helper.from_array(right, "right")]
    graph = helper.make_graph([node], "product", [input_info], [output_info], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def multiply(matrix: object) -> object:
        return session.run(None, {"left": matrix})

    timed_loop(multiply, [left], 0, least=_WARM_UP)
    return 2 * _SIDE**3 / statistics.median(timed_loop(multiply, [left], seconds))


def operations(model: Path) -> int:
    """Returns the operations of a model's convolutions per image; the rest is below 1 % of a ResNet50."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for value in graph.value_info:
        shapes[value.name] = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            _, *output = shapes[node.output[0]]
            _, *kernel = shapes[node.input[1]]
            total += 2 * math.prod(output) * math.prod(kernel)
    return total


@click.command()
@click.argument("export", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of processes for each model."
)
@click.option("--seconds", type=FiniteRange(0), default=2.0, show_default=True, help="Duration of each measurement.")
@child_option(matrix_rate)
def main(export: Path | None, batch_size: int, rounds: int, seconds: float) -> None:
    """Compare the models of an export folder (default: the newest run's) with a bare matrix product."""
    folder = export or newest_export().run.export_folder
    files = {name: folder / f"model.{name}.onnx" for name in PRECISIONS}
    files = {name: file for name, file in files.items() if file.is_file()}
    if not files:
        raise click.UsageError(f"expected model.fp32.onnx in '{folder}', found none; make one with: ctonnx export")

    def rate_and_time(name: str) -> tuple[float, float]:
        rate = measure_in_child("ctonnx_bench.experiments.throughput.roofline", name, seconds)
        return rate, measure(files[name], batch_size, seconds)

    found = measure_in_turn(files, rounds, rate_and_time)
    click.echo(f"{folder}: medians of {rounds} processes each, in turn, on {available_cores()} cores")
    for name, samples in found.items():
        count = operations(files[name])
        rate, milliseconds = (statistics.median(column) for column in zip(*samples, strict=True))
        share = statistics.median(count / (own / 1e3) / peak for peak, own in samples)
        click.echo(
            f"{name}: the matrix product reaches {rate / 1e9:.0f} G operations/s; an image of {count / 1e9:.2f} G "
            f"operations takes {milliseconds:.2f} ms at batch {batch_size}, {share:.0%} of that rate "
            f"(100% would be {count / rate * 1e3:.2f} ms)"
        )


if __name__ == "__main__":
    main()
