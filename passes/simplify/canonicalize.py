"""The canonical form: from what users and derivatives write to the few forms that fusion and lowering know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Op, Value, node_flops
from ...ir.ops import complex_numbers, contraction, convolution, creation, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.contraction import Pair
from ..graph.carries import aliases_of_body
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass
from ..graph.views import View, own, through
from ..kernels.accumulators import accumulator_chain, reads_of_bases
from ..kernels.conv_geometry import has_tiled_kernel
from ..kernels.conv_operands import is_convolution

# The op that adds the result of another op to a sum.
_ADDED = {
    contraction.dot: contraction.dot_add,
    convolution.conv_weight_gradient: convolution.conv_weight_gradient_add,
}


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Any spelling of an op -> the one spelling that later passes and kernels know.

    Known elsewhere as canonicalization, legalization, layout assignment. After it these laws hold:

    - `dot` is `(batch..., m, k) x (batch..., k, n)`, and one of the last two axes of each operand is dense.
    - A reduction runs over neighbouring axes, none of them empty; `argmax` and `argmin` over the last.
    - Every view op is a true view; a `copy` stands where memory has to move.
    - Every output is a value of its own, no input and no view. An output that overwrites an input is a `copy`, or a
      product that can be written there.
    - The body of a loop writes its new carries over the old ones (and keeps these laws).
    - A carry that adds up products or weight gradients is a `dot_add` or a `conv_weight_gradient_add`.
    - The sum of two convolutions in the backward, where nothing else reads them, is the larger one and a `conv_add`
      onto it. So is the sum of a convolution and a gradient that reaches a value by another path, as around a residual
      block.
    - There is no `dot_parts`, of which a later pass makes some.
    - There is no `stop_gradient` and no transposition or reshape without effect.
    """

    def __call__(self, graph: Graph) -> Graph:
        rewriter = _Canonicalizer(graph)
        return without_dead_code(rewriter.run())


def _is_tiled(node: Node) -> bool:
    """Whether a node is a convolution by tiled kernels."""
    return is_convolution(node) and has_tiled_kernel(node)


