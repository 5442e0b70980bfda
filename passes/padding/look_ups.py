"""Rules of gather and scatters: an index counts what is real, and padding looks nothing up and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import OPS, Node, Op, Value
from ...ir.ops import elementwise as ew
from ...ir.ops import scatter
from ...ir.ops.indexing import scatter_add
from ...ir.types import INT64
from .axes import Axes, Axis
from .masker import Masker, Outputs

NEUTRAL: Mapping[Op, float | str] = {
    scatter_add: 0,
    scatter.scatter_mul: 1,
    scatter.scatter_max: "lowest",
    scatter.scatter_min: "highest",
}
"""The update that leaves any entry as it is."""


def masked_gather(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Padded indices are 0."""
    m.same(node, twins)
    x, i = node.inputs
    axis: int = node.attrs["axis"]
    batch: int = node.attrs["batch"]
    of_x, of_indices = m.axes[x], m.axes[i]
    shared = [m.unify(node, [a, c]) for a, c in zip(of_x[:batch], of_indices[:batch], strict=True)]
    axes = [*shared, *of_x[batch:axis], *of_indices[batch:], *of_x[axis + 1 :]]
    indices = _counted(m, node, of_x[axis], m.masked(m.made[i], of_indices, 0), of_indices)
    return [(m.b.emit(node.op, m.made[x], indices, **node.attrs), tuple(axes))]


def masked_scatter(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Padded updates are neutral, or go to an entry more, which is cut off."""
    m.same(node, twins)
    x, i, u = node.inputs
    axis: int = node.attrs["axis"]
    batch: int = node.attrs["batch"]
    of_x, of_indices, of_updates = m.axes[x], m.axes[i], m.axes[u]
    middle = len(of_indices) - batch
    along = range(axis, axis + middle)
    used = [*of_updates[:axis], *of_updates[axis + middle :]]
    kept = [a for k, a in enumerate(of_x) if k != axis]
    axes = [m.unify(node, [a, c]) for a, c in zip(kept, used, strict=True)]
    for k in range(batch):
        axes[k] = m.unify(node, [axes[k], of_indices[k]])
    grid = [m.unify(node, [of_updates[k], a]) for k, a in zip(along, of_indices[batch:], strict=True)]
    m.simple(node, of_x[axis])
    axes.insert(axis, of_x[axis])
    whole: Axes = tuple(Axis(a.factors) for a in axes)
    place = [*axes[:batch], *grid]
    base, indices, updates = (m.made[v] for v in node.inputs)
    indices = _counted(m, node, of_x[axis], m.masked(indices, place, 0), tuple(place))
    layout = [*used[:axis], *grid, *used[axis:]]
    if node.op in NEUTRAL:
        updates = m.masked(updates, layout, NEUTRAL[node.op], along)
        return [(m.b.emit(node.op, base, indices, updates, **node.attrs), whole)]
    if not any(a.is_padded for a in grid):
        return [(m.b.emit(node.op, base, indices, updates, **node.attrs), whole)]
    length, none = x.type.shape[axis], (0,) * len(axes)
    one = tuple(int(k == axis) for k in range(len(axes)))
    longer = m.b.emit(OPS["pad"], base, low=none, high=one, interior=none, value=0.0)
    indices = m.masked(_wide(m, indices), place, length)
    longer = m.b.emit(node.op, longer, indices, updates, **node.attrs)
    return [(m.b.emit(OPS["slice"], longer, start=none, stop=x.type.shape, step=(1,) * len(axes)), whole)]


def _counted(m: Masker, node: Node, axis: Axis, indices: Value, layout: Axes) -> Value:
    """Indices of an axis: from its real end where they are negative, and out of range where they would be so."""
    if not axis.is_padded:
        return indices
    size = m.simple(node, axis).size
    indices = _wide(m, indices)
    shape = indices.type.shape
    zero, length = m.b.full_like(indices, 0), m.numbers(size, shape)
    indices = ew.select(m.b, ew.lt(m.b, indices, zero), ew.add(m.b, indices, length), indices)
    outside = ew.or_(m.b, ew.lt(m.b, indices, zero), ew.ge(m.b, indices, length))
    return m.masked(ew.select(m.b, outside, m.b.full_like(indices, size[0]), indices), layout, 0)


def _wide(m: Masker, indices: Value) -> Value:
    return indices if indices.type.dtype == INT64 else ew.cast(m.b, indices, dtype=INT64)
