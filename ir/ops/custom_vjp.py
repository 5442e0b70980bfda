"""`custom_vjp`: values with a derivative that the user wrote, as a graph beside them."""

from __future__ import annotations

from collections.abc import Sequence

from ..builder import Builder
from ..complex_parts import Parts
from ..graph import Graph, Value
from ..op import Attrs, Op, Recompute, TypeRuleError, declare, no_flops
from ..types import Array, ArrayType, is_inexact


def _custom_type(*types: ArrayType, backward: Graph, values: int, arguments: int) -> ArrayType | tuple[ArrayType, ...]:
    if min(values - 1, arguments) < 0 or values + arguments > len(types):
        raise TypeRuleError(f"{len(types)} inputs are no {values} values and {arguments} arguments")
    made, wrt, rest = types[:values], types[values : values + arguments], types[values + arguments :]
    for what, expected, found in (
        ("takes", [*rest, *made], backward.inputs),
        ("gives", wrt, backward.outputs),
    ):
        if list(expected) != [v.type for v in found]:
            listed = ", ".join(map(str, expected)) or "nothing"
            raise TypeRuleError(f"the backward {what} {', '.join(str(v.type) for v in found)}, expected {listed}")
    return made[0] if values == 1 else tuple(made)


def _custom(*arrays: Array, backward: Graph, values: int, arguments: int) -> Array | tuple[Array, ...]:
    return arrays[0] if values == 1 else arrays[:values]


def _custom_vjp(
    b: Builder,
    g: Value | Sequence[Value],
    o: Value | Sequence[Value],
    *inputs: Value,
    backward: Graph,
    values: int,
    arguments: int,
) -> Sequence[Value | None]:
    rest = inputs[values + arguments :]
    cotangents = b.inline(backward, [*rest, *([g] if isinstance(g, Value) else g)])
    kept = [gradient if is_inexact(gradient.type.dtype) else None for gradient in cotangents]
    return [*(None for _ in range(values)), *kept, *(None for _ in rest)]


def _custom_parts(b: Builder, op: Op, inputs: Sequence[Value | Parts], attrs: Attrs) -> Sequence[Value | Parts]:
    # All derivatives are taken: the values are all that is left.
    return inputs[: attrs["values"]]


def _custom_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


custom_vjp = declare(
    Op(
        "custom_vjp",
        "custom",
        _custom_type,
        _custom,
        no_flops,
        _custom_axes,
        _custom_vjp,
        "`(values..., arguments..., rest...) -> values...`: the values as they are. Their derivative with respect to "
        "the arguments is the graph `backward`, `(rest..., cotangents of values...) -> (cotangents of arguments...)`; "
        "nothing flows back through the values themselves. No kernel runs for it: the first simplification drops it, "
        "when all derivatives are taken",
        can_trap=False,
        recompute=Recompute.COSTLY,
        parts=_custom_parts,
    )
)
