"""The values that a value depends on, along paths that a derivative may take."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir import Node, Value, is_inexact
from ...ir.ops import elementwise as ew
from .scan import Scan


def reached(values: Iterable[Value]) -> set[Value]:
    """All floating-point values that `values` are computed from, but for what stands behind a `stop_gradient`.

    A path through an op whose derivative is zero, such as `floor`, counts. A path through integers or booleans does
    not.
    """
    found: set[Value] = set()
    stack = [v for v in values if is_inexact(v.type.dtype)]
    while stack:
        value = stack.pop()
        if value in found:
            continue
        found.add(value)
        node = value.node
        if node is None or node.op is ew.stop_gradient:
            continue
        read = _read_by_loop(node, node.outputs.index(value)) if node.op.is_scan else node.inputs
        stack += [v for v in read if is_inexact(v.type.dtype)]
    return found


def _read_by_loop(node: Node, output: int) -> list[Value]:
    """The inputs of a `scan` that one of its outputs is computed from, in any of its steps."""
    scan = Scan(node)
    wanted = {output}
    while True:
        inside = reached([scan.body.outputs[i] for i in wanted])
        more = {k for k, carry in enumerate(scan.body_carries) if carry in inside} - wanted
        if not more:
            break
        wanted |= more
    starts = {start for k, start in enumerate(scan.carries) if k in wanted}
    return [v for v, inner in zip(node.inputs, scan.body.inputs) if inner in inside or v in starts]
