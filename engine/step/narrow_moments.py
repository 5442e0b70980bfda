"""Moments of an optimizer that lie in memory as two bytes, and are float32 where they are computed.

A bfloat16 holds the moment itself. A float16 holds 16 times the root of its size, with its sign: squares of gradients
lie far below the least number of float16, and their roots do not. It has a moment to 10 bits then, between 1e-17 and
1e7; what is larger is stored as the largest, and nothing but 0 as 0, which a rule may divide by.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import FLOAT16, Array, ArrayType, DType, finfo
from ...ir.ops import elementwise as ew
from .. import array_api as xp
from ..optim import Optimizer
from ..optim.update_inputs import StateSpec
from ..tracing.tracer import emit

_FLOAT32 = np.dtype("float32")
_ROOT_SCALE = 16.0
_LEAST = float(np.finfo(FLOAT16).smallest_subnormal)


def narrow_specs(
    optimizer: Optimizer, specs: Mapping[str, StateSpec], parameters: Mapping[str, ArrayType], dtype: DType
) -> dict[str, StateSpec]:
    """The state with its moments in two bytes: float32 arrays of the shape of their parameter, but for averages of
    parameters.
    """
    averages = () if optimizer.averaged is None else (f"{optimizer.averaged}.",)

    def is_moment(name: str, spec: StateSpec) -> bool:
        own = [type for path, type in parameters.items() if name.endswith(f".{path}")]
        return spec.type.dtype == _FLOAT32 and bool(spec.type.shape) and spec.type in own

    return {
        name: replace(spec, type=ArrayType(spec.type.shape, dtype))
        if is_moment(name, spec) and not name.startswith(averages)
        else spec
        for name, spec in specs.items()
    }


def widened(state: Mapping[str, Any], narrow: Collection[str]) -> dict[str, Any]:
    """The state as a rule reads it."""
    return {name: moment_of(value) if name in narrow else value for name, value in state.items()}


def narrowed(state: Mapping[str, Any], narrow: Mapping[str, DType]) -> dict[str, Any]:
    """The state as it lies in memory, in these dtypes."""
    return {name: stored_moment(value, narrow[name]) if name in narrow else value for name, value in state.items()}


def readable(state: Mapping[str, Array]) -> dict[str, Array]:
    """The state with the moments themselves where roots of them are stored."""
    return {name: moment_of(array) if array.dtype == FLOAT16 else array for name, array in state.items()}


def moment_of(stored: Any) -> Any:
    """A moment in float32, of what is stored in two bytes."""
    wide = _cast(stored, _FLOAT32)
    if stored.dtype != FLOAT16:
        return wide
    root = wide * np.float32(1 / _ROOT_SCALE)
    return root * xp.abs(root)


def stored_moment(moment: Any, dtype: DType) -> Any:
    """What is stored of a float32: what lies below or above in the dtype, as often as it is near to either. To the
    nearest, a moment that moves by a thousandth in each step would never move.

    Between two numbers of bfloat16 lie 65,536 of float32, so 16 bits are lost, 13 with float16. The first say how near
    x is to either, and the last 8 or 7, which change with every step, stand for the chance: a run's bits are its own.
    """
    if dtype != FLOAT16:
        return _cast(_up_or_down(moment, dtype, 256.0), dtype)
    root = xp.sqrt(xp.abs(moment)) * np.float32(_ROOT_SCALE)
    root = xp.minimum(root, np.float32(np.finfo(FLOAT16).max))
    up = _up_or_down(root, dtype, 64.0)
    up = xp.where((up == 0) & (root > 0), np.float32(_LEAST), up)
    return _cast(xp.where(moment < 0, -up, up), dtype)


def _up_or_down(x: Any, dtype: DType, steps: float) -> Any:
    """The number of a dtype, as float32, below or above x; `steps` are told apart of how near x is to either."""
    near = _nearest(x, dtype)
    low = xp.where(xp.abs(near) > xp.abs(x), _next(near, dtype, -1), near)
    high = _next(low, dtype, 1)
    part = (x - low) / xp.where(high == low, 1.0, high - low)
    lost = part * steps
    chance = lost - xp.floor(lost)
    return xp.where(part + chance >= 1.0, high, low)


def _next(x: Any, dtype: DType, sign: int) -> Any:
    """The number of a dtype next to one, away from 0, or towards it where `sign` is -1; of float16 to one above 0."""
    part = np.float32(1.1 * float(finfo(dtype).eps) / 2)
    if dtype != FLOAT16:
        return _nearest(x * np.float32(1 + sign * part), dtype)
    return _nearest(x + sign * xp.maximum(x * part, np.float32(0.6 * _LEAST)), dtype)


def _nearest(x: Any, dtype: DType) -> Any:
    """The number of a dtype that is nearest to a float32, as float32."""
    return _cast(_cast(x, dtype), _FLOAT32)


def _cast(x: Any, dtype: DType) -> Any:
    return x.astype(dtype) if isinstance(x, np.ndarray) else emit(ew.cast, x, dtype=dtype)
