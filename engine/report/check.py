"""Does a report say what its plan does? Every figure is reckoned from the plan once more, in another way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...ir import Graph, Node, Value, node_flops
from ...passes.memory.plan import Plan
from ...passes.ranks.traffic import sent
from ...passes.verify.errors import PlanVerificationError, describe
from ...passes.verify.scratch import parallel_iterations, rounded_up
from .schema import MemoryReport, ValueReport

_STATUS = {"activation": "kept", "recomputed": "recomputed"}


def check_report(report: MemoryReport, plan: Plan) -> None:
    """Raise `PlanVerificationError` unless the figures of a report, its units, loops and values are those of a sound
    plan, and its budget is kept.
    """
    opened = _Opened(report)
    opened.open(plan, 0, [0], 1)
    parameters = sum(array.bytes for array in report.held if array.kind == "parameter")
    nodes, on_host = plan.graph.nodes, plan.host_input_bytes
    for name, said, found in (
        ("parameter_bytes", report.parameter_bytes, parameters),
        ("state_bytes", report.state_bytes, sum(array.bytes for array in report.held) - parameters - on_host),
        ("host_bytes", report.host_bytes, on_host + plan.host_bytes),
        ("held bytes in host memory", sum(array.bytes for array in report.held if array.on_host), on_host),
        ("transfers", len(report.transfers), len(plan.transfers.nodes)),
        ("moved bytes", sum(one.bytes for one in report.transfers), sum(map(_moved_bytes, plan.transfers.nodes))),
        ("messages", report.messages, sum(sent(node)[0] for node in nodes)),
        ("sent_bytes", report.sent_bytes, sum(sent(node)[1] for node in nodes)),
        ("constant_bytes", report.constant_bytes, sum(v.type.nbytes for v in _constants(plan.graph))),
        ("arena_bytes", report.arena_bytes, plan.arena_bytes),
        ("lower_bound_bytes", report.lower_bound_bytes, plan.lower_bound_bytes),
        ("flops", report.flops, sum(map(_flops, nodes))),
        ("recompute_flops", report.recompute_flops, sum(map(_recompute_flops, nodes))),
        ("phases", report.phases, opened.phases),
        ("threads", report.threads, plan.threads),
        ("target", report.target, plan.target),
        ("units", len(report.units), opened.units),
        ("loops", len(report.loops), opened.loops),
        ("values", len(report.values), opened.values.total()),
    ):
        if said != found:
            raise PlanVerificationError(f"the report says that {name} are {said:,}, by the plan they are {found:,}")
    told_bytes = (*map(_place, report.values),)
    if missing := opened.values - Counter(told_bytes):
        raise PlanVerificationError(f"the report does not tell of {_described(next(iter(missing)))}")
    _shares_by_blocks(report.values)
    if max(report.live_bytes, default=0) > report.lower_bound_bytes:
        raise PlanVerificationError("the report's values are more bytes at once than its lower_bound_bytes")
    if report.budget_bytes is not None and report.total_bytes > report.budget_bytes:
        took = f"{report.total_bytes:,}"
        raise PlanVerificationError(f"the step takes {took} bytes, its budget is {report.budget_bytes:,}")
    if report.slowdown < 0:
        raise PlanVerificationError(f"the report says that recomputing takes less than no time: {report.slowdown}")


_Place = tuple[int, str, int, int, int, int]
"""Of a value the unit that makes it, its type, bytes, offset, birth and death."""


def _place(value: ValueReport) -> _Place:
    return value.made_by, value.type, value.bytes, value.offset, value.birth, value.death


def _described(place: _Place) -> str:
    unit, kind, nbytes, offset, birth, death = place
    return f"{kind} of unit {unit}, {nbytes} bytes at {offset} from phase {birth} to {death}"


def _shares_by_blocks(values: Iterable[ValueReport]) -> None:
    offsets: dict[int, int] = {}
    for value in values:
        if value.status != _STATUS.get(value.kind, "temporary"):
            raise PlanVerificationError(f"the report says that what {value.why} is {value.status}")
        if offsets.setdefault(value.block, value.offset) != value.offset:
            raise PlanVerificationError(f"the report has one block at {offsets[value.block]} and at {value.offset}")


@dataclass
class _Opened:
    """What a report should have: loops are opened, one iteration of each in the place of its unit."""

    report: MemoryReport
    phases: int = 0
    units: int = 0
    loops: int = 0
    values: Counter[_Place] = field(default_factory=Counter[_Place])

    def open(self, plan: Plan, first: int, offsets: Sequence[int], times: int) -> None:
        """Enter a plan that lies at each of `offsets` and runs `times` times in a step, from the phase `first` on."""
        number: dict[Node, int] = {}
        spans: list[tuple[int, int]] = []
        for phase in plan.phases:
            end = first + 1
            for node in phase:
                number[node] = self.units
                end = max(end, self.unit(plan, node, first, offsets, times))
            spans.append((first, end - 1))
            first = end
        self.phases = max(self.phases, first)
        self.lives(plan, number, spans, offsets)

    def unit(self, plan: Plan, node: Node, first: int, offsets: Sequence[int], times: int) -> int:
        """Enter a unit; the phase behind it."""
        origin, bodies = node.origin, plan.bodies.get(node, ())
        flops = 0 if bodies else times * _flops(node)
        expected = (origin.scope, origin.source, origin.role, first, flops, times)
        self.compare("unit", self.units, node, expected, ("scope", "source", "role", "phase", "flops", "times"))
        self.units += 1
        end = first
        for body in bodies:
            end = self.body(plan, node, body, end, offsets, times)
        return max(end, first + 1)

    def body(self, plan: Plan, node: Node, body: Plan, first: int, offsets: Sequence[int], times: int) -> int:
        """Enter the body of a loop, or a branch, from a phase on; the phase behind it."""
        origin, length = node.origin, node.attrs.get("length", 1)
        apart = 1 if plan.nested or not 1 < plan.threads <= parallel_iterations(node) else parallel_iterations(node)
        loop, self.loops = self.loops, self.loops + 1
        begin, step = plan.scratch.get(node, 0), rounded_up(body.arena_bytes, body.target.line_bytes)
        inside = [offset + begin + lane * step for offset in offsets for lane in range(apart)]
        last, self.phases = self.phases, first
        self.open(body, first, inside, times * length)
        end, self.phases = self.phases, max(last, self.phases)
        expected = (first, end, length, apart, origin.scope, origin.source, "in_turn" in node.attrs, node.op.name)
        names = ("first", "end", "length", "lanes", "scope", "source", "in_turn", "kind")
        self.compare("loop", loop, node, expected, names)
        return end

    def compare(self, what: str, number: int, node: Node, expected: tuple[Any, ...], names: Sequence[str]) -> None:
        """Checks what the report says of a unit or a loop."""
        told_of = self.report.units if what == "unit" else self.report.loops
        if number >= len(told_of):
            raise PlanVerificationError(f"the report does not tell of {describe(node)}")
        for name, found in zip(names, expected, strict=True):
            if (said := getattr(told_of[number], name)) != found:
                raise PlanVerificationError(
                    f"the report says {name} {said!r} of {what} {number}, {describe(node)}: it is {found!r}"
                )

    def lives(
        self, plan: Plan, number: dict[Node, int], spans: Sequence[tuple[int, int]], offsets: Sequence[int]
    ) -> None:
        """Enter the values of a plan whose phases take these spans."""
        last: dict[Value, int] = dict.fromkeys(plan.graph.outputs, spans[-1][1] + 1 if spans else 0)
        for phase, (_, end) in zip(plan.phases, spans):
            for node in phase:
                done = plan.transfers.done.get(node)
                for value in node.inputs:
                    base = plan.views[value].base
                    last[base] = max(last.get(base, 0), end if done is None else spans[done][1])
        scratch = {block.unit: block for block in plan.blocks if block.unit is not None}
        for phase, (first, end) in zip(plan.phases, spans):
            for node in phase:
                found = [
                    (str(v.type), v.type.nbytes, plan.locations[v].offset, first, last.get(v, end))
                    for v in node.outputs
                    if plan.locations[v].place == "arena" and v.type.nbytes
                ]
                if node in scratch and node not in plan.bodies:
                    nbytes = scratch[node].nbytes
                    found.append((f"{nbytes} bytes", nbytes, plan.scratch[node], first, end))
                for kind, nbytes, place, birth, death in found:
                    for offset in offsets:
                        self.values[number[node], kind, nbytes, offset + place, birth, death] += 1


def _constants(graph: Graph) -> list[Value]:
    """The constants of a graph and of the bodies of its loops and branches."""
    own = [node.output for node in graph.nodes if node.op.is_stored]
    bodies = (body for node in graph.nodes for body in node.bodies)
    return [*own, *(value for body in bodies for value in _constants(body))]


def _moved_bytes(node: Node) -> int:
    return node.inputs[0].type.nbytes


def _flops(node: Node) -> int:
    if not node.graphs or node.op.is_tiled:
        return node_flops(node)
    return node.attrs.get("length", 1) * max(sum(map(_flops, graph.nodes)) for graph in node.graphs)


def _recompute_flops(node: Node) -> int:
    """Operations of recomputed nodes, those in bodies too."""
    if node.origin.role == "recompute" and not node.op.is_region:
        return _flops(node)
    inside = (sum(map(_recompute_flops, graph.nodes)) for graph in node.graphs)
    return node.attrs.get("length", 1) * max(inside, default=0)
