"""Which values another is a function of by ways that a derivative may take."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir import Graph, Node, Value, is_float


def reached(values: Iterable[Value]) -> set[Value]:
    """All floating-point values that `values` are computed from, but for what stands behind a `stop_gradient`.

    A way through an operation whose derivative is zero, such as `floor`, counts; one through integers or booleans does
    not.
    """
    found: set[Value] = set()
    stack = [v for v in values if is_float(v.type.dtype)]
    while stack:
        value = stack.pop()
        if value in found:
            continue
        found.add(value)
        node = value.node
        if node is None or node.op.name == "stop_gradient":
            continue
        read = _read_by_loop(node, node.outputs.index(value)) if node.op.name == "scan" else node.inputs
        stack += [v for v in read if is_float(v.type.dtype)]
    return found


def _read_by_loop(node: Node, output: int) -> list[Value]:
    """The inputs of a `scan` that one of its outputs is computed from, in any of its steps."""
    body: Graph = node.attrs["body"]
    first, carries = node.attrs["consts"], node.attrs["carries"]
    wanted = {output}
    while True:
        inside = reached([body.outputs[i] for i in wanted])
        more = {i for i in range(carries) if body.inputs[first + i] in inside} - wanted
        if not more:
            break
        wanted |= more
    return [v for v, inner in zip(node.inputs, body.inputs) if inner in inside or _begins(node, v, wanted)]


def _begins(node: Node, value: Value, wanted: set[int]) -> bool:
    """Whether an input is what a carry among `wanted` begins with."""
    first, carries = node.attrs["consts"], node.attrs["carries"]
    return any(node.inputs[first + i] is value for i in wanted if i < carries)
