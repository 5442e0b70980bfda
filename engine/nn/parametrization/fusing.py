"""Batch normalization in evaluation as part of the layer before it, under torch's names."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from ....ir import Array, DType
from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike
from ...tracing.tracer import ShapeError, located
from ..module import Module
from ..parameter import Parameter, Stored
from .parametrize import stored_parameter

M = TypeVar("M", bound=Module)


def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Any, Any]:
    """(weight, bias) of a convolution that does what one with `conv_w` and `conv_b` and a batch normalization of these
    statistics, weight and bias do; `transpose` for a transposed one. `None` stands for a bias of 0, a weight of 1.
    """
    weight = as_arraylike(conv_w)
    scale = _scale(bn_rv, bn_eps, bn_w)
    place = 1 if transpose else 0
    if weight.shape[place] != scale.shape[0]:
        shapes = f"{weight.shape[place]} outputs and {scale.shape[0]} statistics"
        raise ShapeError(located(f"fuse_conv_bn_weights: one for each output, got {shapes}"))
    along = tuple(-1 if i == place else 1 for i in range(weight.ndim))
    return weight * xp.astype(xp.reshape(scale, along), weight.dtype), _shifted(conv_b, bn_rm, scale, bn_b)


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Any, Any]:
    """As `fuse_conv_bn_weights`, for the weight (out, in) of a linear layer."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _scale(variance: Any, eps: float, weight: Any) -> Any:
    scale = 1 / xp.sqrt(as_arraylike(variance) + eps)
    return scale if weight is None else scale * weight


def _shifted(bias: Any, mean: Any, scale: Any, shift: Any) -> Any:
    result = ((0 if bias is None else bias) - as_arraylike(mean)) * scale
    return result if shift is None else result + shift


def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """A copy of `conv` whose weight and bias begin as those that do what `conv` and `bn` do in evaluation, by the
    initial values of both: those that were loaded. Raises `RuntimeError` unless both are in evaluation.
    """
    return _fused("fuse_conv_bn_eval", conv, bn, transpose)


def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """As `fuse_conv_bn_eval`, for a linear layer."""
    return _fused("fuse_linear_bn_eval", linear, bn, False)


def _fused(what: str, layer: M, bn: Module, transpose: bool) -> M:
    if layer.training or bn.training:
        raise RuntimeError(located(f"{what}: both are in evaluation; write conv.eval(), bn.eval()"))
    weight, statistics = stored_parameter(layer, "weight"), [bn._buffers.get(f"running_{n}") for n in ("mean", "var")]
    if None in statistics:
        raise RuntimeError(located(f"{what}: bn has no running statistics, which it has with track_running_stats=True"))
    given = [
        weight,
        layer._parameters.get("bias"),
        *statistics,
        bn._parameters.get("weight"),
        bn._parameters.get("bias"),
    ]
    outputs = cast(Stored, statistics[0]).shape
    rule = partial(_first, parts=copy.deepcopy(given), eps=bn.eps, transpose=transpose)
    result = copy.deepcopy(layer)
    for which, (name, shape) in enumerate((("weight", weight.shape), ("bias", outputs))):
        made = Parameter(shape, weight.dtype, requires_grad=weight.requires_grad)
        setattr(result, name, made.initialize(partial(rule, which=which)))
    return result


def _first(
    generator: np.random.Generator,
    shape: tuple[int, ...],
    dtype: DType,
    parts: list[Stored | None],
    eps: float,
    transpose: bool,
    which: int,
) -> Array:
    # Each part by the same seed, for the weight and for the bias.
    values = [None if stored is None else stored.initial(str(i)) for i, stored in enumerate(parts)]
    weight, bias, mean, variance, scale, shift = values
    return np.asarray(fuse_conv_bn_weights(weight, bias, mean, variance, eps, scale, shift, transpose)[which], dtype)
