"""What follows a convolution runs with it, tile by tile: its output is not read again from memory."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import reduction
from ..graph.rewrite import Pass
from ..graph.topological_order import topological_order
from ..graph.views import resolve_views
from ..kernels.conv_operands import can_be_cut, convolution_of, is_convolution, is_made, operand
from ..kernels.conv_tiles import can_sum, geometry
from ..kernels.loop_nest import product_of, reduction_form, squeezed


@dataclass(frozen=True)
class FuseConvEpilogue(Pass):
    """`y = conv(x, w); z, s = region(y, a...); m = moments(z)` -> `z, s, m = conv_region(x, w, a...)`.

    Biases, normalization by given statistics, residual sums and activations are applied to a tile of the output while
    it is in the cache, and statistics of a batch, or the sums of its derivatives, are gathered from it. Sums keep their
    tiles, which follow from what is summed; a convolution that cannot make its output in these is left alone. So is one
    whose region leaves a second array, since all that a unit makes is there at once.

    An output of fewer than `least_bytes` is as well left in the cache; where nothing is summed, one of fewer than
    `least_alone`, which another loop reads from the caches of all cores as fast.
    """

    least_bytes: int = 1 << 15
    least_alone: int = 1 << 24

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op.family == "convolution" for node in graph.nodes):
            return graph
        groups = _Groups(graph, self)
        return groups.graph() if groups.members else graph


class _Groups:
    """Convolutions with what follows them."""

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
            if _makes_images(node) and node.output.type.nbytes >= options.least_bytes and self.may_be_cut(node):
                self.gather(node)

    def gather(self, unit: Node) -> None:
        """Find what may run with a convolution."""
        made = unit.output
        self.members[unit] = [unit]
        for reader in self.users[made]:
            if self.head[reader] is reader and self.may_follow(unit, reader):
                self.take(unit, reader)
                made = next((v for v in reader.outputs if v.type == made.type), made)
                break
        for value in dict.fromkeys((unit.output, made)):
            for reader in self.users[value]:
                if reader.op is reduction.moments and reader.attrs["rows"] == value.type.ndim - 1 and can_sum(unit):
                    self.take(unit, reader)
        if self.members[unit] == [unit]:
            del self.members[unit]

    def take(self, unit: Node, reader: Node) -> None:
        self.members[unit].append(reader)
        self.head[reader] = unit

    def may_be_cut(self, unit: Node) -> bool:
        """Whether what a convolution reads can be cut into the rows that tiles of its output want."""
        found = geometry(unit)
        if found is None or not is_made(unit, 0) or not found.by_position:
            return found is not None
        read = operand(unit, 0, self.views, found.images_of(0))
        return all(s.value.type.size == 1 or can_be_cut(self.views[s.value]) for s in read.sources)

    def may_follow(self, unit: Node, region: Node) -> bool:
        """Whether a region can run with the convolution: element by element, but for sums for each channel."""
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
            elif not _by_element(node) or squeezed(node.output.type.shape) not in (domain, ()):
                return False
        if not can_sum(unit) if sums else made.type.nbytes < self.options.least_alone:
            return False
        left = [v for v in region.outputs if squeezed(v.type.shape) == domain]
        kept = made in self.outputs or any(reader is not region for reader in self.users[made])
        if len(left) + kept > 1 or any(v.type != made.type for v in left) or not (left or kept or sums):
            return False
        others = [v for v in region.inputs if v is not made]
        # Other tiles would still read what is written over an input.
        if any(self.views[v].base is made for v in others) or not self.written_back.isdisjoint(region.outputs):
            return False
        return not any(self.waits(v, unit) for v in others)

    def waits(self, value: Value, unit: Node) -> bool:
        """Whether a value is made after a unit has run."""
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


def _makes_images(node: Node) -> bool:
    """Whether a unit is a convolution by tiled kernels that leaves rows of more than one channel."""
    if not is_convolution(convolution_of(node)):
        return False
    shape = squeezed(node.outputs[0].type.shape)
    return len(shape) > 1 and node.outputs[0].type.shape[-1] > 1 and geometry(node) is not None


def _by_element(node: Node) -> bool:
    """Whether a node makes each element of one of every input, wherever it stands."""
    return node.op.fusion in ("elementwise", "reshaping") and not node.op.depends_on_place
