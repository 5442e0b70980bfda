"""The tanh form of gelu in a graph, as `nn.functional.gelu` writes it."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...ir import Builder, Graph, Node, Value
from ...ir.ops import creation
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, ArrayType

_BOUND = 1e4
_CUBIC = 0.044715
_SCALE = 2 * np.sqrt(2 / np.pi)
_MOST_NODES = 32
"""Nodes behind a value among which it is looked for."""


def tanh_gelu(b: Builder, x: Value) -> Value:
    """x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x³)) of float32."""

    def number(value: float) -> Value:
        return b.emit(creation.full, value=float(np.float32(value)), shape=x.type.shape, dtype=FLOAT32)

    low, high = number(-_BOUND), number(_BOUND)
    x = ew.select(b, ew.lt(b, x, low), low, x)
    bounded = ew.select(b, ew.gt(b, x, high), high, x)
    inner = ew.add(b, number(1), ew.mul(b, number(_CUBIC), ew.mul(b, bounded, bounded)))
    return ew.mul(b, x, ew.sigmoid(b, ew.mul(b, ew.mul(b, bounded, number(_SCALE)), inner)))


def tanh_gelu_behind(value: Value, users: Mapping[Value, Sequence[Node]], kept: Collection[Value]) -> Node | None:
    """The node that makes the gelu of a float32 value; None where there is none, or where what it is computed from, the
    value too, is one of `kept` or read by anything else.
    """
    if value.type.dtype != FLOAT32:
        return None
    terms = {value: "x"}
    waiting = list(users[value])
    while waiting and len(terms) <= _MOST_NODES:
        node = waiting.pop(0)
        term = None if node.outputs[0] in terms else _term(node, terms)
        if term is None:
            continue  # it comes again, once all that it reads is known
        terms[node.output] = term
        if term == _wanted():
            inside = _between(value, node)
            inner = {value, *(n.output for n in inside if n is not node)}
            alone = inner.isdisjoint(kept) and all(reader in inside for v in inner for reader in users[v])
            return node if alone else None
        waiting += users[node.output]
    return None


@functools.cache
def _wanted() -> str:
    b = Builder()
    x = b.input(ArrayType((2,), FLOAT32))
    graph = b.graph([tanh_gelu(b, x)])
    return _terms_of(graph)[graph.outputs[0]]


def _terms_of(graph: Graph) -> dict[Value, str]:
    terms = dict.fromkeys(graph.inputs, "x")
    for node in graph.nodes:
        if (term := _term(node, terms)) is not None:
            terms[node.output] = term
    return terms


def _term(node: Node, terms: Mapping[Value, str]) -> str | None:
    """What an element-wise node computes of x and numbers; None where it reads anything else."""
    if not node.op.is_elementwise or node.attrs:
        return None
    read: list[str] = []
    for v in node.inputs:
        number = v.node.attrs["value"] if v.node is not None and v.node.op is creation.full else None
        if number is None and v not in terms:
            return None
        read.append(terms[v] if number is None else repr(float(number)))
    if node.op in (ew.add, ew.mul):
        read.sort()
    return f"{node.op.name}({', '.join(read)})"


def _between(value: Value, end: Node) -> set[Node]:
    """The nodes that compute `end` from a value, but for numbers."""
    found, stack = set[Node](), [end]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            made = (v.node for v in node.inputs if v is not value)
            stack += (n for n in made if n is not None and n.op is not creation.full)
    return found
