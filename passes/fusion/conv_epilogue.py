"""Epilogue fusion of a convolution: a region and sums over channels run on each tile of its output."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import reduction
from ..graph.rewrite import Pass
from ..graph.topological_order import topological_order
from ..graph.views import resolve_views
from ..kernels.conv_geometry import geometry, has_tiled_kernel
from ..kernels.conv_operands import can_be_cut, convolution_of, has_prologue, is_convolution, operand
from ..kernels.conv_tiles import can_sum
from ..kernels.loop_nest import product_of, reduction_form, squeezed
from ..target import DEFAULT_TARGET, Target


@dataclass(frozen=True)
class FuseConvEpilogue(Pass):
    """`y = conv(x, w); z, s = region(y, a...); m = moments(z)` -> `z, s, m = conv_region(x, w, a...)`.

    Known elsewhere as convolution epilogue fusion. Biases, normalization by given statistics, residual sums and
    activations are applied to a tile of the output while it is in the cache. Statistics of the batch, and the sums of
    their derivatives, are taken from the same tile.

    Sums keep their tiles, which follow from what is summed. A convolution that cannot compute its output in these tiles
    is left alone. So is one whose region stores a second array: both would be live at once.

    An output of fewer than `least_bytes` stays apart, since it stays in the cache. Where nothing is summed, so does one
    of fewer than `least_alone`: another loop reads it as fast from the caches of all cores. By default these are the
    sizes of the first and of the last cache.
    """

    of_cpus = True

    least_bytes: int | None = None
    least_alone: int | None = None
    target: Target = DEFAULT_TARGET

    @property
    def least(self) -> int:
        """Bytes of the smallest output that goes with what follows it."""
        return self.target.l1_bytes if self.least_bytes is None else self.least_bytes

    @property
    def least_without_sums(self) -> int:
        """The same where nothing is summed."""
        return self.target.l3_bytes if self.least_alone is None else self.least_alone

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op.family == "convolution" for node in graph.nodes):
            return graph
        groups = _Groups(graph, self)
        return groups.graph() if groups.members else graph


class _Groups:
    """Convolutions with the nodes of their epilogues."""

    def __init__(self, graph: Graph, options: FuseConvEpilogue) -> None:
        self.old = graph
        self.options = options
        self.views = resolve_views(graph.inputs, graph.nodes)
        self.users = graph.users()
        self.outputs = set(graph.outputs)
        self.written_back = {graph.outputs[i] for i in graph.aliases}
        self.place = {node: i for i, node in enumerate(graph.nodes)}
        self.head: dict[Node, Node] = {node: node for node in graph.nodes}
        self.members: dict[Node, list[Node]] = {}
        for node in graph.nodes:
            if _is_tiled_convolution(node) and node.output.type.nbytes >= options.least and self.may_be_cut(node):
                self.gather(node)

    def gather(self, unit: Node) -> None:
        """Find the epilogue of a convolution."""
        made = unit.output
        self.members[unit] = [unit]
        for reader in self.users[made]:
            if self.head[reader] is reader and self.may_be_epilogue(unit, reader):
                self.take(unit, reader)
                made = next((v for v in reader.outputs if v.type == made.type), made)
                break
        for value in dict.fromkeys((unit.output, made)):
            for reader in self.users[value]:
                by_channel = reader.op is reduction.moments and reader.attrs["rows"] == value.type.ndim - 1
                if by_channel and self.can_sum(unit):
                    self.take(unit, reader)
        if self.members[unit] == [unit]:
            del self.members[unit]

    def take(self, unit: Node, reader: Node) -> None:
        self.members[unit].append(reader)
        self.head[reader] = unit

    def may_be_cut(self, unit: Node) -> bool:
        """Whether the operands of a convolution can be cut into the rows that tiles of its output need."""
        found = geometry(unit, self.options.target)
        if found is None or not has_prologue(unit, 0) or not found.is_pointwise:
            return found is not None
        read = operand(unit, 0, self.views, found.images_of(0))
        return all(s.value.type.size == 1 or can_be_cut(self.views[s.value]) for s in read.reads)

    def may_be_epilogue(self, unit: Node, region: Node) -> bool:
        """Whether a region can be an epilogue: it is element-wise, but for sums over each channel."""
        made, domain = unit.output, squeezed(unit.output.type.shape)
        if not region.op.is_region or product_of(region) is not None or region.attrs["domain"] != domain:
            return False
        body: Graph = region.attrs["body"]
        if any(squeezed(v.type.shape) not in (domain, ()) for v in body.inputs):
            return False
        sums = any(reader.op is reduction.moments for v in region.outputs for reader in self.users[v])
        for node in body.nodes:
            if node.op.is_reduction and node.inputs[0].type.shape == made.type.shape:
                if reduction_form(node) != ("columns", len(domain) - 1):
                    return False
                sums = True
            elif not _is_elementwise(node) or squeezed(node.output.type.shape) not in (domain, ()):
                return False
        if not self.can_sum(unit) if sums else made.type.nbytes < self.options.least_without_sums:
            return False
        left = [v for v in region.outputs if squeezed(v.type.shape) == domain]
        kept = made in self.outputs or any(reader is not region for reader in self.users[made])
        if len(left) + kept > 1 or any(v.type != made.type for v in left) or not (left or kept or sums):
            return False
        others = [v for v in region.inputs if v is not made]
        # A view of the output would read other tiles. A value that is written over an input would destroy what other
        # tiles have yet to read.
        if any(self.views[v].base is made for v in others) or not self.written_back.isdisjoint(region.outputs):
            return False
        return not any(self.depends_on(v, unit) for v in others)

    def can_sum(self, unit: Node) -> bool:
        return can_sum(unit, self.options.target)

    def depends_on(self, value: Value, unit: Node) -> bool:
        """Whether a value is computed from what a unit makes. Units before it in the graph need no search."""
        stack, seen = [value], set[Node]()
        while stack:
            node = stack.pop().node
            if node is None or self.head[node] in seen:
                continue
            head = self.head[node]
            if head is unit:
                return True
            seen.add(head)
            group = self.members.get(head, [head])
            if max(self.place[member] for member in group) > self.place[unit]:
                stack += (v for member in group for v in member.inputs)
        return False

    def graph(self) -> Graph:
        old, b = self.old, Builder()
        mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in old.inputs}
        for node in topological_order(old, self.head):
            if node in self.members:
                self.emit(b, node, mapping)
            else:
                copied = b.copy(node, [mapping[v] for v in node.inputs])
                mapping.update(zip(node.outputs, copied.outputs))
        return b.graph([mapping[v] for v in old.outputs], old.aliases, old.output_names)

    def emit(self, b: Builder, unit: Node, mapping: dict[Value, Value]) -> None:
        members = self.members[unit]
        body = Builder()
        local: dict[Value, Value] = {}
        given: list[Value] = []
        for member in members:
            for value in member.inputs:
                if value not in local:
                    local[value] = body.input(value.type)
                    given.append(mapping[value])
            inputs = [local[v] for v in member.inputs]
            if "body" in member.attrs:
                results = body.inline(member.attrs["body"], inputs)
            else:
                results = body.copy(member, inputs).outputs
            local.update(zip(member.outputs, results))
        inside = set(members)
        summed = {v for member in members if member.op is reduction.moments for v in member.inputs}
        made = [v for member in members for v in member.outputs]
        left = [v for v in made if v in self.outputs or v in summed or any(r not in inside for r in self.users[v])]
        if not any(v.type == unit.output.type for v in left):
            left.insert(0, unit.output)
        b.origin = unit.origin
        attached = b.emit_node(OPS["conv_region"], *given, body=body.graph([local[v] for v in left]))
        mapping.update(zip(left, attached.outputs))


def _is_tiled_convolution(node: Node) -> bool:
    """Whether a unit is a convolution by tiled kernels with more than one output channel."""
    if not is_convolution(convolution_of(node)):
        return False
    shape = squeezed(node.outputs[0].type.shape)
    return len(shape) > 1 and node.outputs[0].type.shape[-1] > 1 and has_tiled_kernel(node)


def _is_elementwise(node: Node) -> bool:
    """Whether each element of a node's output needs one element of every input, and not its place."""
    return node.op.fusion in ("elementwise", "reshaping") and not node.op.depends_on_place
