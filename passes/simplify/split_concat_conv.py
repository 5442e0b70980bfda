"""Convolutions of concatenated channels become sums over the parts: the concatenation is never whole in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import convolution, movement
from ...ir.ops.movement import slice_along
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass, rewrite_nodes
from ..kernels.conv_geometry import has_tiled_kernel
from ..target import DEFAULT_TARGET, Target

_Bounds = tuple[int, int]
"""The first channel, and the one behind the last."""


@dataclass(frozen=True)
class SplitConcatConv(Pass):
    """`conv(concatenate(x, y), w)` -> `conv(x, w of x) + conv(y, w of y)`, and so for its gradients:

        conv(concatenate(x, y), w)    -> conv_add(y, w[:, of y], conv(x, w[:, of x]))
        conv_weight_gradient(concatenate(x, y), g)
                                      -> concatenate(conv_weight_gradient(x, g), conv_weight_gradient(y, g))
        conv(g, w)[..., of x]         -> conv(g, w[of x])

    Known elsewhere as memory-efficient DenseNet, or concat elimination. A U-Net concatenates a skip connection with
    what comes from below. Neither the concatenation nor its gradient is stored, and each part is live only as long as
    it is read.

    It is done where that moves fewer bytes than the copies do, and where the channels of each part fill a vector.
    """

    of_cpus = True

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        users = graph.users()
        outputs = set(graph.outputs)
        inner = [n for n in graph.nodes if outputs.isdisjoint(n.outputs)]
        joins = {
            n
            for n in inner
            if n.op is movement.concatenate and _is_read_by_convolutions(n, users[n.output], self.target)
        }
        cut = {n for n in inner if n.op is convolution.conv and _is_read_in_parts(n, users, self.target)}
        if not joins and not cut:
            return graph

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            source = node.inputs[0].node if node.inputs else None
            if source in joins and node.op.family == "convolution":
                return [_of_parts(b, node, inputs)]
            if source in cut:
                return [_part_of(b, node, inputs[0])]
            return None

        return without_dead_code(rewrite_nodes(graph, rule))


def _is_read_by_convolutions(join: Node, readers: list[Node], target: Target) -> bool:
    """Whether all readers of a concatenation are convolutions and gradients to weights, and reading the parts moves
    fewer bytes.

    Saved are one write and one read of the concatenation. Added is a read and a write of each convolution's output, and
    another read of a weight gradient's operand, for every part but the first.
    """
    whole = join.output
    if join.attrs["axis"] != whole.type.ndim - 1 or not all(_fills_vectors(v, target) for v in join.inputs):
        return False
    more = 0
    for node in readers:
        if node.op not in (convolution.conv, convolution.conv_weight_gradient):
            return False
        if not _can_be_cut(node) or whole in node.inputs[1:]:
            return False
        made, read = node.output.type.nbytes, node.inputs[1].type.nbytes
        more += (len(join.inputs) - 1) * (2 * made if node.op is convolution.conv else read)
        more += 2 * made if node.op is convolution.conv_weight_gradient else 0
    return bool(readers) and more <= 2 * whole.type.nbytes


def _is_read_in_parts(conv: Node, users: Mapping[Value, list[Node]], target: Target) -> bool:
    """Whether disjoint slices of channels are all that is read of a convolution, and one of them would be copied."""
    readers = users[conv.output]
    bounds = sorted(b for b in (_channels(node) for node in readers) if b is not None)
    if len(bounds) < max(len(readers), 1) or not _can_be_cut(conv):
        return False
    if any(after[0] < before[1] for before, after in pairwise(bounds)):
        return False
    if not all(_fills_vectors(node.output, target) for node in readers):
        return False
    copied = any(not user.op.accepts_strides for node in readers for user in users[node.output])
    return copied and (len(readers) - 1) * conv.inputs[0].type.nbytes <= conv.output.type.nbytes


def _can_be_cut(node: Node) -> bool:
    """Whether a convolution, or a gradient to its weight, can be cut along channels."""
    return node.attrs["groups"] == 1 and has_tiled_kernel(node)


def _fills_vectors(value: Value, target: Target) -> bool:
    return value.type.shape[-1] * value.type.dtype.itemsize >= target.vector_bytes


def _channels(node: Node) -> _Bounds | None:
    """The channels that a slice takes, if it takes all of the other axes."""
    if node.op is not movement.slice_ or any(step != 1 for step in node.attrs["step"]):
        return None
    start, stop = node.attrs["start"], node.attrs["stop"]
    shape = node.inputs[0].type.shape
    whole = all(a == 0 and b == n for a, b, n in zip(start[:-1], stop[:-1], shape[:-1]))
    return (start[-1], stop[-1]) if whole else None


def _along(b: Builder, x: Value, axis: int, bounds: _Bounds) -> Value:
    return b.emit(OPS["slice"], x, **slice_along(x.type.shape, axis, *bounds))


def _of_parts(b: Builder, node: Node, inputs: list[Value]) -> Value:
    """A convolution of the concatenation `inputs[0]`, or the gradient to its weight, by parts."""
    joined, other = inputs
    assert joined.node is not None
    parts = joined.node.inputs
    if node.op is convolution.conv_weight_gradient:
        gradients = [b.emit(node.op, part, other, **node.attrs) for part in parts]
        return b.emit(OPS["concatenate"], *gradients, axis=1)
    ends = list(accumulate(part.type.shape[-1] for part in parts))
    weights = [_along(b, other, 1, bounds) for bounds in zip([0, *ends], ends)]
    total = b.emit(node.op, parts[0], weights[0], **node.attrs)
    for part, weight in zip(parts[1:], weights[1:]):
        total = b.emit(OPS["conv_add"], part, weight, total, **node.attrs)
    return total


def _part_of(b: Builder, node: Node, whole: Value) -> Value:
    """The part of a convolution that `node`, a slice of channels, takes."""
    conv, bounds = whole.node, _channels(node)
    assert conv is not None
    assert bounds is not None
    b.origin = conv.origin
    x, weight = conv.inputs
    return b.emit(conv.op, x, _along(b, weight, 0, bounds), **conv.attrs)
