"""Rounding: as onnxruntime's kernels, and with the gradients of learned step sizes."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ctonnx_export.graph.sessions import open_model
from ctonnx_export.quantization.learned.integers import Integers, Sum, real, rounded, rounded_product, rounded_sum


def test_halves_are_rounded_to_even_and_clipped() -> None:
    values = torch.tensor([-3.0, -0.5, 0.5, 1.5, 2.5, 200.0, 300.0])
    assert rounded(values, -2, 255).tolist() == [-2, 0, 0, 2, 2, 200, 255]
    assert rounded_product(values, torch.tensor(0.5), 0, 255).tolist() == [0, 0, 0, 1, 1, 100, 150]


def test_gradient_is_that_of_learned_step_sizes() -> None:
    """The quantized value v = s round(x / s): dv/ds is round(x / s) - x / s inside the range, else its end."""
    x = torch.tensor([0.24, 1.26, 9.0, -9.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    parts = real(Integers(rounded_product(x, 1 / scale, -4, 3), scale))
    assert parts.tolist() == [0.0, 1.5, 1.5, -2.0]
    expected = [0 - 0.48, 3 - 2.52, 3.0, -4.0]
    for part, of_scale in zip(parts, expected, strict=True):
        (found,) = torch.autograd.grad(part, scale, retain_graph=True)
        assert found.item() == pytest.approx(of_scale, abs=1e-6)
    (of_x,) = torch.autograd.grad(parts.sum(), x)
    assert of_x.tolist() == [1, 1, 0, 0]


def test_gradient_of_a_ratio_for_each_channel_has_its_shape() -> None:
    values = torch.arange(12.0).reshape(1, 3, 2, 2).requires_grad_()
    ratio = torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1).requires_grad_()
    rounded_product(values, ratio, 0, 255).sum().backward()  # type: ignore[no-untyped-call]
    assert ratio.grad is not None
    assert ratio.grad.reshape(-1).tolist() == [6, 22, 38]


def sums_of_onnxruntime(
    first: NDArray[np.uint8], second: NDArray[np.uint8], scales: NDArray[np.float32], zeros: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Returns onnxruntime's integers of a sum of two uint8 tensors."""
    names = ["first", "first.scale", "first.zero", "second", "second.scale", "second.zero", "scale", "zero"]
    constants = dict(zip([names[1], names[4], names[6]], scales, strict=True))
    integers = dict(zip([names[2], names[5], names[7]], np.array(zeros, np.uint8), strict=True))
    node = helper.make_node("QLinearAdd", names, ["sum"], domain="com.microsoft")
    shape = list(first.shape)
    graph = helper.make_graph(
        [node],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("first", "second")],
        [helper.make_tensor_value_info("sum", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.array(value), name) for name, value in {**constants, **integers}.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    found: NDArray[np.uint8] = open_model(model).run(None, {"first": first, "second": second})[0]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_sum_is_rounded_as_by_onnxruntime_for_every_pair_of_integers(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256))).reshape(2, -1).astype(np.uint8)
    scales = random.uniform(0.01, 0.1, 3).astype(np.float32)
    zeros = (int(random.integers(60, 200)), int(random.integers(60, 200)), 0)
    expected = sums_of_onnxruntime(pairs[0], pairs[1], scales, zeros)
    values = [torch.from_numpy(pairs[row].astype(np.float32)) - zeros[row] for row in range(2)]
    of_scales = torch.from_numpy(scales)
    both = Sum(Integers(values[0], of_scales[0]), Integers(values[1], of_scales[1]))
    found = rounded_sum(both, of_scales[2], zeros, 0, 255)
    assert (found.numpy() != expected).sum() == 0
    plain = (
        (values[0] * (of_scales[0] / of_scales[2]) + values[1] * (of_scales[1] / of_scales[2])).round().clamp(0, 255)
    )
    trained = rounded_sum(
        Sum(Integers(values[0], of_scales[0].clone().requires_grad_()), Integers(values[1], of_scales[1])),
        of_scales[2],
        zeros,
        0,
        255,
    )
    assert (trained != plain).sum() <= 2  # in training a sum in the middle between two integers may differ


def test_gradients_of_a_sum_are_those_of_its_parts() -> None:
    first, second = (torch.tensor([1.0, 90.0]).requires_grad_() for _ in range(2))
    scales = [torch.tensor(value).requires_grad_() for value in (0.5, 1.0, 0.25)]
    both = Sum(Integers(first, scales[0]), Integers(second, scales[1]))
    assert real(both).tolist() == [1.5, 135]
    (rounded_sum(both, scales[2], (0, 0, 0), 0, 255) * scales[2]).sum().backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert second.grad is not None
    assert (first.grad.tolist(), second.grad.tolist()) == ([0.5, 0], [1, 0])
    assert [scale.grad.item() if scale.grad is not None else None for scale in scales] == [1, 1, 255]
