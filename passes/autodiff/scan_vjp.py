"""The derivative of a loop: a loop over the same iterations in the other order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import Builder, Graph, Node, Origin, Value, is_inexact
from ...ir.ops import elementwise as ew
from ..graph.dead_code import live_nodes
from ..graph.scan import Scan, emit_scan, invariant_values
from .min_cut_remat import can_recompute, fewest_bytes
from .pull_back import PullBack


def scan_vjp(
    b: Builder,
    node: Node,
    inputs: Sequence[Value],
    given: Mapping[int, Value],
    wanted: set[int],
    pull_back: PullBack,
) -> list[Value | None]:
    """The cotangents of the inputs `wanted` of a `scan`, from those that are `given` for some of its outputs.

        ys = scan(xs)    ->    ys, residuals = scan(xs); dxs = scan(dys, residuals), in the other direction

    Two loops are appended to `b`. The first repeats `node`, and also stacks the residuals of each iteration. These are
    a minimum cut of the body's values: all else that the second loop reads is recomputed there by element-wise ops and
    views. An invariant costs nothing. (`MergeScans` makes one loop of the first and of `node`.) The second loop carries
    the cotangents of the carries. Cotangents of consts are summed in carries of their own; loop distribution makes one
    product of such a sum of products. A cotangent that is known to be zero is not carried.
    """
    step = _differentiated_step(node, given, wanted, pull_back)
    return [None] * len(inputs) if step is None else _Loops(b, node, inputs, given, step).run()


@dataclass
class _Step:
    """The body of a loop with its derivative behind it.

    `known` are the values that depend on no cotangent. `backward` are the nodes that do, and those that a checkpoint
    recomputes. `gradients` has the cotangent of each wanted input of the body that has one.
    """

    inputs: list[Value]
    outputs: tuple[Value, ...]
    forward: list[Node]
    known: set[Value]
    backward: list[Node]
    carry_cotangents: dict[int, Value]
    stack_cotangents: dict[int, Value]
    gradients: dict[int, Value]

    def invariant(self, consts: int) -> set[Value]:
        """The known values that are invariant: the same in every iteration."""
        return invariant_values(self.inputs[:consts], self.forward)


def _differentiated_step(node: Node, given: Mapping[int, Value], wanted: set[int], pull_back: PullBack) -> _Step | None:
    scan = Scan(node)
    body, consts, carries = scan.body, scan.first_carry, scan.carry_count
    active = _active_inputs(body, consts, carries, wanted)
    # The carries whose cotangents are not known to be zero: found by differentiating until no others appear.
    live = {k for k in given if k < carries and consts + k in active}
    stacks = [k for k in given if k >= carries]
    while True:
        b = Builder(node.origin.with_role("backward"))
        ins = [b.input(v.type, v.name) for v in body.inputs]
        outputs = b.inline(body, ins)
        forward = list(b.nodes)
        cotangents = {k: Value(outputs[k].type) for k in sorted([*live, *stacks])}
        seeds: dict[Value, Value] = {}
        for k, cotangent in cotangents.items():
            value = outputs[k]
            seeds[value] = ew.add(b, seeds[value], cotangent) if value in seeds else cotangent
        wrt = sorted(active)
        found = dict(zip(wrt, pull_back(b, forward, seeds, [ins[i] for i in wrt])))
        gradients = {i: value for i, value in found.items() if value is not None}
        more = {i - consts for i in gradients if consts <= i < consts + carries} - live
        if not more:
            break
        live |= more
    if not gradients:
        return None
    known = {*ins, *(v for n in forward for v in n.outputs)}
    backward: list[Node] = []
    for n in b.nodes[len(forward) :]:
        if known.issuperset(n.inputs) and n.origin.role != "recompute":
            known.update(n.outputs)
            forward.append(n)
        else:
            backward.append(n)
    return _Step(
        ins,
        outputs,
        forward,
        known,
        backward,
        {k: cotangents[k] for k in sorted(live)},
        {k: cotangents[k] for k in stacks},
        gradients,
    )


def _active_inputs(body: Graph, consts: int, carries: int, wanted: set[int]) -> set[int]:
    """The inputs of the body through which a wanted input of the loop acts: itself, or a carry that depends on it."""
    active = {i for i in wanted if is_inexact(body.inputs[i].type.dtype)}
    while True:
        values = {body.inputs[i] for i in active}
        for node in body.nodes:
            if not values.isdisjoint(node.inputs):
                values.update(v for v in node.outputs if is_inexact(v.type.dtype))
        more = {consts + k for k in range(carries) if body.outputs[k] in values} - active
        if not more:
            return active
        active |= more


class _Loops:
    """The two loops, appended to `b`."""

    def __init__(
        self, b: Builder, node: Node, inputs: Sequence[Value], given: Mapping[int, Value], step: _Step
    ) -> None:
        self.b = b
        self.node = node
        self.inputs = inputs
        self.given = given
        self.step = step
        self.scan = Scan(node, inputs)
        self.consts, self.carries = self.scan.first_carry, self.scan.carry_count
        self.same = step.invariant(self.consts)
        self.place = {value: i for i, value in enumerate(step.inputs)}
        recomputed = replace(node.origin, role="recompute", checkpoint="")
        self.origin = recomputed if node.origin.checkpoint else node.origin

    def run(self) -> list[Value | None]:
        step = self.step
        kept = self.kept()
        outer = self.outer_values(kept)
        return self.backward_loop(step, kept, outer)

    def kept(self) -> list[Value]:
        """The known values from which the backward iteration recomputes all that it reads, in order."""
        step = self.step
        read = {v for node in step.backward for v in node.inputs if v in step.known}
        read.update(v for v in step.gradients.values() if v in step.known)

        def recomputable(value: Value) -> bool:
            return value.node is not None and can_recompute(value.node)

        def weight(value: Value) -> int:
            i = self.place.get(value, -1)
            if value in self.same or (i >= self.consts + self.carries and self.inputs[i].node is None):
                return 0
            return max(value.type.nbytes, 1)

        cut = fewest_bytes(sorted(read, key=self.order), recomputable, weight) if read else set[Value]()
        # An invariant costs nothing wherever the cut meets it. Nearest to the consts there is least to compute outside.
        stack = [v for v in cut if v in self.same and recomputable(v)]
        cut.difference_update(stack)
        while stack:
            node = stack.pop().node
            assert node is not None
            stack += (v for v in node.inputs if recomputable(v))
            cut.update(v for v in node.inputs if not recomputable(v))
        return sorted(cut, key=self.order)

    def order(self, value: Value) -> tuple[int, int]:
        """Inputs first, then by node."""
        if not hasattr(self, "_orders"):
            self._orders = {node: i for i, node in enumerate(self.step.forward, 1)}
        return (0, self.place[value]) if value.node is None else (self._orders[value.node], value.index)

    def outer_values(self, kept: list[Value]) -> dict[Value, Value]:
        """For every kept value its counterpart outside the loop: one value for an invariant, else the stack over all
        iterations.
        """
        step, outer = self.step, dict[Value, Value]()
        stacked = {value: k for k, value in enumerate(step.outputs) if k >= self.carries}
        missing: list[Value] = []
        for value in kept:
            if value in self.place and not self.consts <= self.place[value] < self.consts + self.carries:
                outer[value] = self.inputs[self.place[value]]
            elif value in self.same:
                outer[value] = self.computed_once(value)
            elif value in stacked and not self.node.origin.checkpoint:
                outer[value] = self.node.outputs[stacked[value]]
            else:
                missing.append(value)
        if missing:
            original = len(self.scan.body.nodes)
            needed = live_nodes(self.step.forward[original:], missing)
            body = Graph(step.inputs, [*step.forward[:original], *needed], [*step.outputs, *missing])
            with self.b.at(self.origin):
                stacking = self.scan.emit(self.b, body)
            outer.update(zip(missing, stacking.outputs[len(step.outputs) :]))
        return outer

    def computed_once(self, value: Value) -> Value:
        """A value of the body that depends on consts alone, computed outside."""
        made = {v: self.inputs[i] for v, i in self.place.items() if i < self.consts}
        for node in live_nodes([n for n in self.step.forward if self.same.issuperset(n.outputs)], [value]):
            copied = self.b.copy(node, [made[v] for v in node.inputs], self.origin)
            made.update(zip(node.outputs, copied.outputs))
        return made[value]

    def backward_loop(self, step: _Step, kept: list[Value], outer: dict[Value, Value]) -> list[Value | None]:
        b = Builder(self.b.origin)
        consts = [v for v in kept if v in self.same]
        stacks = [v for v in kept if v not in self.same]
        summed = [i for i in step.gradients if i < self.consts]
        totals = [Value(step.inputs[i].type) for i in summed]
        carries = [*step.carry_cotangents.values(), *totals]
        starts = [self.given.get(k) or self.b.full_like(v, 0) for k, v in step.carry_cotangents.items()]
        starts += [self.b.full_like(total, 0) for total in totals]
        xs = [*(outer[v] for v in stacks), *(self.given[k] for k in step.stack_cotangents)]
        made = {v: b.input(v.type) for v in (*consts, *carries, *stacks, *step.stack_cotangents.values())}

        def value_of(value: Value) -> Value:
            """`value` in the new body, recomputed there if it is known. An explicit stack: chains may be long."""
            pending = [value]
            while pending:
                top = pending[-1]
                if top in made:
                    pending.pop()
                    continue
                assert top.node is not None
                missing = [v for v in top.node.inputs if v not in made]
                if missing:
                    pending.extend(missing)
                    continue
                copied = b.copy(top.node, [made[v] for v in top.node.inputs], self.backward_role(top.node.origin))
                made.update(zip(top.node.outputs, copied.outputs))
            return made[value]

        for node in step.backward:
            copied = b.copy(node, [value_of(v) for v in node.inputs], node.origin)
            made.update(zip(node.outputs, copied.outputs))
        results: list[Value] = []
        for k in step.carry_cotangents:
            gradient = step.gradients.get(self.consts + k)
            results.append(b.full_like(step.inputs[self.consts + k], 0) if gradient is None else value_of(gradient))
        for total, i in zip(totals, summed):
            results.append(ew.add(b, made[total], value_of(step.gradients[i])))
        sequences = [i for i in step.gradients if i >= self.scan.first_x]
        results += [value_of(step.gradients[i]) for i in sequences]
        body, length = b.graph(results), self.scan.length
        loop = emit_scan(self.b, body, [outer[v] for v in consts], starts, xs, length, not self.scan.reverse)
        places = [*(self.consts + k for k in step.carry_cotangents), *summed, *sequences]
        cotangents = dict(zip(places, loop.outputs, strict=True))
        return [cotangents.get(i) for i in range(len(self.inputs))]

    @staticmethod
    def backward_role(origin: Origin) -> Origin:
        return replace(origin, role="backward", checkpoint="")
