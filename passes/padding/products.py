"""Rules of products, convolutions and windows: padding along what they sum over is zeros, or what changes no result."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...ir import Node, Op, Value
from ...ir.ops import window
from ...ir.ops.contraction import Pair, free_axes
from ..graph.structural_key import attr_key
from .axes import Axis, plain
from .masker import Masker, Outputs

WINDOWS: Mapping[Op, float | str] = {
    window.window_sum: 0,
    window.window_max: "lowest",
    window.window_find: np.nan,  # no window's value, but of one whose result is no number either
    window.window_spread: 0,
    window.window_put: 0,
}
"""What a window may meet in padding, where nothing would lie."""


def masked_dot(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Both factors are zeros in padding along what is summed, or a NaN there would be one of the sum."""
    m.same(node, twins)
    contract: Pair = node.attrs["contract"]
    batch: Pair = node.attrs["batch"]
    (cx, cy), (bx, by) = contract, batch
    left, right = (m.axes[v] for v in node.inputs)
    # Of two layouts one may stand for any; the other is the one to go by.
    summed = {a: Axis(m.unify(node, [left[a], right[c]]).factors) for a, c in zip(cx, cy, strict=True)}
    x = m.masked(m.made[node.inputs[0]], [summed.get(i, a) for i, a in enumerate(left)], 0, cx)
    of_right = dict(zip(cy, summed.values(), strict=True))
    y = m.masked(m.made[node.inputs[1]], [of_right.get(i, a) for i, a in enumerate(right)], 0, cy)
    axes = [m.unify(node, [left[a], right[c]]) for a, c in zip(bx, by, strict=True)]
    axes = [axis if axis.is_uniform and right[c].is_uniform else Axis(axis.factors) for axis, c in zip(axes, by)]
    axes += [left[i] for i in free_axes(node.inputs[0].type, cx, bx)]
    axes += [right[i] for i in free_axes(node.inputs[1].type, cy, by)]
    return [(m.b.emit(node.op, x, y, **node.attrs), tuple(axes))]


def masked_conv(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Behind the last real element of an image lie zeros, as behind its last one without padding."""
    m.same(node, twins, "high")
    images, weight = (m.axes[v] for v in node.inputs)
    if images[-1].is_padded or any(axis.is_padded for axis in weight):
        return m.crosses(node)
    spatial = range(1, len(images) - 1)
    for i in spatial:
        m.simple(node, images[i])
    x = m.masked(m.made[node.inputs[0]], images, 0, spatial)
    axes = [images[0], *map(plain, m.sizes(node, twins)[1:])]
    return [(m.b.emit(node.op, x, m.made[node.inputs[1]], **node.attrs), tuple(axes))]


def masked_weight_gradient(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Images and cotangents are summed over, and are zeros in padding."""
    m.same(node, twins, "high")
    given = [m.axes[v] for v in node.inputs]
    if any(axes[-1].is_padded for axes in given):
        return m.crosses(node)
    m.unify(node, [axes[0] for axes in given])
    summed = range(len(given[0]) - 1)
    inputs: list[Value] = []
    for v, axes in zip(node.inputs, given, strict=True):
        for i in summed[1:]:
            m.simple(node, axes[i])
        whole = [Axis(m.unify(node, [a[0] for a in given]).factors), *axes[1:]]
        inputs.append(m.masked(m.made[v], whole, 0, summed))
    return [(m.b.emit(node.op, *inputs, **node.attrs), tuple(map(plain, m.sizes(node, twins))))]


def masked_window(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Nothing lies in padding. A window is as large as without, or it covers its axes whole."""
    m.same(node, twins, "high", "lengths", "size", "stride")
    along: tuple[int, ...] = node.attrs["axes"]
    if any(attr_key(n.attrs["size"]) != attr_key(node.attrs["size"]) for n in twins):
        for n in (node, *twins):
            _check_whole(m, n, node)
        if node.op is window.window_find:
            m.renumbered.add(node.output)
    else:
        m.same(node, twins, "high", "lengths")
    given = [m.axes[v] for v in node.inputs]
    for axes in given:
        for i in along:
            m.simple(node, axes[i])
    fill = node.attrs["outside"] if "outside" in node.attrs else WINDOWS[node.op]
    first = m.masked(m.made[node.inputs[0]], given[0], fill, along)
    sizes = m.sizes(node, twins)
    rows = zip(*given, strict=True)
    result = [plain(sizes[i]) if i in along else m.unify(node, row) for i, row in enumerate(rows)]
    others = (m.made[v] for v in node.inputs[1:])
    return [(m.b.emit(node.op, first, *others, **node.attrs), tuple(result))]


def _check_whole(m: Masker, node: Node, padded: Node) -> None:
    """Raise `PaddingError` unless each window of another size than the padded one's is all of its axis."""
    attrs, found = node.attrs, node.inputs[0].type.shape
    axes: tuple[int, ...] = attrs["axes"]
    lengths: tuple[int, ...] = attrs["lengths"] if "lengths" in attrs else tuple(found[a] for a in axes)
    rows = zip(lengths, *(attrs[name] for name in ("size", "low", "high", "dilation")), strict=True)
    for length, size, low, high, dilation in rows:
        if (size, low, high, dilation) != (length, 0, 0, 1):
            m.crosses(padded)
