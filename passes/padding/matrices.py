"""The rule of linear systems and factors: padding of a batch of matrices is identities, which stop no run."""

from __future__ import annotations

from ...ir import OPS, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from .masker import Masker, Outputs, aligned_axes


def masked_matrices(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """The matrices themselves are whole."""
    axes = aligned_axes(m, node, twins)
    given = [m.made[v] for v in node.inputs]
    batch = [i for i, axis in enumerate(m.axes[node.inputs[0]]) if axis.is_padded]
    if node.can_trap and batch:
        mask = m.mask(given[0].type.shape, [(i, m.axes[node.inputs[0]][i]) for i in batch])
        given[0] = ew.select(m.b, mask, given[0], _identities(m, given[0]))
    return [(m.b.emit(node.op, *given, **node.attrs), axes)]


def _identities(m: Masker, like: Value) -> Value:
    shape, last = like.type.shape, like.type.ndim - 1
    rows, columns = (m.b.emit(OPS["iota"], shape=shape, axis=axis, dtype=INT64) for axis in (last - 1, last))
    return ew.cast(m.b, ew.eq(m.b, rows, columns), dtype=like.type.dtype)