class _Canonicalizer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.b = Builder()
        self.views: dict[Value, View] = {}
        self.copies: dict[Value, Value] = {}
        self.carried: set[Value] = set()
        self.reads = Counter(v for node in graph.nodes for v in node.inputs)
        self.reads.update(graph.outputs)

    def run(self) -> Graph:
        b, graph = self.b, self.graph
        mapping = {v: b.input(v.type, v.name) for v in graph.inputs}
        self.views.update((v, own(v)) for v in b.inputs)
        self.carried.update(b.inputs[j] for j in graph.aliases.values())
        for node in graph.nodes:
            b.origin = node.origin
            outputs = self.node(node, [mapping[v] for v in node.inputs])
            mapping.update(zip(node.outputs, outputs))
        outputs: list[Value] = []
        reads = reads_of_bases(b.nodes, [mapping[v] for v in graph.outputs], self.views)
        for i, value in enumerate(graph.outputs):
            new = mapping[value]
            written = i in graph.aliases and not self.can_overwrite(new, b.inputs[graph.aliases[i]], reads)
            if (
                written
                or new.node is None
                or self.views[new].base is not new
                or new in outputs
                or new.node.op.is_stored
            ):
                b.origin = value.node.origin if value.node else b.origin
                outputs.append(self.copied(new))
            else:
                outputs.append(new)
        return b.graph(outputs, graph.aliases, graph.output_names)

    def can_overwrite(self, value: Value, old: Value, reads: Mapping[Value, int]) -> bool:
        """Whether `value` can be computed in the memory of `old`: it is made without that, or a sum onto it."""
        node = value.node
        if node is None:
            return False
        if node.op is contraction.dot or node.op is complex_numbers.from_planes:
            return not any(self.views[v].base is old for v in node.inputs)
        first = next((v.node for v in reversed(accumulator_chain(value, old, reads))), None)
        return first is not None and sum(self.views[v].base is old for v in first.inputs) == 1

    def copied(self, value: Value) -> Value:
        """The same elements in memory of their own; complex numbers are made again, since no loop knows them."""
        made = value.node
        if made is not None and made.op is complex_numbers.from_planes:
            return self.emit(made.op, *made.inputs, **made.attrs)
        return self.emit(ew.copy, value)

    def emit(self, op: Op, *inputs: Value, **attrs: object) -> Value:
        value = self.b.emit(op, *inputs, **attrs)
        self._enter(value)
        return value

    def _enter(self, value: Value) -> None:
        node = value.node
        if node is not None and node.op.is_view:
            view = through(node, self.views[node.inputs[0]])
            assert view is not None, node
            self.views[value] = view
        else:
            self.views[value] = own(value)

    def node(self, node: Node, inputs: list[Value]) -> list[Value]:
        op = node.op
        if op is ew.stop_gradient:
            return inputs
        if op is contraction.dot:
            return [self.dot(node, *inputs)]
        if op is contraction.dot_add:
            return [self.emit(ew.add, inputs[2], self.dot(node, *inputs[:2]))]
        if op is contraction.dot_parts:
            return [self.dot_of_parts(node, *inputs)]
        if op is convolution.conv_add and not has_tiled_kernel(node):
            x, w, total = map(self.contiguous, inputs)
            return [self.emit(ew.add, total, self.emit(convolution.conv, x, w, **node.attrs))]
        if op is ew.add and (total := self.added(node, *inputs) or self.joined(node, *inputs)) is not None:
            return [total]
        if op.is_view:
            return [self.view(node, inputs[0])]
        if op.is_reduction and "axes" in node.attrs:
            return [self.reduction(node, inputs[0])]
        if op.is_reduction:
            return [self.arg_reduction(node, inputs[0])]
        if _is_tiled(node):
            # Weights may have any strides: their kernel packs them first.
            inputs = [v if i == 1 else self.contiguous(v) for i, v in enumerate(inputs)]
        elif not op.accepts_strides:
            inputs = [self.contiguous(v) for v in inputs]
        copied = self.b.copy(node, inputs)
        if op.is_loop:
            body: Graph = node.attrs["body"]
            copied.attrs["body"] = Graph(body.inputs, body.nodes, body.outputs, aliases_of_body(node))
        for value in copied.outputs:
            self._enter(value)
        return list(copied.outputs)

    def contiguous(self, value: Value) -> Value:
        """The value itself where it is contiguous, else a copy that all readers share."""
        if self.views[value].contiguous:
            return value
        if value not in self.copies:
            self.copies[value] = self.emit(ew.copy, value)
        return self.copies[value]

    def view(self, node: Node, x: Value) -> Value:
        if through(node, self.views[x]) is None:
            x = self.contiguous(x)
        return self.emit(node.op, x, **node.attrs)

    def transposed(self, x: Value, perm: tuple[int, ...]) -> Value:
        return x if perm == tuple(range(len(perm))) else self.emit(movement.transpose, x, perm=perm)

    def reshaped(self, x: Value, shape: tuple[int, ...]) -> Value:
        if x.type.shape == shape:
            return x
        probe = Builder()
        node = probe.emit_node(movement.reshape, x, shape=shape)
        if through(node, self.views[x]) is None:
            x = self.contiguous(x)
        return self.emit(movement.reshape, x, shape=shape)

    def reduction(self, node: Node, x: Value) -> Value:
        reduced: tuple[int, ...] = node.attrs["axes"]
        if any(x.type.shape[a] == 0 for a in reduced):
            one = node.op is reduction.reduce_prod  # the maximum and the minimum of nothing are errors
            result = self.b.full(one, node.output.type)
            self._enter(result)
            return result
        axes = tuple(a for a in reduced if x.type.shape[a] != 1)
        if len(axes) < len(reduced):
            # Axes of length 1 are removed by a reshape; each axis behind one of them then has a smaller number.
            gone = [a for a in reduced if x.type.shape[a] == 1]
            x = self.reshaped(x, tuple(n for i, n in enumerate(x.type.shape) if i not in gone))
            axes = tuple(a - sum(g < a for g in gone) for a in axes)
        # Each run of neighbouring axes is one reduction, the last run first. Axes of length 1 may stand within a run.
        while axes:
            run = [axes[-1]]
            for axis in reversed(axes[:-1]):
                if all(x.type.shape[i] == 1 for i in range(axis + 1, run[0])):
                    run.insert(0, axis)
                else:
                    break
            x = self.emit(node.op, x, axes=tuple(run))
            axes = axes[: len(axes) - len(run)]
        return x

    def arg_reduction(self, node: Node, x: Value) -> Value:
        axis, last = node.attrs["axis"], x.type.ndim - 1
        if x.type.shape[axis] == 1:
            return self.emit(creation.full, value=0, shape=node.output.type.shape, dtype=node.output.type.dtype)
        x = self.transposed(x, (*(i for i in range(x.type.ndim) if i != axis), axis))
        return self.emit(node.op, x, axis=last)

    def dot(self, node: Node, x: Value, y: Value) -> Value:
        pairs: tuple[Pair, Pair] = (node.attrs["contract"], node.attrs["batch"])
        (cx, cy), (bx, by) = pairs
        free_x = tuple(i for i in range(x.type.ndim) if i not in cx and i not in bx)
        free_y = tuple(i for i in range(y.type.ndim) if i not in cy and i not in by)
        batch_shape = tuple(x.type.shape[i] for i in bx)
        m = math.prod(x.type.shape[i] for i in free_x)
        n = math.prod(y.type.shape[i] for i in free_y)
        k = math.prod(x.type.shape[i] for i in cx)
        left = self.reshaped(self.transposed(x, (*bx, *free_x, *cx)), (*batch_shape, m, k))
        right = self.reshaped(self.transposed(y, (*by, *cy, *free_y)), (*batch_shape, k, n))
        nb = len(bx)
        batch = (tuple(range(nb)),) * 2
        contract = ((nb + 1,), (nb,))
        left, right = self.dense(left), self.dense(right)
        product = self.emit(contraction.dot, left, right, contract=contract, batch=batch)
        return self.reshaped(product, node.output.type.shape)

    def dot_of_parts(self, node: Node, x: Value, y: Value) -> Value:
        """Products of the parts, and their sum: only what knows a target makes one product of parts."""
        parts: int = node.attrs["parts"]
        terms = x.type.shape[1] // parts
        products: list[Value] = []
        for first in range(0, parts * terms, terms) if terms else [0] * parts:
            sides = [
                self.emit(OPS["slice"], v, **movement.slice_along(v.type.shape, axis, first, first + terms))
                for v, axis in ((x, 1), (y, 0))
            ]
            product = self.emit(contraction.dot, *map(self.dense, sides), contract=((1,), (0,)), batch=((), ()))
            products.append(product)
        while len(products) > 1:
            products = [self.emit(ew.add, a, b) for a, b in zip(products[::2], products[1::2])]
        return products[0]

    def added(self, node: Node, x: Value, y: Value) -> Value | None:
        """carry + dot(a, b) -> dot_add(a, b, carry), where nothing else reads the product; also for the gradient to the
        weight of a convolution.
        """
        for carry, product, read in ((x, y, node.inputs[1]), (y, x, node.inputs[0])):
            made = product.node
            if carry in self.carried and made is not None and made.op in _ADDED and self.reads[read] == 1:
                return self.emit(_ADDED[made.op], *made.inputs, carry, **made.attrs)
        return None

    def joined(self, node: Node, *inputs: Value) -> Value | None:
        """z + conv(x, w) -> conv_add(x, w, z), where nothing else reads the convolution.

        Either z is a larger convolution that nothing else reads, or it is a sum of gradients.
        """
        if node.origin.role != "backward":
            return None
        once = [self.reads[v] == 1 for v in node.inputs]
        ways = [v.node for v, alone in zip(inputs, once) if alone and v.node is not None and _is_tiled(v.node)]
        ways.sort(key=lambda way: (way.op is convolution.conv, -node_flops(way)))
        if not ways or ways[-1].op is not convolution.conv:
            return None
        second = ways[-1]
        first = next(v for v in inputs if v is not second.output)
        if len(ways) == 1 and (all(once) or not self.is_sum(first)):
            return None
        self.b.origin = second.origin
        return self.emit(convolution.conv_add, *second.inputs, first, **second.attrs)

    def is_sum(self, value: Value) -> bool:
        """Whether a value is a gradient with memory of its own, computed element by element."""
        node = value.node
        own_memory = self.views[value].base is value and self.views[value].contiguous
        return own_memory and node is not None and node.origin.role == "backward" and node.op.is_elementwise

    def dense(self, x: Value) -> Value:
        """A matrix operand that BLAS can read."""
        return x if self.views[x].is_matrix else self.contiguous(x)
