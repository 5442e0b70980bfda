"""Epilogue fusion of a product that a library makes: what cuBLASLt adds to it, and the activation, are one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import contraction, movement
from ...ir.ops import elementwise as ew
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.views import View, base_of, resolve_views
from ..kernels.library_calls import product_by_library
from ..kernels.library_epilogues import is_bias, is_relu
from ..kernels.loop_nest import squeezed
from ..kernels.tanh_gelu import tanh_gelu, tanh_gelu_behind
from ..target import DEFAULT_TARGET, Target


@dataclass(frozen=True)
class FuseLibraryEpilogue(Pass):
    """`p = dot(x, y); q = relu(p + bias)` -> `q = region(x, bias, y)`, with the dot as first node of its body.

    Known elsewhere as epilogue fusion, or addmm. A launch is saved, and the product never lies in memory.

    It is done where cuBLASLt makes the product, nothing else reads it, and what follows is what its epilogue computes:
    a bias, which is a vector over columns, or an array of the same shape is added, or both; then a relu may follow, or
    in float32 the tanh form of gelu. The result lies in memory in any case, since what is no fused loop reads it: else
    these are part of the loop that does.

    A library may choose another algorithm for another epilogue, so this comes before it is decided what to keep for the
    backward: the calls are the same under every budget.
    """

    of_gpus = True
    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        if "cublaslt" not in self.target.libraries:
            return graph
        chains = _Chains(graph, self.target).found
        if not chains:
            return graph

        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            for old, new in zip(node.inputs, inputs):
                mapping[old] = new
            return [chains[node].fused(b, mapping)] if node in chains else None

        mapping: dict[Value, Value] = {}
        return without_dead_code(rewrite_nodes(graph, rule))


@dataclass(frozen=True, eq=False)
class _Chain:
    """The additions behind a dot that become its epilogue, each with its other operand, and the activation behind them,
    by its last node and what makes it.
    """

    dot: Node
    sums: list[Node]
    added: list[Value]
    activation: tuple[Node, Callable[[Builder, Value], Value]] | None

    @property
    def end(self) -> Node:
        """The last node."""
        return self.sums[-1] if self.activation is None else self.activation[0]

    def fused(self, b: Builder, mapping: dict[Value, Value]) -> Value:
        """The region, in the shape of the last node. Operands are read in the shape of the product."""
        dot, shape = self.dot, self.dot.output.type.shape
        body = Builder()
        value = body.input(dot.inputs[0].type)
        given = [mapping[dot.inputs[0]]]
        others: list[Value] = []
        for outer in self.added:
            given.append(_in_shape(b, outer, mapping, shape))
            others.append(body.input(given[-1].type))
        given.append(mapping[dot.inputs[1]])
        value = body.copy(dot, [value, body.input(dot.inputs[1].type)]).output
        for node, other in zip(self.sums, others):
            body.origin = node.origin
            value = ew.add(body, value, other)
        if self.activation is not None:
            body.origin = self.end.origin
            value = self.activation[1](body, value)
        attrs = {"body": body.graph([value]), "domain": squeezed(shape), "rows": -1}
        made = b.emit_node(OPS["region"], *given, **attrs).output
        wanted = self.end.output.type.shape
        return made if wanted == shape else OPS["reshape"](b, made, shape=wanted)


def _in_shape(b: Builder, value: Value, mapping: dict[Value, Value], shape: tuple[int, ...]) -> Value:
    """An operand of an addition in the shape of the product, which has the same elements, and as many columns."""
    if value.type.shape == shape:
        return mapping[value]
    if _is_row(value):
        assert value.node is not None
        return OPS["broadcast"](b, mapping[value.node.inputs[0]], shape=shape, axes=(len(shape) - 1,))
    return OPS["reshape"](b, mapping[value], shape=shape)


def _is_row(value: Value) -> bool:
    """Whether a value is a vector along its last axis, the same for every place of the others."""
    return (
        value.node is not None
        and value.node.op is movement.broadcast
        and value.node.attrs["axes"] == (value.type.ndim - 1,)
        and value.node.inputs[0].type.shape == value.type.shape[-1:]
    )


class _Chains:
    """The epilogues of all dots of a graph, by their last nodes."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.users = graph.users()
        self.outputs = set(graph.outputs)
        self.views = resolve_views(graph.inputs, graph.nodes)
        self.found: dict[Node, _Chain] = {}
        for node in graph.nodes:
            if node.op is contraction.dot and product_by_library(node, self.views, target) is not None:
                chain = self._chain(node)
                if chain is not None:
                    self.found[chain.end] = chain

    def _chain(self, dot: Node) -> _Chain | None:
        """What of the epilogue of a library follows a dot."""
        product, value = dot.output, dot.output
        sums: list[Node] = []
        added: list[Value] = []
        biased = summed = False
        while (reader := self._reader(value)) is not None:
            if reader.op is ew.add:
                (other,) = (v for v in reader.inputs if v is not value)
                if not biased and self._is_bias(other, product):
                    biased = True
                elif not summed and self._is_there(other) and self.views[other].contiguous:
                    summed = True
                else:
                    break
                added.append(other)
                sums.append(reader)
            elif reader.op is not movement.reshape:
                break
            value = reader.output
        activation = self._activation(value)
        if not sums and activation is None:
            return None
        chain = _Chain(dot, sums, added, activation)
        end = chain.end.output
        kept = end not in self.outputs or end.type.shape == product.type.shape  # no output is a view
        return chain if kept and self._is_stored(end) else None

    def _activation(self, value: Value) -> tuple[Node, Callable[[Builder, Value], Value]] | None:
        """The activation that alone reads a value, by its last node and what makes it."""
        reader = self._reader(value)
        if reader is not None and is_relu(reader, value):
            return reader, ew.relu
        gelu = tanh_gelu_behind(value, self.users, self.outputs)
        return None if gelu is None else (gelu, tanh_gelu)

    def _reader(self, value: Value) -> Node | None:
        """The only node that reads a value, once."""
        readers = self.users[value]
        alone = value not in self.outputs and len(readers) == 1 and readers[0].inputs.count(value) == 1
        return readers[0] if alone else None

    def _is_bias(self, value: Value, product: Value) -> bool:
        """Whether a value is a vector over the columns of a product that lies in memory."""
        view: View = self.views[value]
        columns = value.type.shape[-1:] == product.type.shape[-1:]
        in_shape = value.type.shape == product.type.shape or _is_row(value)
        return columns and in_shape and self._is_there(value) and is_bias(view)

    def _is_there(self, value: Value) -> bool:
        """Whether the elements of a value lie in memory in any case."""
        base = base_of(value)
        if base.node is None or base.node.op.is_stored:
            return True
        made = base.node.op.is_fusible or base.node.op.is_generated
        return not made or self._is_stored(base)

    def _is_stored(self, value: Value) -> bool:
        """Whether a value is an output, or what is no fused loop reads it, through views or not."""
        if value in self.outputs:
            return True
        return any(
            any(map(self._is_stored, reader.outputs)) if reader.op.is_view else not reader.op.is_fusible
            for reader in self.users[value]
        )
