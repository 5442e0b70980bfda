"""`while_loop` and `cond`: what runs how often is known only as the program runs."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph
from ..interpret import interpret
from ..op import Attrs, Op, Recompute, TypeRuleError, declare
from ..types import BOOL, Array, ArrayType
from .scan import listed


def _is_flag(x: ArrayType) -> bool:
    return x.shape == () and x.dtype == BOOL


def _while_type(*types: ArrayType, body: Graph, consts: int) -> tuple[ArrayType, ...]:
    if not 0 <= consts < len(types) or not _is_flag(types[consts]):
        raise TypeRuleError(f"the first input behind {consts} consts is a bool[], got {listed(types)}")
    if body.aliases and body.aliases != {o: consts + o for o in range(len(types) - consts)}:
        raise TypeRuleError("a body writes its carries over the old ones, or nothing over its inputs")
    expected, made = [v.type for v in body.inputs], [v.type for v in body.outputs]
    if list(types) != expected:
        raise TypeRuleError(f"the body takes {listed(expected)}, an iteration gives it {listed(types)}")
    start = types[consts:]
    if made != list(start):
        raise TypeRuleError(f"the carries begin as {listed(start)}, an iteration makes {listed(made)} of them")
    return start


def _while(*arrays: Array, body: Graph, consts: int) -> tuple[Array, ...]:
    state = arrays[consts:]
    while state[0]:
        state = interpret(body, *arrays[:consts], *state)
    return state


def _while_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    body: Graph = attrs["body"]
    return body.flops()


def _cond_type(flag: ArrayType, *types: ArrayType, true: Graph, false: Graph) -> tuple[ArrayType, ...]:
    if not _is_flag(flag):
        raise TypeRuleError(f"the first input is a bool[], got {flag}")
    for name, branch in (("true", true), ("false", false)):
        expected = [v.type for v in branch.inputs]
        if list(types) != expected:
            raise TypeRuleError(f"the branch {name} takes {listed(expected)}, it is given {listed(types)}")
        if branch.aliases:
            raise TypeRuleError(f"the branch {name} writes over its inputs")
    made, other = ([v.type for v in branch.outputs] for branch in (true, false))
    if made != other:
        raise TypeRuleError(f"the branch true makes {listed(made)}, the branch false {listed(other)}")
    return tuple(made)


def _cond(flag: Array, *arrays: Array, true: Graph, false: Graph) -> tuple[Array, ...]:
    return interpret(true if flag else false, *arrays)


def _cond_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    true: Graph = attrs["true"]
    false: Graph = attrs["false"]
    return max(true.flops(), false.flops())


def _no_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


while_loop = declare(
    Op(
        "while_loop",
        "control_flow",
        _while_type,
        _while,
        _while_flops,
        _no_axes,
        None,
        "`(consts..., flag, carries...) -> (flag, carries...)`: while the flag is true, `body` takes the consts, the "
        "flag and the carries, and gives the new flag and carries; FLOPs are those of one iteration",
        can_trap=False,
        body="repeated",
    )
)

cond = declare(
    Op(
        "cond",
        "control_flow",
        _cond_type,
        _cond,
        _cond_flops,
        _no_axes,
        None,
        "`(flag, consts...) -> (results...)`: what the graph `true` makes of the consts where the flag is true, and "
        "otherwise what `false` makes of them; only one of them runs; FLOPs are those of the larger one",
        can_trap=False,
        body="chosen",
        recompute=Recompute.COSTLY,
    )
)
