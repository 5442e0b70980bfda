"""What cuBLASLt does with a product before it stores it: the epilogue of its call, as the body of a region says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...ir import Graph, Node, Value
from ...ir.ops import creation
from ...ir.ops import elementwise as ew
from ..graph.views import View
from .tanh_gelu import tanh_gelu_behind

Activation = Literal["none", "relu", "gelu_tanh"]
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
    for node in body.nodes[1:]:
        others = [given[v] for v in node.inputs if v in given]
        if node.op is not ew.add or value not in node.inputs or len(others) != 1:
            break
        if bias is None and is_bias(others[0]):
            bias = others[0]
        elif added is None and others[0].contiguous:
            added = others[0]
        else:
            return None
        value = node.output
    activation = _activation(body, value)
    return None if activation is None or len(body.nodes) == 1 else LibraryEpilogue(added, bias, activation)


def _activation(body: Graph, value: Value) -> Activation | None:
    """What a body makes of a value, and leaves; None where it is no activation."""
    if body.outputs == (value,):
        return "none"
    end = body.outputs[0].node
    if end is None or len(body.outputs) > 1:
        return None
    if end.op is ew.relu and end.inputs == (value,):
        return "relu"
    return "gelu_tanh" if tanh_gelu_behind(value, body.users(), ()) is end else None
