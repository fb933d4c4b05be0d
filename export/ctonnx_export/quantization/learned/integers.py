"""Tensors of integers in float32 with gradients: rounded as onnxruntime's INT8 kernels round.

Rounding passes gradients on as if it were not there (Bengio et al. 2013, https://arxiv.org/abs/1308.3432), clipping
only inside its range. The gradient of a scale follows from that: learned step sizes (Esser et al. 2020,
https://arxiv.org/abs/1902.08153).

Sums of products of 8-bit integers are exact in float32 below 2**24, in any order of the terms. A sum of dequantized
values is not, and a sum that comes near the middle between two integers would be rounded to the other one than by
onnxruntime; the next layers multiply such differences. So integers stay integers here from one rounding to the next,
and are multiplied by the ratio of scales that the kernels use.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Integers", "Sum", "real", "rounded", "rounded_product", "rounded_sum"]


@dataclass(frozen=True)
class Integers:
    """A dequantized tensor that is not multiplied yet.

    Attributes:
        values: Integers without their zero point: 0 is 0, so that a product needs no correction.
        scale: Value of one step, with a shape that `values` can be multiplied by.
    """

    values: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Sum:
    """Sum of two dequantized tensors with one scale each."""

    first: Integers
    second: Integers


def real(tensor: "Tensor | Integers | Sum") -> Tensor:
    """Returns the real values of a tensor, float32."""
    if isinstance(tensor, Integers):
        return tensor.values * tensor.scale
    if isinstance(tensor, Sum):
        return real(tensor.first) + real(tensor.second)
    return tensor


def rounded(values: Tensor, low: int, high: int) -> Tensor:
    """Returns values rounded to integers, half to even, and clipped to a range."""
    found: Tensor = _Rounded.apply(values, None, low, high)
    return found


def rounded_product(values: Tensor, ratio: Tensor, low: int, high: int) -> Tensor:
    """Returns values times a ratio of scales, rounded and clipped, as a convolution's sums are: `MlasRequantizeOutput`.

    The ratio has a shape that the values can be multiplied by.
    """
    found: Tensor = _Rounded.apply(values, ratio, low, high)
    return found


def rounded_sum(sum_: Sum, scale: Tensor, zeros: tuple[int, int, int], low: int, high: int) -> Tensor:
    """Returns the integers of a sum for a scale, rounded and clipped as by `MlasQLinearAdd`.

    Args:
        sum_: Sum of two tensors with one scale each.
        scale: Scale of the result.
        zeros: Zero points of the two and of the result, which the kernel adds before it rounds.
        low: Least integer of the result, without its zero point.
        high: Largest one.
    """
    first, second = sum_.first, sum_.second
    ratios = first.scale / scale, second.scale / scale
    found: Tensor = _RoundedSum.apply(
        first.values, ratios[0].reshape(()), second.values, ratios[1].reshape(()), zeros, low, high
    )
    return found


class _Rounded(torch.autograd.Function):
    """Rounding of values, times a ratio if there is one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ratio: Tensor | None, low: int, high: int) -> Tensor:
        ctx.save_for_backward(values, ratio)
        ctx.range = low, high
        product = values.clone() if ratio is None else values * ratio
        return product.round_().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, ratio = ctx.saved_tensors
        product = values if ratio is None else values * ratio
        inside = _inside(gradients[0], product, *ctx.range)
        if ratio is None:
            return inside, None, None, None
        of_values = inside * ratio if ctx.needs_input_grad[0] else None
        of_ratio = inside.mul_(values).sum_to_size(ratio.shape) if ctx.needs_input_grad[1] else None
        return of_values, of_ratio, None, None


class _RoundedSum(torch.autograd.Function):
    """Rounding of a sum of two products, with the kernel's fused multiplications and additions, in its order.

    Source: `MlasQLinearAddKernelAvx2Helper` in onnxruntime's core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp; the compiler
    fuses the sum of the zero points, too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        first_ratio: Tensor,
        second: Tensor,
        second_ratio: Tensor,
        zeros: tuple[int, int, int],
        low: int,
        high: int,
    ) -> Tensor:
        ctx.save_for_backward(first, first_ratio, second, second_ratio)
        ctx.range = low, high
        if any(ctx.needs_input_grad):  # a step of the training, which a rare other rounding does not change
            return torch.addcmul(first * first_ratio, second, second_ratio).round_().clamp_(low, high)
        fixed = zeros[2] - _fused(first_ratio.new_tensor(zeros[0]), first_ratio, second_ratio * zeros[1])
        total = _fused(first + zeros[0], first_ratio, _fused(second + zeros[1], second_ratio, fixed))
        return total.round_().sub_(zeros[2]).clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        first, first_ratio, second, second_ratio = ctx.saved_tensors
        total = torch.addcmul(first * first_ratio, second, second_ratio)
        inside = _inside(gradients[0], total, *ctx.range)
        of_ratios = (inside * first).sum(), (inside * second).sum()
        return inside * first_ratio, of_ratios[0], inside * second_ratio, of_ratios[1], None, None, None


def _inside(gradient: Tensor, values: Tensor, low: int, high: int) -> Tensor:
    """Returns the gradient of values that are not clipped, and 0 for the others."""
    found: Tensor = torch.ops.aten.hardtanh_backward(gradient, values, low - 0.5, high + 0.5)
    return found


def _fused(values: Tensor, factor: Tensor, term: Tensor) -> Tensor:
    """Returns values * factor + term, rounded to float32 only once: the product is exact in float64."""
    return values.double().mul_(factor.double()).add_(term.double()).float()
