"""The loop over the parts of the batch that a rank has: the graph of one part becomes that of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ...ir import OPS, ArrayType, Builder, Graph, Node, Value
from ...ir.ops import collectives, contraction, movement
from ...ir.ops import elementwise as ew
from ...ir.types import INT64
from ..graph.rewrite import Pass
from ..graph.scan import emit_scan, step_type
from ..kernels.matmul_tiles import is_in_registers, is_one_chain
from ..kernels.product_of_parts import can_add_parts
from ..target import DEFAULT_TARGET, Target
from .layers import Layers
from .shares import Shares

_WORTH_HOISTING = 2
"""A product is made for all parts at once where its weight has so many times the bytes of their rows."""


@dataclass(frozen=True)
class LoopParts(Pass):
    """the step on one part of the batch, sums over ranks -> loops over the parts of a rank, sums over parts and ranks

    A sum that is a product is added up by the product itself where that has the bits of an addition. A large one is a
    product of the rows of all parts, which has no loop.

    The terms of a sum over ranks are added up in the loop, in the order of a binary tree: a loop of two iterations
    around loops of two. What is computed of a part and of such a sum comes in the next loop. All kernels see one part:
    so the bits of a sum over all parts do not depend on how many ranks share them. Known elsewhere as gradient
    accumulation over microbatches, with a pairwise sum.
    """

    in_bodies: ClassVar[bool] = False
    ranks: int = 1
    parts: int = 1
    leaves: tuple[int, ...] = ()
    """The numbers of the inputs that have rows of the batch."""
    target: Target = DEFAULT_TARGET
    by_layers: bool = False
    """Whether what reads other parameters, of which each rank has a shard, comes in the next loop: all parts go through
    a layer before the next one. So a few layers are whole at a time, and values between layers are there for all parts.
    """

    def __call__(self, graph: Graph) -> Graph:
        shares = Shares(self.ranks, self.parts, self.leaves)
        if shares.local == 1:
            return graph
        layers = Layers(graph) if self.by_layers else None
        return _Loops(graph, shares, self.target, layers).emit()


def loop_parts(shares: Shares | None) -> LoopParts:
    """The pass for these shares; without any it leaves graphs as they are."""
    return LoopParts() if shares is None else LoopParts(shares.ranks, shares.parts, shares.leaves)


@dataclass
class _Phase:
    """What runs `whole`, then what runs in a loop, and the sums over its iterations."""

    whole: list[Node] = field(default_factory=list[Node])
    nodes: list[Node] = field(default_factory=list[Node])
    sums: dict[Value, None] = field(default_factory=dict[Value, None])
    leaving: dict[Value, None] = field(default_factory=dict[Value, None])


class _Loops:
    def __init__(self, graph: Graph, shares: Shares, target: Target, layers: Layers | None) -> None:
        self.graph, self.shares, self.target = graph, shares, target
        self.leaves = {graph.inputs[i] for i in shares.leaves}
        self.phase: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
        self.stacked = set(self.leaves)
        """Values that are made for all parts of a rank at once."""
        self.of_part = set(self.leaves)
        """Values that there is one of for each part."""
        self.rows_of: dict[Node, Sequence[Value]] = {}
        """Of products of the rows of all parts, what has these."""
        self.phases: list[_Phase] = []
        self.readers = graph.users()
        self.kept = set(graph.outputs)
        for node in graph.nodes:
            self._place(node, 0 if layers is None else layers.next(node))
        assert self.of_part.isdisjoint(graph.outputs), "an output is of one part alone"
        self.b = Builder()
        self.new: dict[Value, Value] = {}
        self.depth = shares.local.bit_length() - 1

    def _in_phase(self, number: int) -> _Phase:
        while len(self.phases) <= number:
            self.phases.append(_Phase())
        return self.phases[number]

    def _is_part_number(self, node: Node) -> bool:
        return node.op is collectives.rank_index and node.attrs["ranks"] == self.shares.parts

    def _place(self, node: Node, first: int) -> None:
        """Put a node in a phase: what runs in a loop, in that of number `first` at least."""
        if self._is_hoisted(node):
            self._place_whole(node)
            return
        rows = self._rows_of_sum(node)
        if rows is not None:
            self._place_sum(node, rows)
            return
        now = max((self.phase[v] for v in node.inputs), default=0)
        read = [v for v in node.inputs if v in self.of_part]
        if self._is_part_number(node) or (read and node.op.on_ranks is None):
            now = now if _shrinks(node) or self._is_on_its_way(node) else max(now, first)
            for v in read:
                if self.phase[v] < now and v not in self.stacked:
                    self._in_phase(self.phase[v]).leaving[v] = None
            self._in_phase(now).nodes.append(node)
            self.of_part.update(node.outputs)
        else:
            if read:
                self._in_phase(now).sums.update(dict.fromkeys(read))
                now += 1
            self._in_phase(now).whole.append(node)
        self.phase.update(dict.fromkeys(node.outputs, now))

    def _is_hoisted(self, node: Node) -> bool:
        """Whether a product of a part and of what all parts share, such as a weight, is made for all parts at once: the
        rows of several parts read a weight once. It is where the weight is large beside the rows, and the bits of a row
        are the same.
        """
        if node.op is not contraction.dot:
            return False
        x, y = node.inputs
        own = x in self.stacked or (x in self.of_part and x.node is not None and _is_own(x.node))
        plain = x.type.ndim == y.type.ndim == 2 and node.attrs["contract"] == ((1,), (0,)) and "dtype" not in node.attrs
        if not (own and plain and y not in self.of_part and is_in_registers(x.type, y.type, self.target)):
            return False
        rows = self.shares.local * (x.type.nbytes + node.output.type.nbytes)
        return y.type.nbytes >= max(_WORTH_HOISTING * rows, self.target.l2_bytes)

    def _place_whole(self, node: Node) -> None:
        x, y = node.inputs
        now = self.phase[x]
        if x not in self.stacked:
            self._in_phase(now).leaving[x] = None
            now += 1
        now = max(now, self.phase[y])
        self._in_phase(now).whole.append(node)
        for made in (self.stacked, self.of_part):
            made.add(node.output)
        self.phase[node.output] = now

    def _rows_of_sum(self, node: Node) -> tuple[Value, Value] | None:
        """Values with the rows of both factors, where the sum of a product over all parts is one product of all rows: a
        loop would read and write the sum for each part. It is so where that is large beside the rows.
        """
        if node.op is not contraction.dot or node.attrs.keys() != {"contract", "batch"} or node.output in self.kept:
            return None
        x, y = node.inputs
        flat = x.type.ndim == y.type.ndim == 2 and node.attrs["contract"] == ((1,), (0,))
        turned = x.node is not None and x.node.op is movement.transpose
        if not (flat and turned and x.node is not None and self._is_summed(node.output)):
            return None
        parts, (m, terms), n = self.shares.local, x.type.shape, y.type.shape[1]
        shapes = (m, parts * terms), (parts * terms, n)
        left, right = (ArrayType(shape, x.type.dtype) for shape in shapes)
        if node.output.type.nbytes < max(_WORTH_HOISTING * (left.nbytes + right.nbytes), self.target.l2_bytes):
            return None
        rows = _reshaped_from(x.node.inputs[0]), _reshaped_from(y)
        has_rows = all(v in self.of_part and (v in self.stacked or _is_made(v)) for v in rows)
        return rows if has_rows and can_add_parts(left, right, parts, self.target) else None

    def _is_summed(self, value: Value) -> bool:
        """Whether all that reads a value adds it up over parts and ranks, through views or not."""
        readers = self.readers.get(value, ())
        return all(r.op.on_ranks is not None or (r.op.is_view and self._is_summed(r.output)) for r in readers)

    def _is_on_its_way(self, node: Node) -> bool:
        """Whether a node brings one value into the form in which ranks add it up, as it pads a gradient."""
        if sum(v.node is None or not v.node.op.is_generated for v in node.inputs) != 1:
            return False
        readers = [reader for v in node.outputs for reader in self.readers.get(v, ())]
        return all(reader.op.on_ranks is not None or self._is_on_its_way(reader) for reader in readers)

    def _place_sum(self, node: Node, rows: Sequence[Value]) -> None:
        now = 0
        for v in rows:
            if v not in self.stacked:
                self._in_phase(self.phase[v]).leaving[v] = None
            now = max(now, self.phase[v] + (v not in self.stacked))
        self._in_phase(now).whole.append(node)
        self.phase[node.output] = now
        self.rows_of[node] = rows

    def _emit_sum(self, node: Node) -> None:
        """A product of the rows of all parts."""
        b, (m, n) = self.b, node.output.type.shape
        count = self.shares.local * node.inputs[1].type.shape[0]
        with b.at(node.origin):
            given = [self.new[v] for v in self.rows_of[node]]
            of_x, of_y = (OPS["reshape"](b, v, shape=(count, columns)) for v, columns in zip(given, (m, n)))
            turned = movement.transpose(b, of_x, perm=(1, 0))
            self.new[node.output] = contraction.dot_parts(b, turned, of_y, parts=self.shares.local)

    def _emit_whole(self, node: Node) -> None:
        """A product for all parts at once."""
        b, (x, y) = self.b, node.inputs
        rows = self.shares.local * x.type.shape[0]
        whole = self.new[x] if x in self.leaves else OPS["reshape"](b, self.new[x], shape=(rows, x.type.shape[1]))
        with b.at(node.origin):
            made = b.emit(node.op, whole, self.new[y], **node.attrs)
            self.new[node.output] = OPS["reshape"](b, made, shape=(*(2,) * self.depth, *node.output.type.shape))

    def emit(self) -> Graph:
        b, new, local = self.b, self.new, self.shares.local
        for v in self.graph.inputs:
            shape = (local * v.type.shape[0], *v.type.shape[1:]) if v in self.leaves else v.type.shape
            new[v] = b.input(ArrayType(shape, v.type.dtype), v.name)
        for phase in self.phases:
            for node in phase.whole:
                if not self.stacked.isdisjoint(node.outputs):
                    self._emit_whole(node)
                    continue
                if node in self.rows_of:
                    self._emit_sum(node)
                    continue
                new.update(zip(node.outputs, b.copy(node, [new[v] for v in node.inputs]).outputs))
            if phase.nodes or phase.sums:
                self._emit_loop(phase)
        outputs = [new[v] for v in self.graph.outputs]
        return b.graph(outputs, self.graph.aliases, self.graph.output_names)

    def _emit_loop(self, phase: _Phase) -> None:
        b = self.b
        phase.nodes[:0] = self._made_again(phase)
        inside = {v for node in phase.nodes for v in node.outputs}
        read = dict.fromkeys(v for node in phase.nodes for v in node.inputs if v not in inside)
        read.update(dict.fromkeys(v for v in phase.sums if v not in inside))
        consts = [v for v in read if v not in self.of_part]
        slices = [v for v in read if v in self.of_part]
        numbers = [node for node in phase.nodes if self._is_part_number(node)]
        b.origin = (phase.nodes[-1] if phase.nodes else self.graph.nodes[-1]).origin
        cuts = (2,) * self.depth
        xs = [self._stacked(v, cuts) for v in slices]
        if numbers:
            xs.append(self._numbers(cuts))
        body = _Body(phase, consts, slices, numbers, self.target)
        sums, stacks = body.emit(b, self.depth, [self.new[v] for v in consts], xs)
        self.new.update(zip((*phase.sums, *phase.leaving), (*sums, *stacks)))

    def _made_again(self, phase: _Phase) -> list[Node]:
        """The nodes before a loop that cost nothing, and that it reads: each iteration has its own, as one part has."""
        found: set[Node] = set()
        stack = [v for node in phase.nodes for v in node.inputs]
        while stack:
            value = stack.pop()
            node = value.node
            if node is None or value in self.of_part or node in found:
                continue
            if node.op.is_view or node.op.is_generated:
                found.add(node)
                stack += node.inputs
        return [node for node in self.graph.nodes if node in found]

    def _stacked(self, value: Value, cuts: tuple[int, ...]) -> Value:
        """The entries of all parts, along as many axes of two as there are loops."""
        whole = self.new[value]
        return whole if value not in self.leaves else OPS["reshape"](self.b, whole, shape=(*cuts, *value.type.shape))

    def _numbers(self, cuts: tuple[int, ...]) -> Value:
        """The numbers of the parts."""
        b, local = self.b, self.shares.local
        type = ArrayType((local,), INT64)
        mine = OPS["iota"](b, shape=(local,), axis=0, dtype=INT64)
        if self.shares.ranks > 1:
            rank = collectives.rank_index(b, ranks=self.shares.ranks)
            spread = OPS["broadcast"](b, rank, shape=(local,), axes=())
            mine = ew.add(b, mine, ew.mul(b, spread, b.full(local, type)))
        return OPS["reshape"](b, mine, shape=cuts)


def _reshaped_from(value: Value) -> Value:
    """The value whose elements, in their order, a reshape has."""
    while value.node is not None and value.node.op is movement.reshape:
        value = value.node.inputs[0]
    return value


def _is_made(value: Value) -> bool:
    return value.node is not None and _is_own(value.node)


def _shrinks(node: Node) -> bool:
    """Whether what a node makes is smaller than what it reads: it comes as early as it can."""
    return sum(v.type.nbytes for v in node.outputs) < max((v.type.nbytes for v in node.inputs), default=0)


def _is_own(node: Node) -> bool:
    """Whether what a node makes has memory of its own."""
    return not (node.op.is_view or node.op.is_stored)


@dataclass
class _Body:
    phase: _Phase
    consts: Sequence[Value]
    slices: Sequence[Value]
    numbers: Sequence[Node]
    target: Target

    def emit(
        self, b: Builder, depth: int, consts: Sequence[Value], xs: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        """The sums of so many loops around one part, and stacks of what leaves them."""
        if depth == 0:
            return self._emit_part(b, consts, xs)
        types = [v.type for v in self.phase.sums]
        inner = Builder(b.origin)
        given = [inner.input(v.type) for v in consts]
        carries = [inner.input(t) for t in types]
        steps = [inner.input(step_type(x)) for x in xs]
        sums, stacks = self.emit(inner, depth - 1, given, steps)
        # In the canonical form of loops, see `Canonicalize`.
        added = [self._added(inner, carry, total) for carry, total in zip(carries, sums)]
        stacks = [ew.copy(inner, y) if y.node is None or not _is_own(y.node) else y for y in stacks]
        places = {i: len(consts) + i for i in range(len(types))}
        # -0.0 and not 0.0, which would make a 0.0 of a -0.0 that is added to it.
        starts = [b.full(-0.0, t) for t in types]
        outputs = emit_scan(b, inner.graph([*added, *stacks], places), consts, starts, xs, 2).outputs
        return list(outputs[: len(types)]), list(outputs[len(types) :])

    def _added(self, b: Builder, carry: Value, total: Value) -> Value:
        """A sum with one more term, which a product adds by itself where the bits are the same."""
        node = total.node
        if node is not None and node.op is contraction.dot and self._adds(b, node):
            b.nodes.remove(node)
            with b.at(node.origin):
                return contraction.dot_add(b, *node.inputs, carry, **node.attrs)
        return ew.copy(b, ew.add(b, carry, total))

    def _adds(self, b: Builder, node: Node) -> bool:
        x, y = (v.type for v in node.inputs)
        is_plain = x.ndim == y.ndim == 2 and node.attrs["contract"] == ((1,), (0,)) and "dtype" not in node.attrs
        alone = not any(node.output in other.inputs for other in b.nodes)
        return is_plain and alone and is_one_chain(x, y, self.target)

    def _emit_part(self, b: Builder, consts: Sequence[Value], xs: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        new = dict(zip((*self.consts, *self.slices), (*consts, *xs)))
        around = b.origin
        for node in self.phase.nodes:
            if node in self.numbers:
                new[node.output] = xs[-1]
                continue
            new.update(zip(node.outputs, b.copy(node, [new[v] for v in node.inputs]).outputs))
        b.origin = around
        return [new[v] for v in self.phase.sums], [new[v] for v in self.phase.leaving]
