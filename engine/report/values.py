"""From a plan to the units and values of its report: what each one is, and why it lives as long as it does.

Loops are opened: where a loop runs, the phases of one iteration stand in its place, and the values of that iteration
where they lie in the loop's part of the arena.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import Graph, Node, Value, node_flops
from ...passes.graph.scan import Scan
from ...passes.kernels.cost import node_nanoseconds
from ...passes.kernels.library_scratch import library_scratch
from ...passes.memory.plan import Plan
from ...passes.remat.frontier import Choice
from ...passes.tiling.parallel_loops import parallel_iterations, run_concurrently
from .reasons import Reasons
from .schema import LoopReport, TransferReport, UnitReport, ValueReport

_PLAIN = frozenset({"full", "constant", "reshape", "broadcast", "transpose", "slice", "reverse", "cast", "copy"})
"""Operations that say little of what a fused loop does."""

_CHEAP = frozenset({"add", "mul", "sub", "select", "and", "eq", "ne", "lt", "gt", "neg"})
_NAMED = 3
_READERS = 2


@dataclass
class OpenedPlan:
    """The units, values and loops of a plan on one line of time with `phases` phases."""

    units: list[UnitReport]
    values: list[ValueReport]
    loops: list[LoopReport]
    transfers: list[TransferReport]
    phases: int


def open_plan(choice: Choice, traced: Graph | None = None) -> OpenedPlan:
    """All that a chosen plan of a `traced` graph does, an iteration of each of its loops included."""
    opened = OpenedPlan([], [], [], [], 0)
    _Opener(opened, choice.plan, [0], 1, Reasons(choice, traced)).run(0)
    opened.phases = max(_length(choice.plan), 0)
    return opened


def unit_name(unit: Node) -> str:
    """A short name: the operation, or for a fused loop those that tell the most of it."""
    if unit.op.is_scan:
        return f"loop ×{unit.attrs['length']}"
    if unit.op.is_decided_at_run_time:
        return unit.op.name.replace("_", " ")
    if unit.op.is_tiled:
        return f"{unit.op.name} in tiles"
    body = _fused(unit)
    if body is None:
        return unit.op.name
    names = [node.op.name for node in body.nodes]
    telling = list(dict.fromkeys(name for name in names if name not in _PLAIN)) or list(dict.fromkeys(names))
    # The costly ones first: what is left out is what anybody expects.
    telling.sort(key=lambda name: name in _CHEAP)
    return " ".join(telling[:_NAMED]) + (" …" if len(telling) > _NAMED else "")


def _fused(unit: Node) -> Graph | None:
    """What runs in a fused loop, or with a convolution."""
    return unit.attrs["body"] if unit.op.body == "once" else None


def _counted(unit: Node) -> str:
    body = _fused(unit)
    if body is None:
        return ""
    counts = Counter(node.op.name for node in body.nodes)
    return ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in counts.items())


def _maker(value: Value) -> Node:
    """The node that makes a value of a fused graph: the one inside the region, where there is one."""
    assert value.node is not None
    body = _fused(value.node)
    inner = None if body is None else body.outputs[value.index].node
    return value.node if inner is None else inner


def _name(value: Value) -> str:
    """The operation that makes a value; of what a loop makes, the one that makes it in each turn; the name of an input.
    """
    if value.node is None:
        return value.name
    node = _maker(value)
    made = node.bodies[0].outputs[value.index] if node.bodies else None
    return node.op.name if made is None or made.node is None else _name(made)


def _length(plan: Plan) -> int:
    """The phases of a plan with those of its loops in their places."""
    return sum(_phase_length(plan, phase) for phase in plan.phases)


def _phase_length(plan: Plan, phase: Sequence[Node]) -> int:
    return max((sum(map(_length, plan.bodies[unit])) for unit in phase if unit in plan.bodies), default=1) or 1


class _Opener:
    """Opens a plan that lies at each of `offsets` in the arena, one for each concurrent iteration; it runs `times`
    times. `loop` is the number of its loop in the report, if it is the plan of a body.
    """

    def __init__(
        self,
        opened: OpenedPlan,
        plan: Plan,
        offsets: Sequence[int],
        times: int,
        reasons: Reasons,
        loop: int | None = None,
    ) -> None:
        self.reasons = reasons
        self.opened = opened
        self.plan = plan
        self.offsets = offsets
        self.times = times
        self.loop = loop
        self.number: dict[Node, int] = {}
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.readers: dict[Value, list[Node]] = {}
        self.outputs = set(plan.graph.outputs)

    def run(self, begin: int) -> None:
        for phase in self.plan.phases:
            self.begins.append(begin)
            begin += _phase_length(self.plan, phase)
            self.ends.append(begin - 1)
        for i, phase in enumerate(self.plan.phases):
            for unit in phase:
                for base in dict.fromkeys(self.plan.views[value].base for value in unit.inputs):
                    self.readers.setdefault(base, []).append(unit)
                self._unit(unit, self.begins[i])
        self.phase_of = {unit: i for i, phase in enumerate(self.plan.phases) for unit in phase}
        self.opened.transfers += map(self._transfer, self.plan.transfers.done)
        for block in self.plan.blocks:
            birth = self.begins[block.birth]
            death = self.ends[block.death] if block.death < len(self.ends) else self.ends[-1] + 1
            for offset in self.offsets:
                number = self.opened.values[-1].block + 1 if self.opened.values else 0
                if block.unit is not None and block.unit not in self.plan.bodies:
                    self._scratch(block.unit, block.nbytes, birth, death, offset + block.offset, number)
                for value in block.values:
                    self._value(value, death, offset + block.offset, number)

    def _unit(self, unit: Node, phase: int) -> None:
        origin, bodies = unit.origin, self.plan.bodies.get(unit, ())
        self.number[unit] = len(self.opened.units)
        flops = 0 if bodies else self.times * node_flops(unit)
        place = (origin.scope, origin.source, origin.role, phase)
        made = dict.fromkeys(self.plan.views[value].base.node for value in unit.inputs)
        reads = tuple(sorted(self.number[node] for node in made if node in self.number and node is not unit))
        nanoseconds = self.times * node_nanoseconds(unit, self.plan.target) / (self.plan.target.workers or 1)
        runs = (self.times, nanoseconds, self.loop, reads)
        self.opened.units.append(UnitReport(unit_name(unit), *place, flops, _counted(unit), *runs))
        for body in bodies:
            self._body(unit, body, phase)
            phase += _length(body)

    def _body(self, unit: Node, body: Plan, phase: int) -> None:
        """Opens the body of a loop, or a branch, from a phase on."""
        origin = unit.origin
        length: int = unit.attrs.get("length", 1)
        concurrent = (
            parallel_iterations(unit) if not self.plan.nested and run_concurrently(unit, self.plan.threads) else 1
        )
        step = body.target.round_to_line(body.arena_bytes)
        begin = self.plan.scratch.get(unit, 0)
        offsets = [offset + begin + i * step for offset in self.offsets for i in range(concurrent)]
        end = phase + _length(body)
        serialized = "in_turn" in unit.attrs
        loop = len(self.opened.loops)
        number = self.number[unit]
        self.opened.loops.append(
            LoopReport(phase, end, length, concurrent, origin.scope, origin.source, serialized, number, unit.op.name)
        )
        _Opener(self.opened, body, offsets, self.times * length, self.reasons, loop).run(phase)

    def _end(self, unit: Node) -> int:
        """The last phase in which a unit reads and writes."""
        return self.ends[self.plan.transfers.done.get(unit, self.phase_of[unit])]

    def _transfer(self, unit: Node) -> TransferReport:
        moved, to_host = self._moved(unit), unit.op.moves_to == "host"
        number = self._number_of_state(unit)
        held = "" if number is None else self.plan.graph.inputs[number].name
        name = held or _name(moved)
        place = (unit.origin.scope, unit.origin.source, unit.output.type.nbytes, to_host)
        return TransferReport(name, *place, self.begins[self.phase_of[unit]], self._end(unit), held)

    def _moved(self, unit: Node) -> Value:
        """What a transfer moves, from where it was made first."""
        value = self.plan.views[unit.inputs[0]].base
        return value if value.node is None or not value.node.op.moves_to else self._moved(value.node)

    def _number_of_state(self, unit: Node) -> int | None:
        """The number of the input whose content a transfer moves, if it moves that."""
        for value in (self.plan.views[unit.inputs[0]].base, unit.output):
            if (place := self.plan.locations[value]).place == "input":
                return place.index
        return None

    def _scratch(self, unit: Node, nbytes: int, birth: int, death: int, offset: int, block: int) -> None:
        origin, number = unit.origin, self.number[unit]
        of_library = self.plan.target.libraries and library_scratch(unit, self.plan.views, self.plan.target)
        why = "workspace of a library" if of_library else "row buffers of each thread and parts of sums"
        place = (origin.scope, origin.source, nbytes, birth, death, offset)
        kind = ("temporary", why, "scratch", f"{nbytes} bytes")
        self.opened.values.append(ValueReport("scratch", *place, *kind, block, number, (number,)))

    def _value(self, value: Value, block_death: int, offset: int, block: int) -> None:
        assert value.node is not None
        node, readers = _maker(value), self.readers.get(value, [])
        back = node.op.moves_to is not None
        name, scope, source = _name(self._moved(node) if back else value), node.origin.scope, node.origin.source
        total = self._total(value, readers)
        user = next((r for r in self.readers.get(total, []) if r.origin.role == "optimizer"), None)
        summed = total is not value or (
            node.op.is_scan
            and (value in Scan(node).last_carries or parallel_iterations(node) > 1 or "in_turn" in node.attrs)
        )
        # A convolution that is done again is one as a whole, whatever the roles of what runs with it.
        role = "recompute" if _again(value.node) else node.origin.role
        kind = "gradient" if user and summed else _kind(role, self._roles(value))
        why = self._why(kind, value, node, readers)
        if user and summed:
            # A sum over the iterations of a loop belongs where it is used.
            name, scope = "sum", user.origin.scope
            why = f"a gradient summed up by the loop, until its parameter is updated{self._read(readers, scope)}"
        if back and node in self.plan.transfers.nodes:
            why = f"back from host memory, read{self._read(readers, scope)}"
        if value in self.plan.copied_back:
            kind, why = "optimizer", "what an input becomes: written there when nothing reads the old content any more"
        elif value in self.outputs and not self.plan.nested:
            kind, why = "result", "a result of the step, which stays to its end"
        birth = self.begins[self.phase_of[value.node]]
        last = max(map(self._end, readers), default=self._end(value.node))
        stays = value in self.outputs
        self.opened.values.append(
            ValueReport(
                name,
                scope,
                source,
                value.type.nbytes,
                birth,
                block_death if stays else last,
                offset,
                {"activation": "kept", "recomputed": "recomputed"}.get(kind, "temporary"),
                why,
                kind,
                str(value.type),
                block,
                self.number[value.node],
                tuple(self.number[reader] for reader in readers),
            )
        )

    def _total(self, value: Value, readers: Sequence[Node]) -> Value:
        """What becomes of a value that loops of the backward alone read, one after the other, and begin a sum or a
        carry with: its end; of others the value itself.
        """
        while len(readers) == 1 and readers[0].op.is_scan and readers[0].origin.role == "backward":
            loop = Scan(readers[0])
            if value not in loop.carries:
                break
            value = loop.last_carries[loop.carries.index(value)]
            readers = self.readers.get(value, [])
        return value

    def _roles(self, value: Value) -> set[str]:
        """The roles of the operations that read a value; within fused loops they may be others than the loop's."""
        roles: set[str] = set()
        for reader in self.readers.get(value, []):
            body = _fused(reader)
            if body is None or _again(reader):
                roles.add(reader.origin.role)
                continue
            read = {into for of, into in zip(reader.inputs, body.inputs) if self.plan.views[of].base is value}
            roles.update(node.origin.role for node in body.nodes if not read.isdisjoint(node.inputs))
        return roles

    def _why(self, kind: str, value: Value, node: Node, readers: Sequence[Node]) -> str:
        # Of what the forward reads last, that is why it still lives.
        backward = [r for r in readers if r.origin.role != "forward"] if kind == "activation" else []
        late = backward and self.phase_of[readers[-1]] > self.phase_of[backward[-1]]
        who = self._read(backward or readers, node.origin.scope)
        match kind:
            case "activation":
                last = f", and at last{self._read(readers[-1:], node.origin.scope)}" if late else ""
                reason = self.reasons.kept(self.plan, value, self.times)
                return f"kept: read in the backward{who}{last}; {reason}"
            case "recomputed":
                reason = self.reasons.recomputed(self.plan, value, node, self.times)
                return f"recomputed {reason}" + (f"; read{who}" if who else "")
            case "gradient":
                return f"a gradient, until its parameter is updated{who}"
            case _:
                what = {"temporary": "forward", "backward": "backward"}.get(kind, "update")
                return f"within the {what}, read{who}" if who else f"within the {what}"

    def _read(self, readers: Sequence[Node], home: str) -> str:
        """By whom, in words; the last reader is the one that a value waits for."""
        told: list[str] = []
        for reader in list(dict.fromkeys(reversed(readers)))[:_READERS]:
            scope = reader.origin.scope
            where = f" of {scope}" if scope and scope != home else ""
            told.append(f"{unit_name(reader)}{where} in phase {self.begins[self.phase_of[reader]]}")
        more = len(readers) - len(told)
        return (" by " + " and ".join(told) + (f" and {more} more before" if more > 0 else "")) if told else ""


def _again(unit: Node) -> bool:
    return unit.op.is_conv_region and unit.origin.role == "recompute"


def _kind(role: str, roles: set[str]) -> str:
    match role:
        case "recompute":
            return "recomputed"
        case "forward":
            return "activation" if roles & {"backward", "recompute"} else "temporary"
        case "backward":
            return "gradient" if "optimizer" in roles else "backward"
        case _:
            return "optimizer"
