"""Moments of an optimizer that lie in memory as bfloat16, and are float32 where they are computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import BFLOAT16, ArrayType
from .. import array_api as xp
from ..optim import Optimizer
from ..optim.update_inputs import StateSpec

_FLOAT32 = np.dtype("float32")
_TO_NEXT, _TO_LAST = 1.0043, 0.9957
"""Times these a bfloat16 is nearest to the one next to it, away from 0 and towards 0."""


def narrow_specs(
    optimizer: Optimizer, specs: Mapping[str, StateSpec], parameters: Mapping[str, ArrayType]
) -> dict[str, StateSpec]:
    """The state with its moments in bfloat16: float32 arrays of the shape of their parameter, but for averages of
    parameters.
    """
    averages = () if optimizer.averaged is None else (f"{optimizer.averaged}.",)

    def is_moment(name: str, spec: StateSpec) -> bool:
        own = [type for path, type in parameters.items() if name.endswith(f".{path}")]
        return spec.type.dtype == _FLOAT32 and bool(spec.type.shape) and spec.type in own

    return {
        name: replace(spec, type=ArrayType(spec.type.shape, BFLOAT16))
        if is_moment(name, spec) and not name.startswith(averages)
        else spec
        for name, spec in specs.items()
    }


def widened(state: Mapping[str, Any], narrow: Collection[str]) -> dict[str, Any]:
    """The state as a rule reads it."""
    return {name: xp.astype(value, _FLOAT32) if name in narrow else value for name, value in state.items()}


def narrowed(state: Mapping[str, Any], narrow: Collection[str]) -> dict[str, Any]:
    """The state as it lies in memory."""
    return {name: _rounded(value) if name in narrow else value for name, value in state.items()}


def _rounded(x: Any) -> Any:
    """To the bfloat16 below or above, as often as x is near to either: to the nearest, a moment that moves by a
    thousandth in each step would never move.

    Between two numbers of bfloat16 lie 65,536 of float32, so 16 bits are lost. The first 8 say how near x is to either,
    and the last 8, which change with every step, stand for the chance: a run's bits are its own.
    """
    near = _nearest(x)
    low = xp.where(xp.abs(near) > xp.abs(x), _nearest(near * _TO_LAST), near)
    high = _nearest(low * _TO_NEXT)
    part = (x - low) / xp.where(high == low, 1.0, high - low)
    lost = part * 256.0
    chance = lost - xp.floor(lost)
    return xp.astype(xp.where(part + chance >= 1.0, high, low), BFLOAT16)


def _nearest(x: Any) -> Any:
    """The bfloat16 nearest to a float32, as float32."""
    return xp.astype(xp.astype(x, BFLOAT16), _FLOAT32)
