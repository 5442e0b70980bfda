"""`scan`: a loop over the steps of a sequence, as one node with a body graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Graph
from ..interpret import interpret
from ..op import Attrs, Op, Recompute, TypeRuleError, declare
from ..types import Array, ArrayType


def listed(types: Sequence[ArrayType]) -> str:
    """Types in the words of an error."""
    return ", ".join(map(str, types)) or "nothing"


def _scan_type(
    *types: ArrayType, body: Graph, consts: int, carries: int, length: int, reverse: bool, in_turn: bool = False
) -> tuple[ArrayType, ...]:
    if min(consts, carries, length) < 0 or consts + carries > len(types):
        raise TypeRuleError(
            f"{len(types)} inputs are no {consts} consts and {carries} carries, or the length {length} is negative"
        )
    for x in types[consts + carries :]:
        if x.shape[:1] != (length,):
            raise TypeRuleError(f"a sequence of {length} steps has a leading axis of that length, got {x}")
    if body.aliases and body.aliases != {o: consts + o for o in range(carries)}:
        raise TypeRuleError("a body writes its carries over the old ones, or nothing over its inputs")
    given = [*types[: consts + carries], *(ArrayType(x.shape[1:], x.dtype) for x in types[consts + carries :])]
    expected = [v.type for v in body.inputs]
    if given != expected:
        raise TypeRuleError(f"the body takes {listed(expected)}, a step gives it {listed(given)}")
    results = [v.type for v in body.outputs]
    start = given[consts : consts + carries]
    if results[:carries] != start:
        raise TypeRuleError(f"the carries begin as {listed(start)}, a step makes {listed(results[:carries])} of them")
    return (*start, *(ArrayType((length, *y.shape), y.dtype) for y in results[carries:]))


def _scan(
    *arrays: Array, body: Graph, consts: int, carries: int, length: int, reverse: bool, in_turn: bool = False
) -> tuple[Array, ...]:
    state = list(arrays[consts : consts + carries])
    stacks = [np.empty((length, *y.type.shape), y.type.dtype) for y in body.outputs[carries:]]
    for t in reversed(range(length)) if reverse else range(length):
        results = interpret(body, *arrays[:consts], *state, *(x[t] for x in arrays[consts + carries :]))
        state = list(results[:carries])
        for stack, y in zip(stacks, results[carries:], strict=True):
            stack[t] = y
    return (*state, *stacks)


def _scan_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    body: Graph = attrs["body"]
    return attrs["length"] * body.flops()


def _scan_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


scan = declare(
    Op(
        "scan",
        "scan",
        _scan_type,
        _scan,
        _scan_flops,
        _scan_axes,
        None,
        "`(consts..., carries..., xs...) -> (carries..., ys...)`: `body` runs `length` times, from the last step to "
        "the first where `reverse`; it takes the consts, the carries and step t of every x, and gives the new carries "
        "and step t of every y",
        can_trap=False,
        body="looped",
        recompute=Recompute.COSTLY,
    )
)
