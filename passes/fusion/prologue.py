"""Prologue fusion: a convolution computes its operand element by element, as it copies its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import OPS, Builder, Graph, Node, Recompute, Value
from ..graph.comparisons import compares
from ..graph.dead_code import live_nodes
from ..graph.rewrite import Pass
from ..graph.structural_key import node_key
from ..graph.views import resolve_views
from ..kernels.conv_geometry import geometry, has_tiled_kernel
from ..kernels.conv_operands import (
    PROLOGUE_CONVOLUTIONS,
    can_be_cut,
    data_operands,
    is_convolution,
)
from ..kernels.loop_nest import product_of, squeezed
from ..kernels.weight_gradient_tiles import weight_gradient_tiles
from ..target import DEFAULT_TARGET, Target

_MOST_NODES = 256


@dataclass(frozen=True)
class FusePrologue(Pass):
    """`v = region(a...)[o]; y = conv(v, w)` -> `y = conv_region(a..., w)`, and so for each reader of v, regions too.

    Known elsewhere as prologue fusion, and as recomputation of cheap layers: batch norm and relu between two
    convolutions are recomputed from the output of the first one. The second convolution, the gradient to its weight and
    the mask of the backward each compute the normalized activation for themselves.

    It is done where it takes fewer bytes: the inputs of the region are live long enough in any case, or are smaller
    than the value. A value of fewer than `least_bytes` stays, since it
    stays in the first cache, whose size this is by default. So does one whose inputs
    have more than `reach` times its bytes, as in `MinCutRemat`. Where more than `most_shares` tiles of a weight's
    gradient would each compute the same rows, a region computes the value for this reader alone.
    """

    of_cpus = True

    least_bytes: int | None = None
    most_shares: int = 3
    reach: float = math.inf
    target: Target = DEFAULT_TARGET

    @property
    def least(self) -> int:
        """Bytes of the smallest value that its readers compute."""
        return self.target.l1_bytes if self.least_bytes is None else self.least_bytes

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op in PROLOGUE_CONVOLUTIONS for node in graph.nodes):
            return graph
        return _Rewriter(graph, self).graph()


@dataclass(frozen=True)
class _Producer:
    """A value as the only output of a body, and the values of the graph that are the inputs of the body."""

    body: Graph
    sources: tuple[Value, ...]


@dataclass
class _Body:
    """A body under construction, in which equal nodes are one."""

    builder: Builder = field(default_factory=Builder)
    inputs: dict[Value, Value] = field(default_factory=dict[Value, Value])
    known: dict[object, Value] = field(default_factory=dict[object, Value])

    def input(self, outer: Value) -> Value:
        if outer not in self.inputs:
            self.inputs[outer] = self.builder.input(outer.type)
        return self.inputs[outer]

    def value(self, outer: Value, producers: Mapping[Value, _Producer]) -> Value:
        """`outer` as an input of the body, or computed in the body by its producer."""
        if outer not in producers:
            return self.input(outer)
        producer = producers[outer]
        return self.inline(producer.body, [self.input(v) for v in producer.sources])[0]

    def inline(self, body: Graph, inputs: Sequence[Value]) -> list[Value]:
        local = dict(zip(body.inputs, inputs, strict=True))
        for node in body.nodes:
            given = [local[v] for v in node.inputs]
            key = node_key(node, tuple(map(id, given)), node.origin.role == "recompute")
            if node.op.is_elementwise and key in self.known:
                local[node.output] = self.known[key]
                continue
            copied = self.builder.copy(node, given)
            local.update(zip(node.outputs, copied.outputs))
            self.known[key] = copied.outputs[0]
        return [local[v] for v in body.outputs]

    def graph_of(self, outputs: Sequence[Value]) -> tuple[Graph, tuple[Value, ...]]:
        """The graph of `outputs` alone, and the values outside that are its inputs."""
        nodes = live_nodes(self.builder.nodes, outputs)
        read = {*outputs, *(v for node in nodes for v in node.inputs)}
        kept = [(outer, inner) for outer, inner in self.inputs.items() if inner in read]
        return Graph([inner for _, inner in kept], nodes, outputs), tuple(outer for outer, _ in kept)


class _Rewriter:
    def __init__(self, graph: Graph, options: FusePrologue) -> None:
        self.old = graph
        self.options = options
        self.views = resolve_views(graph.inputs, graph.nodes)
        self.users = graph.users()
        self.outputs = set(graph.outputs)
        place = {node: i for i, node in enumerate(graph.nodes)}
        # What only comparisons read is used up where it is made.
        self.last: dict[Value, int] = {v: place[node] for node in graph.nodes for v in node.outputs}
        self.last.update(dict.fromkeys(graph.inputs, 0))
        for node in graph.nodes:
            # A comparison counts as no use: it may run as soon as its operand is there. Booleans then wait in its
            # place.
            if not node.op.is_view and not compares(node):
                self.last.update((self.views[v].base, place[node]) for v in node.inputs)
        self.last.update((self.views[v].base, len(place)) for v in graph.outputs)
        self.producers: dict[Value, _Producer] = {}

    def graph(self) -> Graph:
        b = Builder()
        mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in self.old.inputs}
        for node in self.old.nodes:
            b.origin = node.origin
            made: Sequence[Value] = ()
            if node.op.is_region and product_of(node) is None:
                kept, body, sources = self.region(node)
                left = list(kept)
                if kept:
                    attrs = {**node.attrs, "body": body}
                    outputs = b.emit_node(node.op, *(mapping[v] for v in sources), **attrs).outputs
                    found = dict(zip(body.outputs, outputs))
                    made = [found[v] for v in kept.values()]
            elif any(v in self.producers for v in node.inputs):
                left = list(node.outputs)
                if not self.can_have_prologue(node):
                    copies = {
                        v: self.recomputed(b, v, mapping) for v in dict.fromkeys(node.inputs) if v in self.producers
                    }
                    made = b.copy(node, [copies[v] if v in copies else mapping[v] for v in node.inputs]).outputs
                else:
                    body, sources = self.convolution(node)
                    made = b.emit_node(OPS["conv_region"], *(mapping[v] for v in sources), body=body).outputs
            else:
                left = list(node.outputs)
                made = b.copy(node, [mapping[v] for v in node.inputs]).outputs
            mapping.update(zip(left, made, strict=True))
        return b.graph([mapping[v] for v in self.old.outputs], self.old.aliases, self.old.output_names)

    def recomputed(self, b: Builder, value: Value, mapping: Mapping[Value, Value]) -> Value:
        """The value, computed by a region for one reader."""
        producer = self.producers[value]
        domain = squeezed(value.type.shape)
        given = [mapping[v] for v in producer.sources]
        return b.emit_node(OPS["region"], *given, body=producer.body, domain=domain, rows=-1).output

    def convolution(self, node: Node) -> tuple[Graph, tuple[Value, ...]]:
        body = _Body()
        inputs = [body.value(v, self.producers) for v in node.inputs]
        return body.graph_of([body.builder.copy(node, inputs).output])

    def region(self, node: Node) -> tuple[dict[Value, Value], Graph, tuple[Value, ...]]:
        """The outputs of a region that its readers do not compute for themselves, each with its value in the new body;
        the new body, and its inputs in the graph. Equal outputs are one.
        """
        body = _Body()
        inner = body.inline(node.attrs["body"], [body.value(v, self.producers) for v in node.inputs])
        feeds = any(reader.op in PROLOGUE_CONVOLUTIONS for v in node.outputs for reader in self.users[v])
        for value, result in zip(node.outputs, inner):
            if feeds and self.readers_can_compute(value, node):
                producer = _Producer(*body.graph_of([result]))
                if self.pays(value, producer):
                    self.producers[value] = producer
        kept: dict[Value, Value] = {}
        for value, result in zip(node.outputs, inner):
            if value in self.outputs and result in kept.values():
                result = body.builder.emit(OPS["copy"], result)  # each output of the graph has a place of its own
            if value not in self.producers:
                kept[value] = result
        return kept, *body.graph_of(list(dict.fromkeys(kept.values())))

    def readers_can_compute(self, value: Value, region: Node) -> bool:
        """Whether each reader of an output of a region has a form that can compute it element by element."""
        if value in self.outputs or value.type.nbytes < self.options.least:
            return False
        if squeezed(value.type.shape) != region.attrs["domain"]:
            return False
        return all(self.can_compute(reader, value) for reader in self.users[value])

    def can_compute(self, reader: Node, value: Value) -> bool:
        if reader.op.is_region:
            same = squeezed(value.type.shape) == reader.attrs["domain"]
            return same and product_of(reader) is None
        if reader.op not in PROLOGUE_CONVOLUTIONS or not has_tiled_kernel(reader):
            return False
        places = [i for i, v in enumerate(reader.inputs) if v is value]
        return places[-1] < data_operands(reader)

    def pays(self, value: Value, producer: _Producer) -> bool:
        """Whether it takes fewer bytes to keep the sources of `value` until its last use; they then live so long."""
        body, shape = producer.body, value.type.shape
        for node in body.nodes:
            if node.op.fusion not in ("elementwise", "reshaping") or node.op.depends_on_place:
                return False
            if node.op.recompute is Recompute.NEVER or (node.output.type.shape != shape and node.output.type.size > 1):
                return False
        for source in producer.sources:
            if source.type.shape != shape and source.type.size > 1:
                return False
        for reader in self.users[value]:
            if reader.op.is_region:
                if len(reader.attrs["body"].nodes) + len(body.nodes) > _MOST_NODES:
                    return False
            elif self.can_have_prologue(reader) and not self.reads_rows(reader, producer):
                return False
        until = self.last[value]
        bases = dict.fromkeys(self.views[v].base for v in producer.sources)
        if sum(b.type.nbytes for b in bases) > self.options.reach * value.type.nbytes:
            return False
        longer = [b for b in bases if b.node is not None and not b.node.op.is_stored and self.last[b] < until]
        if sum(b.type.nbytes for b in longer) >= value.type.nbytes:
            return False
        self.last.update((b, max(self.last[b], until)) for b in bases)
        return True

    def can_have_prologue(self, convolution: Node) -> bool:
        return can_have_prologue(convolution, self.options.most_shares, self.options.target)

    def reads_rows(self, convolution: Node, producer: _Producer) -> bool:
        """Whether the sources can be read in the rows in which the convolution reads its images: those of all volumes
        one after the other, or those that there are.
        """
        found = geometry(convolution, self.options.target)
        x = convolution.inputs[0].type
        if found is None:
            return False
        if x.ndim < 5 and (found.images, found.input_lengths[-1]) == (x.shape[0], x.shape[-2]):
            return True
        return all(v.type.size == 1 or can_be_cut(self.views[v]) for v in producer.sources)


def can_have_prologue(convolution: Node, most_shares: int, target: Target) -> bool:
    """Whether the tiles of a convolution compute their operand; if not, too many would compute the same rows, or images
    of a volume that those of the cotangent meet.
    """
    if is_convolution(convolution):
        return True
    if convolution.inputs[0].type.ndim > 4:
        return False
    tiles = weight_gradient_tiles(convolution, target)
    assert tiles is not None
    return tiles.shares <= most_shares and (tiles.bands == 1 or tiles.geometry.windows[0].expand == 1)
