"""The plan verifier replays the schedule and the memory of a plan. It shares no code with the planner.

Known elsewhere as translation validation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node, Value
from ...ir.ops import contraction
from ..kernels.loop_nest import LoopNest
from ..memory.plan import Block, Location, Plan
from .errors import PlanVerificationError, describe
from .loop_nests import check_loops
from .messages import check_messages
from .random_bits import unlike_repeats
from .scratch import Scratch, convolution_in, keeps_axes_behind, long_axes, parallel_iterations, rounded_up
from .transfers import check_transfers
from .values import check_values
from .windows import Layout, layouts


def check_plan(plan: Plan, original: Graph | None = None) -> None:
    """Replay `plan` phase by phase and raise `PlanVerificationError` at the first thing that is wrong:

    - Every unit runs once, and reads only what earlier phases have made: units of one phase run in any order.
    - What is live at the same time shares no byte of the arena, but where a unit writes an output over an input that
      dies there, which no other unit of the phase reads, element by element and never before it has read the element.
    - An input of the graph is overwritten when nothing will read it again, and when no unit that runs then or later can
      trap.
    - Every output of the graph is where it belongs, and lives to the end.
    - What ranks send each other stays where it is until it is waited for, see `check_messages`.
    - What moves between device and host memory stays where it is until that is done, see `check_transfers`.
    - Loops have sound plans of their bodies, which lie in the scratch of the loop.
    - Blocks and scratch are as large as what lies in them and live as long, the arena ends where the last of them does,
      and `lower_bound_bytes` is the most that is live at once.
    - Random bits that are drawn again come from the key and the stream from which they came first.
    - The graph computes what the `original` does, the one before it was decided what is recomputed and what is fused
      (see `check_values`).
    """
    if plan.nested or plan.copies != 1 or plan.threads < 1:
        raise PlanVerificationError(f"the plan is one of {plan.copies} copies of a body, or for {plan.threads} threads")
    if original is not None:
        check_values(plan.graph, original)
    _Replay(plan).run()


@dataclass(slots=True)
class _Thing:
    """Bytes of the arena that a value, or the scratch of a unit, holds from phase `birth` to `death`, both included."""

    what: Value | Node
    start: int
    nbytes: int
    birth: int
    death: int
    over: Value | None = None

    @property
    def end(self) -> int:
        return self.start + self.nbytes


@dataclass
class _Replay:
    plan: Plan
    layouts: dict[Value, Layout] = field(default_factory=dict[Value, Layout])
    phase_of: dict[Node, int] = field(default_factory=dict[Node, int])
    readers: dict[Value, list[Node]] = field(default_factory=dict[Value, list[Node]])
    kept: set[Value] = field(default_factory=set[Value])
    overwritten: dict[Node, dict[Value, Value]] = field(default_factory=dict[Node, dict[Value, Value]])

    @property
    def graph(self) -> Graph:
        return self.plan.graph

    def run(self) -> None:
        for node in unlike_repeats(self.graph):
            raise PlanVerificationError(f"{describe(node)} draws other random bits than the first time")
        self.layouts.update(layouts(self.graph, self.plan.views))
        self.units_run_once()
        check_transfers(self.plan, self.phase_of, self.layouts)
        self.reads_follow_writes()
        check_messages(self.graph, self.readers)
        self.kept.update(self.graph.outputs)
        for node in self.phase_of:
            if node.op.is_region or node in self.plan.nests:
                check_loops(node, self.plan.nests.get(node), self.layouts, self.plan.target)
        self.overwritten.update((node, self.written_over(node)) for node in self.phase_of)
        self.outputs_are_in_place()
        self.bodies_are_sound()
        things = self.things()
        self.nothing_overlaps(things)
        self.blocks_are_full(things)
        self.inputs_are_overwritten_last()

    def bodies_are_sound(self) -> None:
        """Every loop has a sound plan of its body, which writes each new carry over the old one, and every branch has
        one.
        """
        for node in self.phase_of:
            if not node.op.bodies:
                continue
            if any(not self.layouts[v].window.flags.c_contiguous for v in node.inputs):
                raise PlanVerificationError(
                    f"{describe(node)} goes through what does not lie in the order of its steps"
                )
            bodies = self.plan.bodies.get(node, ())
            if len(bodies) != len(node.bodies):
                raise PlanVerificationError(f"{describe(node)} has {len(bodies)} plans of {len(node.bodies)} bodies")
            for body, graph in zip(bodies, node.bodies):
                self.body_is_sound(node, body, graph)

    def body_is_sound(self, node: Node, body: Plan, graph: Graph) -> None:
        copies = self.plan.copies if self.plan.nested else parallel_iterations(node)
        if body.graph is not graph or body.threads != self.plan.threads:
            raise PlanVerificationError(f"the plan of the body of {describe(node)} is that of another")
        if body.target != self.plan.target:
            raise PlanVerificationError(f"the body of {describe(node)} is planned for another target, {body.target}")
        if (body.nested, body.copies) != (True, copies):
            raise PlanVerificationError(f"the body of {describe(node)} is not planned for {copies} copies at a time")
        if graph.aliases != _written_over_inputs(node):
            raise PlanVerificationError(f"the body of {describe(node)} does not write its carries over the old ones")
        _Replay(body).run()
        if any(body.locations[v].place == "arena" and v not in body.copied_back for v in graph.outputs):
            raise PlanVerificationError(f"the body of {describe(node)} keeps to itself what it makes for others")

    # ---- order

    def units_run_once(self) -> None:
        expected = {n for n in self.graph.nodes if n.op.has_kernel}
        for number, phase in enumerate(self.plan.phases):
            for node in phase:
                if node in self.phase_of or node not in expected:
                    raise PlanVerificationError(
                        f"phase {number} runs {describe(node)}, which has run or is no unit of the graph"
                    )
                self.phase_of[node] = number
        if missing := next((node for node in self.graph.nodes if node in expected and node not in self.phase_of), None):
            raise PlanVerificationError(f"{describe(missing)} is in no phase")

    def bases(self, node: Node) -> list[Value]:
        """What a unit reads, once each."""
        return list(dict.fromkeys(self.layouts[v].base for v in node.inputs))

    def ends(self, node: Node) -> int:
        """The phase at whose end a unit has read and made all."""
        return self.plan.transfers.done.get(node, self.phase_of[node])

    def reads_follow_writes(self) -> None:
        for node, now in self.phase_of.items():
            for base in self.bases(node):
                self.readers.setdefault(base, []).append(node)
                if base.node in self.phase_of and self.ends(base.node) >= now:
                    raise PlanVerificationError(
                        f"{describe(node)} in phase {now} reads {describe(base)} before an earlier phase has made it"
                    )

    # ---- places

    def location(self, value: Value) -> Location:
        if value not in self.plan.locations:
            raise PlanVerificationError(f"{describe(value)} has no place")
        return self.plan.locations[value]

    def outputs_are_in_place(self) -> None:
        graph, plan = self.graph, self.plan
        for i, value in enumerate(graph.inputs):
            if self.location(value) != Location("input", i):
                raise PlanVerificationError(f"input {i} lies at {self.location(value)}")
        constants = [node.output for node in graph.nodes if node.op.is_stored]
        if len(plan.constants) != len(constants) or set(plan.constants) != set(constants):
            raise PlanVerificationError("the plan has other constants than the graph")
        for i, value in enumerate(plan.constants):
            if self.location(value) != Location("constant", i):
                raise PlanVerificationError(f"constant {i} lies at {self.location(value)}")
        if len(set(graph.outputs)) < len(graph.outputs):
            raise PlanVerificationError("two outputs are one value")
        allowed: dict[Value, Location] = {}
        for i, value in enumerate(graph.outputs):
            if value.node not in self.phase_of:
                raise PlanVerificationError(f"output {i}, {describe(value)}, is made by no unit")
            if i in graph.aliases:
                allowed[value] = Location("input", graph.aliases[i])
                if (value in plan.copied_back) == (self.location(value) == allowed[value]):
                    raise PlanVerificationError(f"output {i} is not written to input {graph.aliases[i]} once")
                if plan.copied_back.get(value, graph.aliases[i]) != graph.aliases[i]:
                    raise PlanVerificationError(f"output {i} is copied over input {plan.copied_back[value]}")
            else:
                allowed[value] = Location("output", i)
        if not plan.in_place.keys() | plan.scratch.keys() | plan.bodies.keys() <= self.phase_of.keys():
            raise PlanVerificationError("the plan has places for a unit that it does not run")
        if not plan.copied_back.keys() <= {graph.outputs[i] for i in graph.aliases}:
            raise PlanVerificationError("a value is copied over an input that it does not replace")
        for i, j in graph.aliases.items():
            # Units may one after the other add to what an input holds.
            for value in self.chain(graph.outputs[i], graph.inputs[j]):
                allowed[value] = Location("input", j)
        for node in self.phase_of:
            # What a loop begins with may be made where the loop ends.
            for o, i in self.plan.in_place.get(node, {}).items() if node.op.is_loop else ():
                end = allowed.get(node.outputs[o])
                if end is not None and end.place == "output":
                    allowed.setdefault(self.layouts[node.inputs[i]].base, end)
        for node in self.phase_of:
            for value in node.outputs:
                place = self.location(value)
                if place.place not in ("arena", "host") and allowed.get(value) != place:
                    raise PlanVerificationError(f"{describe(value)} lies at {place}")

    # ---- memory

    def things(self) -> list[_Thing]:
        """All that lives in the arena."""
        plan, end = self.plan, len(self.plan.phases)
        blocks = {what: block for block in plan.blocks for what in (*block.values, block.unit) if what is not None}
        if len(blocks) < sum(len(block.values) + (block.unit is not None) for block in plan.blocks):
            raise PlanVerificationError("a value, or the scratch of a unit, is in two blocks")
        scratch = Scratch(plan, self.layouts)
        things: list[_Thing] = []
        for node, now in self.phase_of.items():
            for value in node.outputs:
                place = self.location(value)
                if place.place != "arena" or not value.type.nbytes:
                    continue
                death = max(map(self.ends, self.readers.get(value, ())), default=self.ends(node))
                death = end if value in self.kept else death
                thing = _Thing(value, place.offset, value.type.nbytes, now, death, self.overwritten[node].get(value))
                self.is_in(thing, blocks.get(value))
                things.append(thing)
            nbytes = scratch.bytes_of(node)
            if nbytes:
                block = blocks.get(node)
                if block is None or plan.scratch.get(node) != block.offset or block.nbytes != nbytes:
                    raise PlanVerificationError(
                        f"{describe(node)} needs {nbytes} bytes of scratch, and has {_describe_block(block)}"
                    )
                things.append(_Thing(node, block.offset, nbytes, now, now))
        return things

    def is_in(self, thing: _Thing, block: Block | None) -> None:
        """Checks that a value lies in its block as long as it lives."""
        what = thing.what
        if block is None or block.offset != thing.start or block.nbytes < thing.nbytes:
            raise PlanVerificationError(
                f"{describe(what)} at {thing.start}, {thing.nbytes} bytes, is not in {_describe_block(block)}"
            )
        if not (block.birth <= thing.birth and thing.death <= block.death):
            raise PlanVerificationError(
                f"{describe(what)} lives from {thing.birth} to {thing.death}, not so {_describe_block(block)}"
            )

    def nothing_overlaps(self, things: list[_Thing]) -> None:
        """Checks that what is live is disjoint, inside the arena, and as large at most as the plan says."""
        plan = self.plan
        born: dict[int, list[_Thing]] = {}
        dying: dict[int, list[_Thing]] = {}
        for thing in things:
            if thing.start < 0 or thing.end > plan.arena_bytes:
                span = f"{thing.start} to {thing.end}"
                raise PlanVerificationError(f"{describe(thing.what)} lies at {span} of {plan.arena_bytes} bytes")
            born.setdefault(thing.birth, []).append(thing)
            dying.setdefault(thing.death, []).append(thing)
        starts: list[int] = []
        live: list[_Thing] = []
        alive = most = 0
        for phase in range(len(plan.phases) + 1):
            # What takes the place of another comes last, when all that is live then is known.
            for thing in sorted(born.get(phase, ()), key=lambda t: t.over is not None):
                at = bisect_left(starts, thing.start)
                if thing.over is not None and at < len(live) and live[at].what is thing.over:
                    alive -= live[at].nbytes
                    del starts[at], live[at]
                for other in live[max(at - 1, 0) : at + 1]:
                    if other.start < thing.end and thing.start < other.end:
                        raise PlanVerificationError(
                            f"{describe(thing.what)} and {describe(other.what)} share bytes in phase {phase}"
                        )
                starts.insert(at, thing.start)
                live.insert(at, thing)
                alive += thing.nbytes
            most = max(most, alive)
            for thing in dying.get(phase, ()):
                at = bisect_left(starts, thing.start)
                if at < len(live) and live[at] is thing:
                    alive -= thing.nbytes
                    del starts[at], live[at]
        if plan.lower_bound_bytes != most:
            raise PlanVerificationError(f"{most} bytes are live at once, the plan says {plan.lower_bound_bytes}")
        if most > plan.arena_bytes:
            raise PlanVerificationError(f"{most} bytes are live at once in an arena of {plan.arena_bytes}")

    def blocks_are_full(self, things: Sequence[_Thing]) -> None:
        """Checks that blocks are no larger than what lies in them, and live no longer, and that the arena ends with the
        last of them.
        """
        inside: dict[Value | Node, list[_Thing]] = {}
        for block in self.plan.blocks:
            found: list[_Thing] = []
            inside.update(dict.fromkeys((*block.values, *((block.unit,) if block.unit else ())), found))
        for thing in things:
            inside[thing.what].append(thing)
        end = 0
        for block in self.plan.blocks:
            found = inside[block.unit or block.values[0]] if block.unit or block.values else []
            birth, death = min((t.birth for t in found), default=-1), max((t.death for t in found), default=-1)
            nbytes = max((t.nbytes for t in found), default=0)
            if (block.birth, block.death, block.nbytes) != (birth, death, nbytes):
                raise PlanVerificationError(
                    f"{nbytes} bytes are needed from {birth} to {death} in {_describe_block(block)}"
                )
            if len(found) != len(block.values) + (block.unit is not None):
                raise PlanVerificationError(f"not all lie there that should, in {_describe_block(block)}")
            if block.offset % self.plan.target.line_bytes:
                raise PlanVerificationError(f"a cache line is shared by {_describe_block(block)}")
            end = max(end, block.offset + rounded_up(nbytes, self.plan.target.line_bytes))
        if self.plan.arena_bytes != end:
            raise PlanVerificationError(f"the arena has {self.plan.arena_bytes} bytes, what lies in it ends at {end}")

    # ---- writing over an input

    def written_over(self, node: Node) -> dict[Value, Value]:
        """For each output that `node` writes over one of its inputs, the value in whose memory it comes to lie."""
        result: dict[Value, Value] = {}
        pairs = self.plan.in_place.get(node, {})
        reading = Counter(self.layouts[v].base for v in node.inputs)
        times = _Times(node.attrs["body"], self.plan.nests[node]) if pairs and node.op.is_region else None
        for o, i in pairs.items():
            if not (0 <= o < len(node.outputs) and 0 <= i < len(node.inputs)):
                raise PlanVerificationError(f"{describe(node)} has no output {o} or no input {i}")
            output, layout = node.outputs[o], self.layouts[node.inputs[i]]
            problem = self.obstacle(node, output, layout)
            if not problem and reading[layout.base] > 1:
                problem = "it is read in two ways"
            if not problem and times is not None:
                problem = times.obstacle(i, o)
            if not problem and times is None and not _begins_with(node, o, i):
                problem = "the unit does not run element by element"
            if problem or list(pairs.values()).count(i) > 1:
                raise PlanVerificationError(f"{describe(node)} writes output {o} over input {i}: {problem or 'twice'}")
            if self.location(output) != self.location(layout.base):
                raise PlanVerificationError(f"{describe(node)} writes output {o} over input {i}, which lies elsewhere")
            result[output] = layout.base
        return result

    def obstacle(self, node: Node, output: Value, layout: Layout) -> str:
        """Why `node` may not write `output` over what it reads as `layout`, whatever it does; empty if it may."""
        base, now = layout.base, self.phase_of[node]
        if self.location(base).place == "constant" or (base in self.kept and base.node is not None):
            return "it must last"
        if not layout.is_all_in_order or base.type.dtype != output.type.dtype or base.type.size != output.type.size:
            return "they are not laid out alike"
        if any(self.ends(r) >= now for r in self.readers[base] if r is not node):
            return "it is read by another unit at the same time or later"
        return ""

    # ---- inputs of the graph

    def chain(self, value: Value, old: Value) -> list[Value]:
        """`value`, what it was written over, what that was written over, and so on, as far as the input `old`; `value`
        alone if it does not come to that.
        """
        found = [value]
        while value.node in self.overwritten and value in self.overwritten[value.node]:
            value = self.overwritten[value.node][value]
            if value is old:
                return found
            found.append(value)
        return found[:1]

    def inputs_are_overwritten_last(self) -> None:
        first = len(self.plan.phases)
        for i, j in self.graph.aliases.items():
            value, old = self.graph.outputs[i], self.graph.inputs[j]
            if value in self.plan.copied_back or value.node is None:
                continue
            value = self.chain(value, old)[-1]
            writer = value.node
            assert writer is not None
            now = self.phase_of[writer]
            first = min(first, now)
            for reader in self.readers.get(old, ()):
                if reader is writer and self.overwritten[writer].get(value) is not old:
                    raise PlanVerificationError(f"{describe(writer)} destroys input {j}, which it reads")
                if reader is not writer and self.ends(reader) >= now:
                    raise PlanVerificationError(
                        f"phase {now} overwrites input {j}, which {describe(reader)} reads then or later"
                    )
        checked: set[tuple[Value, int]] = set()
        for node, now in self.phase_of.items():
            if not node.can_trap:
                continue
            indices = None
            if node.op.family == "indexing":
                axis: int = node.attrs["axis"]
                indices = (node.inputs[1], node.inputs[0].type.shape[axis])
            if now < first and indices:
                checked.add(indices)
            elif now >= first and indices not in checked:
                raise PlanVerificationError(
                    f"{describe(node)} in phase {now} may stop the run, phase {first} overwrites an input"
                )


def _written_over_inputs(node: Node) -> dict[int, int]:
    """For each output of a body that is written over an input of it, as carries are, the number of that input."""
    if not node.op.is_loop:
        return {}
    first: int = node.attrs["consts"]
    return {o: first + o for o in range(node.attrs["carries"] if node.op.is_scan else len(node.outputs))}


def _begins_with(node: Node, o: int, i: int) -> bool:
    """Whether a unit that is no region makes output `o` by changing input `i`."""
    if node.op.is_loop:
        return i == _written_over_inputs(node).get(o)
    if node.op.is_conv_region:
        body: Graph = node.attrs["body"]
        last = convolution_in(body)
        alike = [k for k, v in enumerate(body.outputs) if v.type == last.output.type]
        home = body.outputs.index(last.output) if last.output in body.outputs else alike[0]
        return len(last.inputs) == 3 and body.inputs[i] is last.inputs[2] and o == home
    return i == node.op.begins_with


def _describe_block(block: Block | None) -> str:
    """A block, and what lies in it."""
    if block is None:
        return "no block"
    what = ", ".join(map(describe, (*block.values, *((block.unit,) if block.unit else ()))))
    return f"the block of {block.nbytes} bytes at {block.offset} from phase {block.birth} to {block.death}: {what}"


class _Times:
    """When a region reads its inputs and writes its outputs, within a row.

    A row is swept several times: a reduction along it ends a sweep, and what depends on it comes in the next one.
    Time is 2s during sweep s and 2s + 1 after it.
    """

    def __init__(self, body: Graph, nest: LoopNest) -> None:
        self.body = body
        self.nest = nest
        self.sweep: dict[Value, int] = dict.fromkeys(body.inputs, 0)
        self.last_read: dict[Value, int] = {}
        self.read_by_dot: set[Value] = set()
        for node in body.nodes:
            now = max((self.sweep[v] for v in node.inputs), default=0)
            reduces = node.op.is_reduction and nest.kinds[node.inputs[0]] == "full"
            self.sweep.update((v, now + reduces) for v in node.outputs)
            # Sums of whole rows are taken as the row is swept.
            time = 2 * now + (reduces and not keeps_axes_behind(node))
            if node.op is contraction.dot:
                self.read_by_dot.update(node.inputs)
            for value in node.inputs:
                self.last_read[value] = max(self.last_read.get(value, 0), time)

    def obstacle(self, i: int, o: int) -> str:
        """Why output `o` cannot be written over input `i` in a loop over rows; empty if it can."""
        old, new = self.body.inputs[i], self.body.outputs[o]
        if old in self.read_by_dot:
            return "other tiles of the product read it too"
        if long_axes(old.type.shape) != long_axes(new.type.shape):
            return "their elements do not belong together"
        if self.nest.kinds[self.nest.body.outputs[o]] == "crossing":
            return "a sum over rows has no element for each of the input's"
        # A value of a row is read before the first sweep, wherever it is used.
        if self.nest.kinds[self.nest.body.inputs[i]] == "full" and self.last_read.get(old, 0) > 2 * self.sweep[new]:
            return "it is read after it is written"
        return ""
