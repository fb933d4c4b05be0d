"""Operators of a QDQ graph: integers stay integers as far as onnxruntime keeps them."""

import numpy as np
import pytest
import torch

from ctonnx_export.quantization.learned.integers import Integers, Sum, real
from ctonnx_export.quantization.learned.operators import OPERATORS


def integers(*shape: int, scale: float = 0.5) -> Integers:
    """Returns integers from -4 on."""
    return Integers(torch.arange(float(np.prod(shape))).reshape(shape) - 4, torch.tensor(scale))


def test_sums_of_a_convolution_are_integers_in_steps_of_both_scales() -> None:
    pixels, weight = integers(1, 2, 3, 3), Integers(torch.ones(1, 2, 3, 3), torch.tensor([0.25]))
    bias = Integers(torch.tensor([7.0]), torch.tensor([0.125]))
    found = OPERATORS["Conv"]({"pads": [1, 1, 1, 1]}, pixels, weight, bias)
    assert isinstance(found, Integers)
    assert found.values[0, 0, 1, 1].item() == pixels.values.sum().item() + 7
    assert found.scale.reshape(-1).tolist() == [0.125]
    expected = torch.nn.functional.conv2d(real(pixels), real(weight), torch.tensor([7 * 0.125]), padding=1)
    assert torch.equal(real(found), expected)
    in_float = OPERATORS["Conv"]({"pads": [1, 1, 1, 1]}, pixels, weight, torch.tensor([7 * 0.125]))
    assert isinstance(in_float, torch.Tensor)
    assert torch.equal(in_float, expected)


def test_padding_may_differ_at_the_sides() -> None:
    found = OPERATORS["Conv"]({"pads": [1, 0, 0, 0]}, torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert real(found).tolist() == [[[[2.0], [4.0]]]]
    pooled = OPERATORS["MaxPool"]({"pads": [1, 1, 0, 0], "kernel_shape": [2, 2]}, -torch.ones(1, 1, 2, 2))
    assert real(pooled).tolist() == [[[[-1.0, -1.0], [-1.0, -1.0]]]]


def test_maximum_and_relu_keep_integers_and_a_sum_keeps_its_scales() -> None:
    values = integers(1, 1, 3, 3)
    for name, attributes in (("Relu", {}), ("MaxPool", {"kernel_shape": [2, 2]})):
        found = OPERATORS[name](attributes, values)
        assert isinstance(found, Integers)
        assert found.scale is values.scale
    both = OPERATORS["Add"]({}, values, integers(1, 1, 3, 3, scale=2.0))
    assert isinstance(both, Sum)
    assert torch.equal(real(both), values.values * 2.5)
    assert torch.equal(real(OPERATORS["Relu"]({}, both)), (values.values * 2.5).relu())


def test_another_cast_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected a cast to float32"):
        OPERATORS["Cast"]({"to": 7}, torch.ones(1))
