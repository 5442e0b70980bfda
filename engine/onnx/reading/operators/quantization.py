"""Operators on quantized tensors of uint8: whole numbers that stand for `(q - zero point) * scale`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .....ir import DType, is_float
from .....ir.types import INT32
from .... import array_api as xp
from ...dtypes import dtype_of
from ..operator import Call, operator
from .convolution import conv


@operator("QuantizeLinear")
def quantize(
    call: Call,
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    """`saturate` is of narrow floats, which are not supported."""
    dtype = dtype_of(output_dtype or 2, f"{call.node.label}: the result") if zero_point is None else zero_point.dtype
    if is_float(dtype):
        raise call.refuse(f"quantized numbers of {dtype} are not supported, there are those of uint8")
    wide = dtype_of(precision, f"{call.node.label}: the precision") if precision else scale.dtype
    divided = xp.astype(x, wide) / xp.astype(_spread(x, scale, axis, block_size), wide)
    return _saturated(divided, _spread(x, zero_point, axis, block_size), dtype)


@operator("DequantizeLinear")
def dequantize(
    call: Call,
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Any:
    wide = dtype_of(output_dtype, f"{call.node.label}: the result") if output_dtype else scale.dtype
    numbers = xp.astype(x, wide)
    if zero_point is not None:
        numbers = numbers - xp.astype(_spread(x, zero_point, axis, block_size), wide)
    return numbers * xp.astype(_spread(x, scale, axis, block_size), wide)


@operator("MatMulInteger")
def matmul_integer(call: Call, a: Any, b: Any, a_zero_point: Any = None, b_zero_point: Any = None) -> Any:
    """The zero points of `a` may be one for each row, those of `b` one for each column."""
    rows = a_zero_point[..., None] if a_zero_point is not None and a_zero_point.ndim == 1 else a_zero_point
    return xp.matmul(_from_zero(a, rows), _from_zero(b, b_zero_point))


@operator("QLinearMatMul")
def quantized_matmul(
    call: Call, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    rows = a_scale[..., None] if a_scale.ndim == 1 and a_scale.size > 1 else a_scale
    product = matmul_integer(call, a, b, a_zero, b_zero)
    return _saturated(xp.astype(product, y_scale.dtype) * (rows * b_scale / y_scale), y_zero, y_zero.dtype)


@operator("ConvInteger")
def conv_integer(
    call: Call,
    x: Any,
    weight: Any,
    x_zero_point: Any = None,
    w_zero_point: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Sums of products are exact in float64."""
    images = xp.astype(_from_zero(x, x_zero_point), "float64")
    filters = xp.astype(_from_zero(weight, _of_channels(w_zero_point, weight.ndim, 0)), "float64")
    sums = conv(
        call,
        images,
        filters,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return xp.astype(sums, INT32)


@operator("QLinearConv")
def quantized_conv(
    call: Call,
    x: Any,
    x_scale: Any,
    x_zero: Any,
    weight: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    bias: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    sums = conv_integer(
        call,
        x,
        weight,
        x_zero,
        w_zero,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    if bias is not None:
        sums = sums + _of_channels(bias, sums.ndim, 1)
    factor = x_scale * _of_channels(w_scale, sums.ndim, 1) / y_scale
    return _saturated(xp.astype(sums, y_scale.dtype) * factor, y_zero, y_zero.dtype)


def _of_channels(x: Any, ndim: int, axis: int) -> Any:
    """One number, or one for each entry of an axis, as it is broadcast to an array of so many axes."""
    if x is None or x.ndim == 0:
        return x
    return xp.reshape(x, [-1 if i == axis else 1 for i in range(ndim)])


def _from_zero(x: Any, zero_point: Any) -> Any:
    """Quantized numbers as int32, from the zero point on."""
    wide = xp.astype(x, INT32)
    return wide if zero_point is None else wide - xp.astype(zero_point, INT32)


def _saturated(x: Any, zero_point: Any, dtype: DType) -> Any:
    """Numbers rounded to whole ones, ties to even, and as `dtype`, whose ends stand for what is beyond them."""
    whole = xp.rint(x)
    whole = whole if zero_point is None else whole + xp.astype(zero_point, x.dtype)
    limits = np.iinfo(dtype)
    return xp.astype(xp.minimum(xp.maximum(whole, int(limits.min)), int(limits.max)), dtype)


def _spread(x: Any, given: Any, axis: int, block_size: int) -> Any:
    """Scales or zero points as they are broadcast to `x`: one, one for each entry of an axis, or one for each block."""
    if given is None or given.size == 1:
        return None if given is None else xp.reshape(given, ())
    place = axis % len(x.shape)
    if given.ndim == 1 and not block_size:
        return _of_channels(given, len(x.shape), place)
    repeats = block_size or -(-x.shape[place] // given.shape[place])
    whole = xp.repeat(given, repeats, axis=place)
    return whole[(slice(None),) * place + (slice(0, x.shape[place]),)]
