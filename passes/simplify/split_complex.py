"""Complex values as pairs of real ones: no pass after this one, and no kernel, computes with complex numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...ir import NOWHERE, OPS, ArrayType, Builder, Graph, Node, Value, is_complex, part_dtype
from ...ir.complex_parts import Parts
from ..graph.rewrite import Pass
from ..graph.scan import Scan

Known = Value | Parts
"""What stands for a value of the old graph: a real value, or the two of a complex one."""


@dataclass(frozen=True)
class SplitComplex(Pass):
    """`mul(x, y)` of complex numbers -> `sub(mul(re x, re y), mul(im x, im y)), add(...)`.

    Known elsewhere as complex-to-standard lowering. Each op says by its rule `parts` what it is of real numbers. A
    complex operand, carry or result of a loop or of a branch becomes two real ones. Complex numbers are left in memory
    that is the caller's: `planes` reads an input that is complex, and `from_planes` makes such an output.
    """

    in_bodies: ClassVar[bool] = False

    def __call__(self, graph: Graph) -> Graph:
        if not _has_complex(graph):
            return graph
        b = Builder()
        known: dict[Value, Known] = {}
        for value in graph.inputs:
            known[value] = b.input(value.type, value.name)
        read = {v for node in graph.nodes for v in node.inputs} | set(graph.outputs)
        for value in graph.inputs:
            if is_complex(value.type.dtype) and value in read:
                known[value] = _from_planes(b, OPS["planes"](b, _whole(known[value]), plane=0))
        _split_nodes(b, graph.nodes, known)
        outputs: list[Value] = []
        for value in graph.outputs:
            b.origin = NOWHERE if value.node is None else value.node.origin
            outputs.append(_joined(b, known[value]))
        return b.graph(outputs, graph.aliases, graph.output_names)


def _has_complex(graph: Graph) -> bool:
    values = (v for node in graph.nodes for v in (*node.inputs, *node.outputs))
    return any(is_complex(v.type.dtype) for v in (*graph.inputs, *values)) or any(
        _has_complex(body) for node in graph.nodes for body in node.bodies
    )


def _whole(known: Known) -> Value:
    assert isinstance(known, Value)
    return known


def _from_planes(b: Builder, planes: Value) -> Known:
    op = OPS["from_planes"]
    assert op.parts is not None
    return op.parts(b, op, [planes], {"plane": 0})[0]


def _joined(b: Builder, known: Known) -> Value:
    """A value as its reader outside of the graph sees it."""
    if isinstance(known, Value):
        return known
    op = OPS["planes"]
    assert op.parts is not None
    return OPS["from_planes"](b, _whole(op.parts(b, op, [known], {"plane": 0})[0]), plane=0)


def _split_nodes(b: Builder, nodes: Sequence[Node], known: dict[Value, Known]) -> None:
    """Append what `nodes` compute of what is `known`, and enter it there."""
    for node in nodes:
        b.origin = node.origin
        inputs = [known[v] for v in node.inputs]
        if node.op.bodies:
            outputs = _split_bodies(b, node, inputs)
        elif any(is_complex(v.type.dtype) for v in (*node.inputs, *node.outputs)):
            assert node.op.parts is not None, node
            outputs = node.op.parts(b, node.op, inputs, node.attrs)
        else:
            outputs = b.copy(node, [_whole(x) for x in inputs]).outputs
        known.update(zip(node.outputs, outputs, strict=True))


def _split_bodies(b: Builder, node: Node, inputs: Sequence[Known]) -> Sequence[Known]:
    """A loop or a branch whose operands are the parts of its complex ones."""
    attrs = dict(node.attrs)
    for name in node.op.bodies:
        attrs[name] = _split_body(attrs[name])
    if "consts" in attrs:
        consts: int = attrs["consts"]
        attrs["consts"] = len(_flat(inputs[:consts]))
        if node.op.is_scan:
            attrs["carries"] = len(_flat(inputs[consts : consts + Scan(node).carry_count]))
    made = iter(b.emit_node(node.op, *_flat(inputs), **attrs).outputs)
    return [Parts(next(made), next(made)) if is_complex(v.type.dtype) else next(made) for v in node.outputs]


def _split_body(body: Graph) -> Graph:
    b = Builder()
    known: dict[Value, Known] = {}
    for value in body.inputs:
        if is_complex(value.type.dtype):
            part = ArrayType(value.type.shape, part_dtype(value.type.dtype))
            re, im = (b.input(part, value.name and f"{value.name}.{end}") for end in ("real", "imag"))
            known[value] = Parts(re, im)
        else:
            known[value] = b.input(value.type, value.name)
    _split_nodes(b, body.nodes, known)
    return b.graph(_flat([known[v] for v in body.outputs]))


def _flat(values: Sequence[Known]) -> list[Value]:
    return [part for x in values for part in ((x.re, x.im) if isinstance(x, Parts) else (x,))]
