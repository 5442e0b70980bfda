"""Are random bits that are drawn again those of the first time? Told by numbering equal computations alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from ..ir import Array, Graph, Node, Value

_PASSED_ON = frozenset({"check_index", "copy"})


def unlike_repeats(graph: Graph) -> Iterator[Node]:
    """The nodes with role `recompute`, in regions too, that draw random bits of a stream of another role, but not the
    same bits: of another key, or another type.

    Two nodes compute the same if they have the same op and attributes, and read what is the same. Loops draw in bodies
    of their own, and are looked at one by one.
    """
    numbering = _Numbering()
    for value in graph.inputs:
        numbering.of[value] = numbering.number(("input", value))
    numbering.walk(graph)
    for node, key in numbering.repeats:
        if key not in numbering.first and node.attrs["stream"] in numbering.streams:
            yield node


class _Numbering:
    def __init__(self) -> None:
        self.of: dict[Value, int] = {}
        self.numbers: dict[Any, int] = {}
        self.first: set[int] = set()
        self.streams: set[int] = set()
        self.repeats: list[tuple[Node, int]] = []

    def number(self, key: Any) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def walk(self, graph: Graph) -> None:
        for node in graph.nodes:
            if node.op.name == "region":
                body: Graph = node.attrs["body"]
                self.of.update((inner, self.of[outer]) for inner, outer in zip(body.inputs, node.inputs))
                self.walk(body)
                self.of.update((outer, self.of[inner]) for inner, outer in zip(body.outputs, node.outputs))
            elif node.op.name in _PASSED_ON:
                self.of[node.output] = self.of[node.inputs[0]]
            else:
                key = self.number((node.op.name, _key(node.attrs), *(self.of[v] for v in node.inputs)))
                self.of.update((v, self.number((key, v.index))) for v in node.outputs)
                if node.op.name == "random_bits" and node.origin.role == "recompute":
                    self.repeats.append((node, key))
                elif node.op.name == "random_bits":
                    self.first.add(key)
                    self.streams.add(node.attrs["stream"])


def _key(value: Any) -> Any:
    """Attributes as something that is equal where they are."""
    if isinstance(value, Graph):
        number: dict[Value, int] = {v: i for i, v in enumerate(value.inputs)}
        lines: list[Any] = []
        for node in value.nodes:
            number.update((v, len(number)) for v in node.outputs)
            lines.append((node.op.name, _key(node.attrs), *(number[v] for v in node.inputs)))
        return (*map(str, (v.type for v in value.inputs)), *lines, *(number[v] for v in value.outputs))
    if isinstance(value, dict):
        return tuple((k, _key(v)) for k, v in sorted(cast("dict[str, Any]", value).items()))
    if isinstance(value, np.ndarray):
        array = cast(Array, value)
        return array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, bool):
        return str(value)
    return value
