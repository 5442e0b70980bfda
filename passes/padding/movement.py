"""Rules of ops that move elements: what is real stays in front, or padding would stand between."""

from __future__ import annotations

from ...ir import OPS, ArrayType, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from .axes import Axis, Size, plain, reshaped, varies
from .masker import Masker, Outputs


def masked_reshape(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Axes are merged, or cut where their parts have no padding."""
    (x,) = node.inputs
    axes = reshaped(m.axes[x], m.sizes(node, twins))
    if axes is None:
        return m.crosses(node)
    result = m.b.emit(node.op, m.made[x], **node.attrs)
    return [(_as_zero(m, m.made[x], result), tuple(axes))]


def masked_transpose(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Each axis keeps its layout."""
    m.same(node, twins)
    (x,) = node.inputs
    result = m.b.emit(node.op, m.made[x], **node.attrs)
    perm: tuple[int, ...] = node.attrs["perm"]
    return [(_as_zero(m, m.made[x], result), tuple(m.axes[x][i] for i in perm))]


def masked_broadcast(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Along new axes all elements are equal."""
    m.same(node, twins, "shape")
    (x,) = node.inputs
    places = dict(zip(node.attrs["axes"], m.axes[x], strict=True))
    axes = tuple(places.get(i) or plain(size, True) for i, size in enumerate(m.sizes(node, twins)))
    return [(m.b.emit(node.op, m.made[x], **node.attrs), axes)]


def masked_slice(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """A slice that begins at another place for another length, as the last element, begins where an input says."""
    (v,) = node.inputs
    x, axes = m.made[v], m.axes[v]
    starts, stops, steps = ([*zip(*m.attr(node, twins, name), strict=True)] for name in ("start", "stop", "step"))
    result: list[Axis] = []
    moving: list[int] = []
    for i, (axis, size) in enumerate(zip(axes, m.sizes(node, twins), strict=True)):
        if size == axis.size and set(starts[i]) == {0} and set(steps[i]) == {1}:
            result.append(axis)
            continue
        if varies(steps[i]):
            return m.crosses(node)
        axis = m.simple(node, axis)
        if varies(starts[i]):
            if (steps[i][0] != 1 and set(size) != {1}) or any(start > starts[i][0] for start in starts[i]):
                return m.crosses(node)
            moving.append(i)
        result.append(plain(size, axis.is_uniform))
    whole = {
        "start": tuple(0 if i in moving else s[0] for i, s in enumerate(starts)),
        "stop": tuple(x.type.shape[i] if i in moving else s[0] for i, s in enumerate(stops)),
        "step": tuple(1 if i in moving else s[0] for i, s in enumerate(steps)),
    }
    if len(moving) < len(axes):
        x = m.b.emit(node.op, x, **whole)
    for i in moving:
        size = node.output.type.shape[i]
        x = m.b.emit(OPS["dynamic_slice"], x, m.number(starts[i]), size=size, axis=i, batch=0)
    return [(x, tuple(result))]


def masked_pad(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """What stands behind an array is in place of its padding too; what stands before it may be of another length."""
    m.same(node, twins, "low", "high")
    (v,) = node.inputs
    value, interior = node.attrs["value"], node.attrs["interior"]
    lows, highs = ([*zip(*m.attr(node, twins, name), strict=True)] for name in ("low", "high"))
    sizes = m.sizes(node, twins)
    result: list[Axis] = []
    moving: list[int] = []
    filled: list[int] = []
    for i, axis in enumerate(m.axes[v]):
        if not (any(lows[i]) or any(highs[i]) or interior[i]):
            result.append(axis)
            continue
        m.simple(node, axis)
        if any(highs[i]) or varies(lows[i]):
            filled.append(i)
        if varies(lows[i]):
            if interior[i] or any(low > lows[i][0] for low in lows[i]):
                return m.crosses(node)
            moving.append(i)
        result.append(plain(sizes[i]))
    simple = [plain(axis.size) if i in filled else axis for i, axis in enumerate(m.axes[v])]
    x = m.masked(m.made[v], simple, value, filled)
    low, high = ([0 if i in moving else size[0] for i, size in enumerate(rows)] for rows in (lows, highs))
    x = m.b.emit(node.op, x, low=tuple(low), high=tuple(high), interior=interior, value=value)
    for i in moving:
        shape = (*x.type.shape[:i], sizes[i][0], *x.type.shape[i + 1 :])
        field = m.b.full(value, ArrayType(shape, x.type.dtype))
        x = m.b.emit(OPS["dynamic_update_slice"], field, m.number(lows[i]), x, axis=i, batch=0)
    return [(x, tuple(result))]


def masked_concatenate(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """Each part begins behind what is real of those before it."""
    m.same(node, twins)
    place: int = node.attrs["axis"]
    given = [m.axes[v] for v in node.inputs]
    parts = [m.made[v] for v in node.inputs]
    sizes = m.sizes(node, twins)
    result: list[Axis] = []
    for i, size in enumerate(sizes):
        if i != place:
            result.append(m.unify(node, [axes[i] for axes in given]))
        elif len(given) == 1:
            result.append(given[0][i])
        else:
            for axes in given:
                m.simple(node, axes[i])
            result.append(plain(size))
    if not any(axes[place].is_padded for axes in given[:-1]):
        return [(m.b.emit(node.op, *parts, axis=place), tuple(result))]
    whole = m.b.full(0, node.output.type)
    offset: Size = (0,) * (len(twins) + 1)
    for part, axes in zip(parts, given, strict=True):
        whole = m.b.emit(OPS["dynamic_update_slice"], whole, m.number(offset), part, axis=place, batch=0)
        offset = tuple(a + b for a, b in zip(offset, axes[place].size, strict=True))
    return [(whole, tuple(result))]


def masked_reverse(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """The last real element comes first."""
    m.same(node, twins)
    (v,) = node.inputs
    x, axes = m.made[v], list(m.axes[v])
    turned_axes: tuple[int, ...] = node.attrs["axes"]
    padded = [i for i in turned_axes if axes[i].is_padded and not axes[i].is_uniform]
    x = m.b.emit(node.op, x, axes=tuple(i for i in turned_axes if i not in padded))
    for i in padded:
        size = m.simple(node, axes[i]).size
        shape = (size[0],)
        places = m.b.emit(OPS["iota"], shape=shape, axis=0, dtype=INT64)
        turned = ew.sub(m.b, m.numbers(tuple(n - 1 for n in size), shape), places)
        turned = ew.maximum(m.b, turned, m.b.full_like(turned, 0))
        x = m.b.emit(OPS["gather"], x, turned, axis=i, batch=0)
    return [(x, tuple(axes))]


def masked_dynamic_slice(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """A start is clamped so that the slice lies in what is real."""
    m.same(node, twins)
    v, s = node.inputs
    axis: int = node.attrs["axis"]
    batch: int = node.attrs["batch"]
    axes = [*m.axes[v]]
    start = _clamped(m, node, m.axes[v][axis], m.made[s], node.attrs["size"])
    for i in range(batch):
        axes[i] = Axis(m.unify(node, [axes[i], m.axes[s][i]]).factors)
    axes[axis] = plain(m.sizes(node, twins)[axis])
    return [(m.b.emit(node.op, m.made[v], start, **node.attrs), tuple(axes))]


def masked_dynamic_update_slice(m: Masker, node: Node, twins: list[Node]) -> Outputs:
    """The same, of what is written; of that nothing may be padding along the axis."""
    m.same(node, twins)
    v, s, u = node.inputs
    axis: int = node.attrs["axis"]
    batch: int = node.attrs["batch"]
    if m.axes[u][axis].is_padded:
        return m.crosses(node)
    start = _clamped(m, node, m.axes[v][axis], m.made[s], u.type.shape[axis])
    axes: list[Axis] = []
    for i, (mine, given) in enumerate(zip(m.axes[v], m.axes[u], strict=True)):
        read = [mine] if i == axis else [mine, given, *([m.axes[s][i]] if i < batch else [])]
        axes.append(Axis(m.unify(node, read).factors))
    return [(m.b.emit(node.op, m.made[v], start, m.made[u], **node.attrs), tuple(axes))]


def _clamped(m: Masker, node: Node, axis: Axis, start: Value, size: int) -> Value:
    if not axis.is_padded:
        return start
    last = m.numbers(tuple(n - size for n in m.simple(node, axis).size), start.type.shape)
    return ew.maximum(m.b, ew.minimum(m.b, start, last), m.b.full_like(start, 0))


def _as_zero(m: Masker, before: Value, after: Value) -> Value:
    """Padding that is zeros is so as well where its elements were only moved."""
    if before in m.zeros:
        m.zeros.add(after)
    return after
