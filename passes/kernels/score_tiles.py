"""Which tiles of scores contribute nothing: those that a causal mask leaves out."""

from __future__ import annotations

import math

from ...ir import Graph, Node, Value
from ...ir.ops import creation
from ...ir.ops import elementwise as ew

Known = float | bool | None
"""A number that all elements of a value have, or None."""


def skips_above_diagonal(node: Node) -> bool:
    """Whether scores whose column is larger than their row contribute nothing: where comparisons of the two places are
    false, weights are exp(-inf) and all that is summed up is 0.
    """
    body: Graph = node.attrs["body"]
    rank = len(body.inputs[0].type.shape)
    known: dict[Value, Known] = {}
    places: dict[Value, int] = {}
    found = False
    for inner in body.nodes:
        if inner.op is creation.iota:
            places[inner.output] = inner.attrs["axis"]
        elif inner.op is ew.cast and inner.inputs[0] in places:
            places[inner.output] = places[inner.inputs[0]]
        order = [places.get(v) for v in inner.inputs]
        if (inner.op in (ew.ge, ew.gt) and order == [rank - 2, rank - 1]) or (
            inner.op in (ew.le, ew.lt) and order == [rank - 1, rank - 2]
        ):
            known[inner.output], found = False, True
        else:
            known[inner.output] = _value(inner, [known.get(v) for v in inner.inputs])
    if not found:
        return False
    if node.attrs["softmax"] and known.get(body.outputs[0]) != -math.inf:
        return False
    if node.attrs["softmax"]:
        known[body.inputs[-1]] = 0.0
        for inner in body.nodes:
            if known[inner.output] is None:
                known[inner.output] = _value(inner, [known.get(v) for v in inner.inputs])
    numbers: tuple[int, ...] = (*node.attrs["sums"], *node.attrs["plain"])
    return all(known.get(body.outputs[i]) == 0 for i in numbers)


def _value(node: Node, given: list[Known]) -> Known:
    """What a node makes of what is known. A product with 0 is 0 here: what a mask leaves out counts as finite."""
    match node.op:
        case creation.full:
            return node.attrs["value"]
        case ew.select if given[0] is not None:
            return given[1] if given[0] else given[2]
        case ew.select:
            return given[1] if given[1] == given[2] else None
        case ew.and_ if False in given:
            return False
        case ew.mul if 0 in given:
            return 0.0
        case ew.div if given[0] == 0:
            return 0.0
        case ew.neg if given[0] is not None:
            return -given[0]
        case ew.sub | ew.add if given[0] == -math.inf:
            return -math.inf
        case ew.add if given[1] == -math.inf:
            return -math.inf
        case ew.exp if given[0] == -math.inf:
            return 0.0
        case ew.copy | ew.cast | ew.stop_gradient:
            return given[0]
        case _:
            return None
