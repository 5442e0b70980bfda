"""Is a plan sound? A replay of its schedule and its memory that shares no code with what made it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from ..ir import Array, Graph, Node, Value
from .certificate_repeats import unlike_repeats
from .certificate_scratch import (
    CONVOLUTIONS,
    convolution_in,
    convolution_scratch,
    lines,
    moments_scratch,
    strip_scratch,
    unlike,
)
from .conv_tiles import conv_tiles, weight_gradient_tiles
from .dot_tiles import dot_tiles
from .lanes import MOST_LANES
from .loop_nest import LoopNest
from .plan import Location, Plan

_VIEWS = ("reshape", "transpose", "broadcast", "slice", "reverse")


class CertificateError(AssertionError):
    """A plan would compute wrong values or use memory that it does not own; the message says where."""


def check_plan(plan: Plan) -> None:
    """Replay `plan` phase by phase and raise `CertificateError` at the first thing that is wrong:

    - Every unit runs once, and reads only what earlier phases have made: units of one phase run in any order.
    - What is live at the same time shares no byte of the arena, but where a unit writes an output over an input that
      dies there, which no other unit of the phase reads, element by element and never before it has read the element.
    - An input of the graph is overwritten when nothing will read it again, and when nothing can stop the run any more.
    - Every output of the graph is where it belongs, and lives to the end.
    - Random bits that are drawn again come from the key and the stream from which they came first.
    - Loops have sound plans of their bodies, which lie in the scratch of the loop.
    - Blocks and scratch are as large as what lies in them, and `lower_bound_bytes` is the most that is live at once.
    """
    _Replay(plan).run()


@dataclass(frozen=True, slots=True)
class _Layout:
    """A value as a window on the memory of `base`. `window` has a shape and strides; its elements do not exist."""

    base: Value
    window: Array
    skipped: int

    @property
    def is_all_in_order(self) -> bool:
        """Whether the window is all elements of the base in their order."""
        return self.skipped == 0 and self.window.flags.c_contiguous and self.window.size == self.base.type.size


def _address(window: Array) -> int:
    return window.__array_interface__["data"][0]


def _whole(value: Value) -> Array:
    """An array of the shape of `value` that is not backed by memory: only its strides may be looked at."""
    shape, strides, step = value.type.shape, [0] * value.type.ndim, value.type.dtype.itemsize
    for axis in reversed(range(len(shape))):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return np.lib.stride_tricks.as_strided(np.empty(1, value.type.dtype), shape, strides)


def _seen_through(node: Node, window: Array) -> Array:
    """What NumPy makes of a window by the view op of `node`; raises `ValueError` where it would have to copy."""
    attrs = node.attrs
    match node.op.name:
        case "reshape":
            return cast(Array, np.reshape(window, attrs["shape"], copy=False))
        case "transpose":
            return np.transpose(window, attrs["perm"])
        case "reverse":
            return np.flip(window, attrs["axes"])
        case "slice":
            return window[tuple(map(slice, attrs["start"], attrs["stop"], attrs["step"]))]
        case _:
            shape, axes = attrs["shape"], attrs["axes"]
            return np.broadcast_to(window[tuple(slice(None) if a in axes else None for a in range(len(shape)))], shape)


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
    layouts: dict[Value, _Layout] = field(default_factory=dict[Value, _Layout])
    phase_of: dict[Node, int] = field(default_factory=dict[Node, int])
    readers: dict[Value, list[Node]] = field(default_factory=dict[Value, list[Node]])
    kept: set[Value] = field(default_factory=set[Value])
    overwritten: dict[Node, dict[Value, Value]] = field(default_factory=dict[Node, dict[Value, Value]])

    @property
    def graph(self) -> Graph:
        return self.plan.graph

    def run(self) -> None:
        self.lay_out()
        self.units_run_once()
        self.reads_follow_writes()
        self.kept.update(self.graph.outputs)
        self.overwritten.update((node, self.written_over(node)) for node in self.phase_of)
        self.outputs_are_in_place()
        self.nothing_overlaps(self.things())
        self.inputs_are_overwritten_last()
        self.bodies_are_sound()
        for node in unlike_repeats(self.graph):
            raise CertificateError(f"{node!r} draws other random bits than the first time")

    def bodies_are_sound(self) -> None:
        """Every loop has a sound plan of its body, which writes each new carry over the old one."""
        for node in self.phase_of:
            if node.op.name != "scan":
                continue
            body = self.plan.bodies[node]
            consts, carries = node.attrs["consts"], node.attrs["carries"]
            if body.graph is not node.attrs["body"] or body.threads != self.plan.threads:
                raise CertificateError(f"the plan of the body of {node!r} is that of another")
            if body.graph.aliases != {o: consts + o for o in range(carries)}:
                raise CertificateError(f"the body of {node!r} does not write its carries over the old ones")
            check_plan(body)

    # ---- order

    def lay_out(self) -> None:
        for value in self.graph.inputs:
            self.layouts[value] = _Layout(value, _whole(value), 0)
        for node in self.graph.nodes:
            if node.op.name not in _VIEWS:
                self.layouts.update((v, _Layout(v, _whole(v), 0)) for v in node.outputs)
                continue
            source = self.layouts[node.inputs[0]]
            try:
                window = _seen_through(node, source.window)
            except ValueError:
                raise CertificateError(f"{node!r} is no view of what it reads") from None
            skipped = _address(window) - _address(source.window) + source.skipped if window.size else 0
            self.layouts[node.output] = _Layout(source.base, window, skipped)

    def units_run_once(self) -> None:
        expected = {n for n in self.graph.nodes if n.op.name not in (*_VIEWS, "constant")}
        for number, phase in enumerate(self.plan.phases):
            for node in phase:
                if node in self.phase_of or node not in expected:
                    raise CertificateError(f"phase {number} runs {node!r}, which has run or is no unit of the graph")
                self.phase_of[node] = number
        if len(self.phase_of) < len(expected):
            raise CertificateError(f"{next(iter(expected - self.phase_of.keys()))!r} is in no phase")

    def bases(self, node: Node) -> list[Value]:
        """What a unit reads, once each."""
        return list(dict.fromkeys(self.layouts[v].base for v in node.inputs))

    def reads_follow_writes(self) -> None:
        for node, now in self.phase_of.items():
            for base in self.bases(node):
                self.readers.setdefault(base, []).append(node)
                if base.node in self.phase_of and self.phase_of[base.node] >= now:
                    raise CertificateError(
                        f"{node!r} in phase {now} reads {base!r} before an earlier phase has made it"
                    )

    # ---- places

    def location(self, value: Value) -> Location:
        if value not in self.plan.locations:
            raise CertificateError(f"{value!r} has no place")
        return self.plan.locations[value]

    def outputs_are_in_place(self) -> None:
        graph, plan = self.graph, self.plan
        for i, value in enumerate(graph.inputs):
            if self.location(value) != Location("input", i):
                raise CertificateError(f"input {i} lies at {self.location(value)}")
        for i, value in enumerate(plan.constants):
            if self.location(value) != Location("constant", i):
                raise CertificateError(f"constant {i} lies at {self.location(value)}")
        if len(set(graph.outputs)) < len(graph.outputs):
            raise CertificateError("two outputs are one value")
        allowed: dict[Value, Location] = {}
        for i, value in enumerate(graph.outputs):
            if value.node not in self.phase_of:
                raise CertificateError(f"output {i}, {value!r}, is made by no unit")
            if i in graph.aliases:
                allowed[value] = Location("input", graph.aliases[i])
                if (value in plan.copied_back) == (self.location(value) == allowed[value]):
                    raise CertificateError(f"output {i} is not written to input {graph.aliases[i]} once")
                if plan.copied_back.get(value, graph.aliases[i]) != graph.aliases[i]:
                    raise CertificateError(f"output {i} is copied over input {plan.copied_back[value]}")
            else:
                allowed[value] = Location("output", i)
        if not plan.copied_back.keys() <= {graph.outputs[i] for i in graph.aliases}:
            raise CertificateError("a value is copied over an input that it does not replace")
        for i, j in graph.aliases.items():
            # Units may one after the other add to what an input holds.
            for value in self.chain(graph.outputs[i], graph.inputs[j]):
                allowed[value] = Location("input", j)
        for node in self.phase_of:
            # What a loop begins with may be made where the loop ends.
            for o, i in self.plan.in_place.get(node, {}).items() if node.op.name == "scan" else ():
                end = allowed.get(node.outputs[o])
                if end is not None and end.place == "output":
                    allowed.setdefault(self.layouts[node.inputs[i]].base, end)
        for node in self.phase_of:
            for value in node.outputs:
                place = self.location(value)
                if place.place != "arena" and allowed.get(value) != place:
                    raise CertificateError(f"{value!r} lies at {place}")

    # ---- memory

    def things(self) -> list[_Thing]:
        """All that lives in the arena."""
        plan, end = self.plan, len(self.plan.phases)
        blocks = {value: block for block in plan.blocks for value in block.values}
        blocks_of_units = {block.unit: block for block in plan.blocks if block.unit is not None}
        things: list[_Thing] = []
        for node, now in self.phase_of.items():
            for value in node.outputs:
                place = self.location(value)
                if place.place != "arena" or not value.type.nbytes:
                    continue
                death = max((self.phase_of[r] for r in self.readers.get(value, ())), default=now)
                death = end if value in self.kept else death
                thing = _Thing(value, place.offset, value.type.nbytes, now, death, self.overwritten[node].get(value))
                block = blocks.get(value)
                if block is None or block.offset != thing.start or block.nbytes < thing.nbytes:
                    raise CertificateError(
                        f"{value!r} at {thing.start}, {thing.nbytes} bytes, is not in its block {block}"
                    )
                if not (block.birth <= now and death <= block.death):
                    raise CertificateError(f"{value!r} lives from {now} to {death}, its block {block} does not")
                things.append(thing)
            nbytes = self.scratch_bytes(node)
            if nbytes:
                block = blocks_of_units.get(node)
                if block is None or plan.scratch.get(node) != block.offset or block.nbytes < nbytes:
                    raise CertificateError(f"{node!r} needs {nbytes} bytes of scratch, its block is {block}")
                things.append(_Thing(node, block.offset, nbytes, now, now))
        return things

    def scratch_bytes(self, node: Node) -> int:
        """Row buffers for every worker, and the parts that tiles leave of reductions; what convolutions work in."""
        if node.op.family == "convolution":
            made = [self.made_bytes(node, number) for number in (0, 1)] if node.op.name == "conv_region" else []
            return convolution_scratch(node, self.plan.threads) + self.plan.threads * sum(made) + self.after(node)
        if node.op.family == "contraction":
            x, y = (self.plan.views[v] for v in node.inputs[:2])
            return self.plan.threads * strip_scratch(dot_tiles(x, y, self.plan.copies), y)
        if node.op.name == "moments":
            return moments_scratch(node, self.plan.threads)
        if node.op.name == "scan":
            body, attrs = self.plan.bodies[node], node.attrs
            together = self.plan.nested or attrs["carries"] or attrs.get("in_turn", False)
            lanes = 1 if together else attrs["length"]
            return lines(body.arena_bytes) * (lanes if 1 < self.plan.threads <= lanes <= MOST_LANES else 1)
        nest = self.plan.nests.get(node)
        if nest is None:
            return 0
        return self.loop_scratch(nest, node.attrs["body"].nodes[0])

    def after(self, unit: Node) -> int:
        """Bytes in which a unit works with what its convolution has made."""
        nest = self.plan.nests.get(unit)
        total = 0 if nest is None else self.loop_scratch(nest, None)
        inner = unit.attrs["body"].nodes if unit.op.name == "conv_region" else ()
        return total + sum(moments_scratch(node, self.plan.threads) for node in inner if node.op.name == "moments")

    def loop_scratch(self, nest: LoopNest, first: Node | None) -> int:
        """Row buffers and lines for every worker, its tile of a product, and the parts that tiles leave of sums."""
        rows = sum(lines(nest.columns * v.type.dtype.itemsize) for v in nest.buffers)
        rows += sum(lines(nest.lanes * nest.columns * v.type.dtype.itemsize) for v in self.in_lanes(nest))
        if first is not None and first.op.name == "dot":
            rows += lines(nest.product_rows * first.output.type.nbytes // first.output.type.shape[0])
        parts = [n for n in nest.crossings if nest.tiles > 1 and not _keeps_axes_on_both_sides(n)]
        return self.plan.threads * rows + sum(lines(nest.tiles * n.output.type.nbytes) for n in parts)

    def in_lanes(self, nest: LoopNest) -> list[Value]:
        """What has a line of as many rows as are walked together, or added up apart."""
        sums = [n.output for n in nest.crossings if n.output.type.size > 1 and not _keeps_axes_on_both_sides(n)]
        still = [v for v, a in nest.accesses.items() if any(a.column_strides) and not any(a.row_strides)]
        repeated = [v for v in still if nest.kinds[v] == "full" and v in nest.body.inputs]
        return (repeated if nest.together > 1 else []) + (sums if nest.lanes > 1 else [])

    def made_bytes(self, unit: Node, number: int) -> int:
        """Bytes in which a worker makes an operand of a convolution: those rows that have no place otherwise, and a
        line for each thing that is not read as it lies.
        """
        body: Graph = unit.attrs["body"]
        last = convolution_in(body)
        operand = last.inputs[number]
        if operand.node is None or (last.op.name in CONVOLUTIONS and number == 1):
            return 0
        images, itemsize = operand.type.shape, operand.type.dtype.itemsize
        channels, rows = images[-1], 0
        if last.op.name in CONVOLUTIONS:
            tiles = conv_tiles(unit)
            columns = 0 if tiles is None else tiles.copied[1]
        else:
            tiles = weight_gradient_tiles(unit)
            columns, rows = (0, 0) if tiles is None else (tiles.copied_columns(number), tiles.copied(number)[2])
        read, needed = [operand], {operand}
        for value in read:
            more = [] if value.node is None else [v for v in value.node.inputs if v not in needed]
            read += dict.fromkeys(more)
            needed.update(more)
        positions = operand.type.size // max(channels, 1)
        total = lines(rows * columns * channels * itemsize)
        for inner, outer in zip(body.inputs, unit.inputs):
            if inner in needed:
                elements = unlike(self.layouts[outer].window, positions, columns, channels)
                total += lines(elements * inner.type.dtype.itemsize)
        return total

    def nothing_overlaps(self, things: list[_Thing]) -> None:
        """Checks that what is live is disjoint, inside the arena, and as large at most as the plan says."""
        plan = self.plan
        born: dict[int, list[_Thing]] = {}
        dying: dict[int, list[_Thing]] = {}
        for thing in things:
            if thing.start < 0 or thing.end > plan.arena_bytes:
                span = f"{thing.start} to {thing.end}"
                raise CertificateError(f"{thing.what!r} lies at {span} of {plan.arena_bytes} bytes")
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
                        raise CertificateError(f"{thing.what!r} and {other.what!r} share bytes in phase {phase}")
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
            raise CertificateError(f"{most} bytes are live at once, the plan says {plan.lower_bound_bytes}")
        if most > plan.arena_bytes:
            raise CertificateError(f"{most} bytes are live at once in an arena of {plan.arena_bytes}")

    # ---- writing over an input

    def written_over(self, node: Node) -> dict[Value, Value]:
        """For each output that `node` writes over one of its inputs, the value in whose memory it comes to lie."""
        result: dict[Value, Value] = {}
        pairs = self.plan.in_place.get(node, {})
        reading = Counter(self.layouts[v].base for v in node.inputs)
        times = _Times(node.attrs["body"], self.plan.nests[node]) if pairs and node.op.name == "region" else None
        for o, i in pairs.items():
            output, layout = node.outputs[o], self.layouts[node.inputs[i]]
            problem = self.obstacle(node, output, layout)
            if not problem and reading[layout.base] > 1:
                problem = "it is read in two ways"
            if not problem and times is not None:
                problem = times.obstacle(i, o)
            if not problem and times is None and not _begins_with(node, o, i):
                problem = "the unit does not run element by element"
            if problem or list(pairs.values()).count(i) > 1:
                raise CertificateError(f"{node!r} writes output {o} over input {i}: {problem or 'twice'}")
            if self.location(output) != self.location(layout.base):
                raise CertificateError(f"{node!r} writes output {o} over input {i}, which lies elsewhere")
            result[output] = layout.base
        return result

    def obstacle(self, node: Node, output: Value, layout: _Layout) -> str:
        """Why `node` may not write `output` over what it reads as `layout`, whatever it does; empty if it may."""
        base, now = layout.base, self.phase_of[node]
        if self.location(base).place == "constant" or (base in self.kept and base.node is not None):
            return "it must last"
        if not layout.is_all_in_order or base.type.dtype != output.type.dtype or base.type.size != output.type.size:
            return "they are not laid out alike"
        if any(self.phase_of[r] >= now for r in self.readers[base] if r is not node):
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
                    raise CertificateError(f"{writer!r} destroys input {j}, which it reads")
                if reader is not writer and self.phase_of[reader] >= now:
                    raise CertificateError(f"phase {now} overwrites input {j}, which {reader!r} reads then or later")
        checked: set[tuple[Value, int]] = set()
        for node, now in self.phase_of.items():
            if not _may_stop(node):
                continue
            indices = None
            if node.op.name not in ("region", "scan"):
                axis: int = node.attrs["axis"]
                indices = (node.inputs[1], node.inputs[0].type.shape[axis])
            if now < first and indices:
                checked.add(indices)
            elif now >= first and indices not in checked:
                raise CertificateError(f"{node!r} in phase {now} may stop the run, phase {first} overwrites an input")


def _begins_with(node: Node, o: int, i: int) -> bool:
    """Whether a unit that is no region makes output `o` by changing input `i`."""
    if node.op.name == "scan":
        return o < node.attrs["carries"] and i == node.attrs["consts"] + o
    if node.op.name == "conv_region":
        body: Graph = node.attrs["body"]
        last = convolution_in(body)
        alike = [k for k, v in enumerate(body.outputs) if v.type == last.output.type]
        home = body.outputs.index(last.output) if last.output in body.outputs else alike[0]
        return len(last.inputs) == 3 and body.inputs[i] is last.inputs[2] and o == home
    added = ("dot_add", "conv_add", "conv_weight_gradient_add")
    return i == 2 if node.op.name in added else (node.op.name, i) == ("scatter_add", 0)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _keeps_axes_behind(node: Node) -> bool:
    shape = node.inputs[0].type.shape
    last: int = node.attrs["axes"][-1] if "axes" in node.attrs else node.attrs["axis"]
    return bool(_long(shape[last + 1 :]))


def _keeps_axes_on_both_sides(node: Node) -> bool:
    return bool(_long(node.inputs[0].type.shape[: node.attrs["axes"][0]])) and _keeps_axes_behind(node)


def _may_stop(node: Node) -> bool:
    if node.op.name == "region":
        return any(inner.op.name == "check_index" for inner in node.attrs["body"].nodes)
    if node.op.name == "scan":
        return any(map(_may_stop, node.attrs["body"].nodes))
    return node.op.name in ("gather", "scatter_add")


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
            reduces = node.op.family == "reduction" and nest.kinds[node.inputs[0]] == "full"
            self.sweep.update((v, now + reduces) for v in node.outputs)
            # Sums of whole rows are taken as the row is swept.
            time = 2 * now + (reduces and not _keeps_axes_behind(node))
            if node.op.name == "dot":
                self.read_by_dot.update(node.inputs)
            for value in node.inputs:
                self.last_read[value] = max(self.last_read.get(value, 0), time)

    def obstacle(self, i: int, o: int) -> str:
        """Why output `o` cannot be written over input `i` in a loop over rows; empty if it can."""
        old, new = self.body.inputs[i], self.body.outputs[o]
        if old in self.read_by_dot:
            return "other tiles of the product read it too"
        if _long(old.type.shape) != _long(new.type.shape):
            return "their elements do not belong together"
        if self.nest.kinds[self.nest.body.outputs[o]] == "crossing":
            return "a sum over rows has no element for each of the input's"
        # A value of a row is read before the first sweep, wherever it is used.
        if self.nest.kinds[self.nest.body.inputs[i]] == "full" and self.last_read.get(old, 0) > 2 * self.sweep[new]:
            return "it is read after it is written"
        return ""
