"""Ops that add what another op of two inputs makes to a third: `z + op(x, y)`, which may be written over z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..builder import Builder
from ..graph import Value
from ..op import Attrs, NoDerivative, Op, TypeRuleError, declare
from ..types import Array, ArrayType


def declare_added(plain: Op, made: str, doc: str) -> Op:
    """Declares `NAME_add` for the op NAME, which makes `made`; z is aligned where one of the two inputs is."""
    vjp_of_plain = plain.vjp
    assert vjp_of_plain is not None

    def infer(x: ArrayType, y: ArrayType, z: ArrayType, **attrs: Any) -> ArrayType:
        result = plain.infer(x, y, **attrs)
        assert isinstance(result, ArrayType)
        if result != z:
            raise TypeRuleError(f"the {made} is {result}, what it is added to {z}")
        return result

    def reference(x: Array, y: Array, z: Array, **attrs: Any) -> Array:
        return z + plain.reference(x, y, **attrs)

    def axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[Sequence[int | None]]:
        of_operands = plain.axes(inputs[:2], output, attrs)
        return [*of_operands, [i if alike != (None, None) else None for i, alike in enumerate(zip(*of_operands))]]

    def vjp(
        b: Builder, g: Value, o: Value, x: Value, y: Value, z: Value, **attrs: Any
    ) -> Sequence[Value | NoDerivative | None]:
        parts = vjp_of_plain(b, g, o, x, y, **attrs)
        assert isinstance(parts, Sequence)
        return [*parts, g]

    return declare(
        Op(
            f"{plain.name}_add",
            plain.family,
            infer,
            reference,
            plain.flops,
            axes,
            vjp,
            doc,
            accepts_strides=plain.accepts_strides,
            can_trap=plain.can_trap,
            recompute=plain.recompute,
            accumulates=2,
        )
    )
