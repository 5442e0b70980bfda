"""What cuBLASLt does with a product before it stores it: the epilogue of its call, as the body of a region says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...ir import Graph, Node, Value
from ...ir.ops import creation
from ...ir.ops import elementwise as ew
from ..graph.views import View

Activation = Literal["none", "relu"]
_ALIGNMENT = 16
"""Bytes that a bias is aligned to: the widest load of a thread."""


@dataclass(frozen=True, slots=True, eq=False)
class LibraryEpilogue:
    """`activation(product + added + bias)`: `added` lies as the product would, `bias` has one for each column."""

    added: View | None
    bias: View | None
    activation: Activation


def is_bias(view: View) -> bool:
    """Whether a view has the same dense vector for every row of every matrix."""
    axes = [(n, stride) for n, stride in zip(view.shape, view.strides)]
    aligned = view.offset * view.base.type.dtype.itemsize % _ALIGNMENT == 0
    return aligned and axes[-1][0] > 1 and axes[-1][1] == 1 and all(n == 1 or s == 0 for n, s in axes[:-1])


def is_relu(node: Node, value: Value) -> bool:
    """Whether a node is max(value, 0)."""
    if node.op is ew.relu:
        return True
    others = [v.node for v in node.inputs if v is not value]
    return (
        node.op is ew.maximum
        and len(others) == 1
        and others[0] is not None
        and others[0].op is creation.full
        and others[0].attrs["value"] == 0
    )


def library_epilogue(region: Node, views: Mapping[Value, View]) -> LibraryEpilogue | None:
    """The epilogue of a region that begins with a product, whose inputs lie as `views` says; None where it computes
    anything else.
    """
    body: Graph = region.attrs["body"]
    given = {inner: views[outer] for inner, outer in zip(body.inputs[1:-1], region.inputs[1:-1])}
    value, added, bias = body.nodes[0].output, None, None
    activation: Activation = "none"
    for node in body.nodes[1:]:
        if activation != "none" or value not in node.inputs:
            return None
        if node.op is ew.relu:
            activation = "relu"
        elif node.op is ew.add:
            others = [given[v] for v in node.inputs if v in given]
            if len(others) != 1:
                return None
            if bias is None and is_bias(others[0]):
                bias = others[0]
            elif added is None and others[0].contiguous:
                added = others[0]
            else:
                return None
        else:
            return None
        value = node.output
    return LibraryEpilogue(added, bias, activation) if body.outputs == (value,) and len(body.nodes) > 1 else None
