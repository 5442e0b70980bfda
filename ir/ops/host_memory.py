"""Moves between the memory of a GPU and pinned memory of its host: what is moved stays as it is.

Known elsewhere as offloading: `MoveToHost` and `MoveToDevice` of XLA, ZeRO-Offload (Ren et al., 2021). The op is a copy
on a CPU, and where what is to be on the host is read on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..builder import Builder
from ..graph import Value
from ..op import Attrs, InferRule, Op, TypeRuleError, VjpRule, declare, no_flops, same_attrs
from ..types import Array, ArrayType


def _type(x: ArrayType) -> ArrayType:
    return x


def _beside_type(x: ArrayType, beside: int) -> ArrayType:
    if beside < 0:
        raise TypeRuleError(f"{beside} units run beside the move")
    return x


def _reference(x: Array, beside: int = 0) -> Array:
    return np.array(x)


def _vjp(b: Builder, g: Value, o: Value, x: Value) -> Value:
    return g


def _beside_vjp(b: Builder, g: Value, o: Value, x: Value, beside: int) -> Value:
    return g


def _axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [list(range(output.ndim))]


def _move(name: str, to: Literal["host", "device"], infer: InferRule, vjp: VjpRule, doc: str) -> Op:
    return declare(
        Op(
            name,
            "movement",
            infer,
            _reference,
            no_flops,
            _axes,
            vjp,
            doc,
            is_identity=True,
            can_trap=False,
            batch=same_attrs,
            moves_to=to,
        )
    )


to_host = _move(
    "to_host",
    "host",
    _beside_type,
    _beside_vjp,
    "x in pinned memory of the host; so many units run beside the move before it is waited for",
)
to_device = _move(
    "to_device", "device", _type, _vjp, "x in the memory of the device; its first reader waits for the move"
)
