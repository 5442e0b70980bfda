"""Structural equality: keys of nodes that are equal for equal ops, inputs, attributes and bodies."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ...ir import Array, Graph, Node, Value

_LARGEST = 4096
"""Elements of the largest constant that is compared by content."""


def attr_key(value: Any) -> Any:
    """A hashable key of an attribute, or of all attributes of a node."""
    if type(value) in (int, str):
        return value
    if isinstance(value, dict):
        return tuple([(k, attr_key(v)) for k, v in cast("dict[str, Any]", value).items()]) if value else ()
    if isinstance(value, tuple):
        if set(map(type, cast("tuple[Any, ...]", value))) <= {int}:
            return cast("tuple[int, ...]", value)  # a shape, or axes
        return tuple(attr_key(v) for v in cast("tuple[Any, ...]", value))
    if isinstance(value, float):
        return value.hex()  # 0.0 and -0.0 are equal, and NaN is not equal to itself
    if isinstance(value, bool):
        return str(value)  # True is equal to 1
    if isinstance(value, np.ndarray):
        array = cast(Array, value)
        return (array.shape, array.dtype, array.tobytes()) if array.size <= _LARGEST else id(array)
    return _body_key(value) if isinstance(value, Graph) else value


def node_key(node: Node, inputs: tuple[int, ...], recomputed: bool) -> Any:
    """A key of what `node` computes from numbered inputs; recomputed values differ from their originals."""
    return node.op.name, inputs, attr_key(node.attrs), recomputed


def _body_key(graph: Graph) -> Any:
    numbers: dict[Value, int] = {value: i for i, value in enumerate(graph.inputs)}
    nodes: list[Any] = []
    for node in graph.nodes:
        recomputed = node.origin.role == "recompute"
        nodes.append(node_key(node, tuple(numbers[v] for v in node.inputs), recomputed))
        for value in node.outputs:
            numbers[value] = len(numbers)
    inputs = tuple(str(v.type) for v in graph.inputs)
    return inputs, tuple(nodes), tuple(numbers[v] for v in graph.outputs)
