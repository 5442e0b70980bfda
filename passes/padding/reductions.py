"""Rules of what combines elements along axes: padding is filled with what changes no result."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Node, Op
from ...ir.ops import reduction
from .axes import Axis, plain
from .masker import Masker, Outputs

NEUTRAL: Mapping[Op, float | str] = {
    reduction.reduce_sum: 0,
    reduction.reduce_prod: 1,
    reduction.reduce_max: "lowest",
    reduction.reduce_min: "highest",
    reduction.argmax: "lowest",
    reduction.argmin: "highest",
}
"""What an op combines with anything to that same thing."""


def masked_reduction(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """The neutral element stands in padding along the axes that are reduced."""
    m.same(node, twins)
    (v,) = node.inputs
    axes = m.axes[v]
    reduced: tuple[int, ...] = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    if "axis" in node.attrs:
        m.simple(node, axes[reduced[0]])  # an index counts elements
    x = m.masked(m.made[v], axes, NEUTRAL[node.op], reduced)
    kept = tuple(axis for i, axis in enumerate(axes) if i not in reduced)
    return [(m.b.emit(node.op, x, **node.attrs), kept)]


def masked_running(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """What runs forward never meets padding before what is real; a sum that runs backward begins with zeros."""
    m.same(node, twins)
    (v,) = node.inputs
    axes, place = [*m.axes[v]], node.attrs["axis"]
    axes[place] = _along(m, node, place)
    x = m.masked(m.made[v], axes, 0, (place,)) if node.attrs.get("reverse") else m.made[v]
    return [(m.b.emit(node.op, x, **node.attrs), tuple(axes))]


def masked_sort(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Padding comes last: equal elements keep their order, and it stood last before."""
    m.same(node, twins)
    (v,) = node.inputs
    axes, place = [*m.axes[v]], node.attrs["axis"]
    axes[place] = _along(m, node, place)
    x = m.masked(m.made[v], axes, "lowest" if node.attrs["descending"] else "last", (place,))
    return [(m.b.emit(node.op, x, **node.attrs), tuple(axes))]


def _along(m: Masker, node: Node, place: int) -> Axis:
    """The axis that an op works along, whose elements are then no longer equal."""
    axis = m.axes[node.inputs[0]][place]
    return plain(m.simple(node, axis).size)
