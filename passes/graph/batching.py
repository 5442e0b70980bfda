"""A node of a loop's body for all steps at once: inputs have the steps as their first axis, or are the same in all."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import OPS, Builder, Node, Value

_ELEMENT_BY_ELEMENT = frozenset({"reshape", "transpose", "broadcast", "slice", "reverse", "pad", "concatenate"})


def can_batch(node: Node, stacked: Sequence[bool]) -> bool:
    """Whether `batched` knows the node; `stacked` says which inputs have the steps as an axis."""
    name = node.op.name
    if name == "gather":
        at_front = node.attrs["axis"] == 0 and node.attrs["batch"] == 0
        return tuple(stacked) in {(True, True)} or (tuple(stacked) == (False, True) and at_front)
    if name == "scatter_add":
        return all(stacked)
    family = node.op.family
    return family in ("elementwise", "reduction") or name == "dot" or name in _ELEMENT_BY_ELEMENT


def batched(b: Builder, node: Node, inputs: Sequence[Value], stacked: Sequence[bool], length: int) -> Value:
    """The only output of `node` for all steps, with the steps as its first axis."""
    name, attrs = node.op.name, node.attrs
    if name == "dot":
        return _dot(b, node, inputs, stacked)
    if name in ("gather", "scatter_add"):
        if not stacked[0]:
            return b.emit(node.op, *inputs, **attrs)
        return b.emit(node.op, *inputs, axis=attrs["axis"] + 1, batch=attrs["batch"] + 1)
    every = [x if is_stacked else _repeated(b, x, length) for x, is_stacked in zip(inputs, stacked)]
    if node.op.family == "elementwise":
        return b.emit(node.op, *every, **attrs)
    return b.emit(node.op, *every, **_shifted(node, length))


def _repeated(b: Builder, x: Value, length: int) -> Value:
    return b.emit(OPS["broadcast"], x, shape=(length, *x.type.shape), axes=tuple(range(1, x.type.ndim + 1)))


def _later(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def _shifted(node: Node, length: int) -> dict[str, object]:
    """The attributes of a movement or a reduction with one more axis in front."""
    attrs = dict(node.attrs)
    name = node.op.name
    if name in ("reshape", "broadcast"):
        attrs["shape"] = (length, *attrs["shape"])
    if name == "transpose":
        attrs["perm"] = (0, *_later(attrs["perm"]))
    if name == "broadcast":
        attrs["axes"] = (0, *_later(attrs["axes"]))
    elif "axes" in attrs:
        attrs["axes"] = _later(attrs["axes"])
    if "axis" in attrs:
        attrs["axis"] = attrs["axis"] + 1
    if name == "slice":
        attrs.update(start=(0, *attrs["start"]), stop=(length, *attrs["stop"]), step=(1, *attrs["step"]))
    if name == "pad":
        attrs.update({key: (0, *attrs[key]) for key in ("low", "high", "interior")})
    return attrs


def _dot(b: Builder, node: Node, inputs: Sequence[Value], stacked: Sequence[bool]) -> Value:
    (cx, cy), (bx, by) = node.attrs["contract"], node.attrs["batch"]
    x, y = inputs
    if stacked[0]:
        cx, bx = _later(cx), _later(bx)
    if stacked[1]:
        cy, by = _later(cy), _later(by)
    if all(stacked):
        return b.emit(node.op, x, y, contract=(cx, cy), batch=((0, *bx), (0, *by)))
    product = b.emit(node.op, x, y, contract=(cx, cy), batch=(bx, by))
    # Batch axes come first, then the free axes of x: the steps are the first of the operand's own.
    place = len(bx) if stacked[0] else len(bx) + inputs[0].type.ndim - len(cx) - len(bx)
    order = (place, *(i for i in range(product.type.ndim) if i != place))
    return product if place == 0 else b.emit(OPS["transpose"], product, perm=order)
