"""`region` and `conv_region`: nodes that run as one unit, as a node with a body graph. Made by fusion."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph
from ..interpret import interpret
from ..op import Attrs, Op, Recompute, TypeRuleError, declare
from ..types import Array, ArrayType


def _check_body(types: Sequence[ArrayType], body: Graph) -> None:
    expected = [v.type for v in body.inputs]
    if list(types) != expected:
        raise TypeRuleError(f"the body takes {', '.join(map(str, expected))}, got {', '.join(map(str, types))}")
    if len(set(body.outputs)) < len(body.outputs):
        raise TypeRuleError("the body leaves the same value twice")


def _region_type(*types: ArrayType, body: Graph, domain: tuple[int, ...], rows: int) -> tuple[ArrayType, ...]:
    _check_body(types, body)
    if not -1 <= rows <= len(domain):
        raise TypeRuleError(f"a domain {domain} has no {rows} row axes")
    return tuple(v.type for v in body.outputs)


def _region(*arrays: Array, body: Graph, domain: tuple[int, ...], rows: int) -> tuple[Array, ...]:
    return interpret(body, *arrays)


def _conv_region_type(*types: ArrayType, body: Graph) -> tuple[ArrayType, ...]:
    _check_body(types, body)
    found = [node for node in body.nodes if node.op.family == "convolution"]
    if len(found) != 1 or not body.outputs:
        raise TypeRuleError(f"the body has one convolution, not {len(found)}, and an output")
    return tuple(v.type for v in body.outputs)


def _conv_region(*arrays: Array, body: Graph) -> tuple[Array, ...]:
    return interpret(body, *arrays)


def _region_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    body: Graph = attrs["body"]
    return body.flops()


def _region_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


region = declare(
    Op(
        "region",
        "region",
        _region_type,
        _region,
        _region_flops,
        _region_axes,
        None,
        "the nodes of `body`, run as one unit",
        accepts_strides=True,
        body="once",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)

conv_region = declare(
    Op(
        "conv_region",
        "convolution",
        _conv_region_type,
        _conv_region,
        _region_flops,
        _region_axes,
        None,
        "a convolution, or a gradient to a weight, of what `body` makes element by element; and what it makes of that",
        accepts_strides=True,
        body="once",
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
