"""A node of a loop's body for all iterations at once. Known elsewhere as vectorizing, or batching as in `jax.vmap`."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import OPS, Builder, Node, Value
from ...ir.ops import contraction, indexing


def can_batch(node: Node, stacked: Sequence[bool]) -> bool:
    """Whether `batched` knows the node; `stacked` says which inputs have the iterations as their first axis."""
    if node.op.family == "indexing" and not all(stacked):
        # An invariant table is looked up at the indices of all iterations.
        at_front = node.attrs["axis"] == 0 and node.attrs["batch"] == 0
        return node.op is indexing.gather and tuple(stacked) == (False, True) and at_front
    return node.op.batch is not None


def batched(b: Builder, node: Node, inputs: Sequence[Value], stacked: Sequence[bool], length: int) -> Value:
    """The only output of `node` for all iterations, which are its first axis; inputs not `stacked` are invariant."""
    rule = node.op.batch
    assert rule is not None, node
    if node.op is contraction.dot and not all(stacked):
        return _dot(b, node, inputs, stacked)
    if node.op is indexing.gather and not stacked[0]:
        return b.emit(node.op, *inputs, **node.attrs)
    every = [x if is_stacked else _repeated(b, x, length) for x, is_stacked in zip(inputs, stacked)]
    return b.emit(node.op, *every, **rule(node.attrs, length))


def _repeated(b: Builder, x: Value, length: int) -> Value:
    return b.emit(OPS["broadcast"], x, shape=(length, *x.type.shape), axes=tuple(range(1, x.type.ndim + 1)))


def _later(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


def _dot(b: Builder, node: Node, inputs: Sequence[Value], stacked: Sequence[bool]) -> Value:
    """A product of which one operand is the same in all steps: the steps are rows, or columns, of one product."""
    (cx, cy), (bx, by) = node.attrs["contract"], node.attrs["batch"]
    x, y = inputs
    if stacked[0]:
        cx, bx = _later(cx), _later(bx)
    if stacked[1]:
        cy, by = _later(cy), _later(by)
    product = b.emit(node.op, x, y, contract=(cx, cy), batch=(bx, by))
    # Batch axes come first, then the free axes of x: the steps are the first of the operand's own.
    place = len(bx) if stacked[0] else len(bx) + inputs[0].type.ndim - len(cx) - len(bx)
    order = (place, *(i for i in range(product.type.ndim) if i != place))
    return product if place == 0 else b.emit(OPS["transpose"], product, perm=order)
