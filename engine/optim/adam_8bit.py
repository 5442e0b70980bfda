"""Adam whose state takes a byte an element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir import ArrayType
from .. import array_api as xp
from ..tracing.errors import located
from ..tracing.numbers import as_whole
from .adam import Adam
from .optimizer import Scalars, StateSpec

_UINT8 = np.dtype("uint8")


@dataclass(frozen=True)
class Adam8bit(Adam):
    """`Adam` whose m and v are held in blocks of at most `block_size` elements, of each element one byte and of each
    block its largest magnitude: little more than 2 bytes a parameter in place of 8.

    A block is a row along the last axis where that is no longer than `block_size` (and no shorter than 64), else a
    piece of `block_size` elements of all in order; the last piece is filled up.

    Bytes are even steps of the square root of |m| and of the fourth root of v, each relative to the largest of the
    block: m down to 6e-5 of it, v down to 2e-10. v rounds to no less than the smallest step, so that no step is divided
    by a v that was lost. Rounding is up or down by chance, as often as the number is near to either: to the nearest, a
    v that moves by a thousandth in each step would never move. The chance is drawn from the last digits of the number
    itself, so that the bits of a run are its own. Parameters of fewer than `min_8bit_size` elements have Adam's state.
    Dettmers et al. 2022, "8-bit optimizers via block-wise quantization"; torch has none.
    """

    amsgrad: bool = field(default=False, init=False)
    block_size: int = field(default=2048, kw_only=True)
    min_8bit_size: int = field(default=4096, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("block_size", 1), ("min_8bit_size", 0)):
            value = as_whole(getattr(self, name))
            if value is None or value < least:
                raise ValueError(
                    located(f"Adam8bit: {name} is a whole number of {least} or more, got {getattr(self, name)!r}")
                )
            object.__setattr__(self, name, value)

    def init_parameter(self, type: ArrayType) -> dict[str, StateSpec]:
        if type.size < max(self.min_8bit_size, 1):
            return super().init_parameter(type)
        blocks = self._blocks(type.shape)
        codes, scales = ArrayType(blocks, _UINT8), ArrayType(blocks[:-1], type.dtype)
        return {
            "exp_avg": StateSpec(codes, _ZERO),
            "exp_avg_sq": StateSpec(codes),
            "exp_avg_scale": StateSpec(scales),
            "exp_avg_sq_scale": StateSpec(scales),
        }

    def _blocks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a parameter in blocks, which are its last axis: its own shape where its rows are blocks."""
        if len(shape) > 1 and _SHORTEST <= shape[-1] <= self.block_size:
            return shape
        return (-(-math.prod(shape) // self.block_size), self.block_size)

    def update_parameter(
        self, parameter: Any, gradient: Any, state: Mapping[str, Any], scalars: Scalars
    ) -> tuple[Any, dict[str, Any]]:
        if "exp_avg_scale" not in state:
            return super().update_parameter(parameter, gradient, state, scalars)
        shape, blocks = parameter.shape, state["exp_avg"].shape
        moments = {
            "exp_avg": _signed(state["exp_avg"], state["exp_avg_scale"]),
            "exp_avg_sq": _square(state["exp_avg_sq"], state["exp_avg_sq_scale"]),
        }
        new, moments = super().update_parameter(_in(blocks, parameter), _in(blocks, gradient), moments, scalars)
        mean, mean_scale = _signed_codes(moments["exp_avg"])
        square, square_scale = _square_codes(moments["exp_avg_sq"])
        new_state = {
            "exp_avg": mean,
            "exp_avg_sq": square,
            "exp_avg_scale": mean_scale,
            "exp_avg_sq_scale": square_scale,
        }
        if blocks != shape:
            new = xp.reshape(xp.reshape(new, (-1,))[: math.prod(shape)], shape)
        return new, new_state


_SHORTEST = 64
"""The shortest rows that are blocks: their scales add a sixteenth to their bytes."""

_ZERO = 128
"""The code of m = 0."""


def _in(blocks: tuple[int, ...], x: Any) -> Any:
    """An array in blocks, the last one filled up with zeros."""
    if x.shape == blocks:
        return x
    flat = xp.reshape(x, (-1,))
    missing = math.prod(blocks) - flat.shape[0]
    if missing:
        flat = xp.concatenate([flat, xp.zeros((missing,), dtype=x.dtype)])
    return xp.reshape(flat, blocks)


def _signed(codes: Any, scale: Any) -> Any:
    root = (xp.astype(codes, scale.dtype) - float(_ZERO)) * (1 / 127)
    return root * xp.abs(root) * scale[..., None]


def _square(codes: Any, scale: Any) -> Any:
    root = xp.astype(codes, scale.dtype) * (1 / 255)
    return (root * root) * (root * root) * scale[..., None]


def _signed_codes(x: Any) -> tuple[Any, Any]:
    magnitude = xp.abs(x)
    code = xp.minimum(_rounded(xp.sqrt(magnitude / _not_zero(xp.max(magnitude, axis=-1))[..., None]) * 127.0), 127.0)
    return xp.astype(xp.where(x < 0, -code, code) + float(_ZERO), _UINT8), _stored_scale(magnitude)


def _square_codes(x: Any) -> tuple[Any, Any]:
    code = _rounded(xp.sqrt(xp.sqrt(x / _not_zero(xp.max(x, axis=-1))[..., None])) * 255.0)
    return xp.astype(xp.clip(code, 1.0, 255.0), _UINT8), _stored_scale(x)


def _stored_scale(magnitude: Any) -> Any:
    """The largest of each block once more. One value, read in the loop over elements and stored by one over blocks,
    would end the loop, and the moments would lie in memory between both; two are computed in it.
    """
    return -xp.min(-magnitude, axis=-1)


def _not_zero(scale: Any) -> Any:
    return xp.where(scale == 0, 1.0, scale)


def _rounded(x: Any) -> Any:
    """To the whole number below or above. Of the digits of x in base 256 behind the point the first says how near it is
    to either, and the second, which changes with every step, stands for the chance.
    """
    finer = x * 256.0
    return xp.floor(x + (finer - xp.floor(finer)))
