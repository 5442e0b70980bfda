"""`MemoryReport`: every byte of a planned step, before anything is allocated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..ir import Graph, Node, Value, node_flops
from ..passes.certificate import check_plan
from ..passes.plan import Plan


@dataclass(frozen=True)
class ValueReport:
    """One value in the arena, or the scratch of one unit.

    `birth` and `death` are phases of the step, both included; `offset` and `bytes` are in bytes. `status` is `kept`
    (made in the forward and read in the backward), `recomputed`, or `temporary`; `why` says it in words.
    """

    name: str
    scope: str
    source: str
    bytes: int
    birth: int
    death: int
    offset: int
    status: str
    why: str


@dataclass(frozen=True)
class MemoryReport:
    """The memory of a training step, exactly as it is allocated, in bytes.

    `parameter_bytes` are all parameters; `state_bytes` the optimizer's state, running statistics, and the scalars that
    a step reads (learning rate, key); `constant_bytes` the arrays that the loss function closes over; `arena_bytes`
    everything else: activations, gradients, scratch of each thread. `total_bytes` is their sum; batches are the
    caller's. `lower_bound_bytes` is the most arena bytes live at once: no layout needs less. `no_recompute_arena_bytes`
    is the arena if nothing were recomputed. `flops` are those of one step, `recompute_flops` the part of them that only
    recomputes.
    """

    parameter_bytes: int
    state_bytes: int
    constant_bytes: int
    arena_bytes: int
    lower_bound_bytes: int
    no_recompute_arena_bytes: int
    flops: int
    recompute_flops: int
    phases: int
    threads: int
    values: tuple[ValueReport, ...]
    plan: Plan

    @property
    def total_bytes(self) -> int:
        """Parameters, state, constants and arena."""
        return self.parameter_bytes + self.state_bytes + self.constant_bytes + self.arena_bytes

    def check(self) -> None:
        """Replay the plan independently. Raises `CertificateError` if anything in it is not as this report says."""
        check_plan(self.plan)

    def to_json(self) -> str:
        """All figures and values as a JSON object."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("plan", "values")}
        fields["total_bytes"] = self.total_bytes
        fields["values"] = [asdict(value) for value in self.values]
        return json.dumps(fields, indent=1)

    def __str__(self) -> str:
        lines = [
            f"parameters       {human(self.parameter_bytes):>10}",
            f"optimizer state  {human(self.state_bytes):>10}",
            f"constants        {human(self.constant_bytes):>10}",
            f"arena            {human(self.arena_bytes):>10}   (at least {human(self.lower_bound_bytes)} live at once)",
            f"total            {human(self.total_bytes):>10}   {self.total_bytes:,} bytes, allocated exactly",
            f"work             {_flops(self.flops):>10}   of which recompute {_flops(self.recompute_flops)}",
            f"runs in {self.phases} phases on {self.threads} thread{'s' if self.threads != 1 else ''}",
        ]
        largest = sorted(self.values, key=lambda v: -v.bytes)[:10]
        if largest:
            lines.append("largest values in the arena:")
            lines += [
                f"  {human(v.bytes):>10}  {v.name:<16} {v.scope:<20} phases {v.birth}-{v.death}  {v.why}"
                + (f"  {v.source}" if v.source else "")
                for v in largest
            ]
        return "\n".join(lines)


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names for people, the first few of many."""
    all_names = list(names)
    rest = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + rest


def human(nbytes: float) -> str:
    """Bytes for people: 1.5 MB is 1,500,000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.2f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} TB"


def _flops(flops: float) -> str:
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"):
        if flops < 1000:
            return f"{flops:.4g} {unit}"
        flops /= 1000
    return f"{flops:.4g} PFLOP"


def make_report(plan: Plan, parameter_bytes: int, state_bytes: int, no_recompute_arena_bytes: int) -> MemoryReport:
    """The report of `plan` for a step with so many bytes of parameters and state."""
    nodes = list(_inner_nodes(plan.graph))
    return MemoryReport(
        parameter_bytes,
        state_bytes,
        sum(value.type.nbytes for value in plan.constants),
        plan.arena_bytes,
        plan.lower_bound_bytes,
        no_recompute_arena_bytes,
        sum(map(node_flops, nodes)),
        sum(node_flops(n) for n in nodes if n.origin.role == "recompute"),
        len(plan.phases),
        plan.threads,
        tuple(_values(plan)),
        plan,
    )


def _inner_nodes(graph: Graph) -> Iterable[Node]:
    for node in graph.nodes:
        if node.op.name == "region":
            yield from node.attrs["body"].nodes
        else:
            yield node


def recomputes(graph: Graph) -> bool:
    """Whether anything in a fused graph is recomputed."""
    return any(node.origin.role == "recompute" for node in _inner_nodes(graph))


def _maker(value: Value) -> Node:
    """The node that makes a value of a fused graph: the one inside the region, where there is one."""
    node = value.node
    assert node is not None
    if node.op.name == "region":
        inner = node.attrs["body"].outputs[value.index].node
        return inner if inner is not None else node
    return node


def _values(plan: Plan) -> Iterable[ValueReport]:
    read_in: dict[Value, set[str]] = {}
    for phase in plan.phases:
        for unit in phase:
            for value in unit.inputs:
                read_in.setdefault(plan.views[value].base, set()).add(unit.origin.role)
    for block in plan.blocks:
        if block.unit is not None:
            origin = block.unit.origin
            yield ValueReport(
                "scratch",
                origin.scope,
                origin.source,
                block.nbytes,
                block.birth,
                block.death,
                block.offset,
                "temporary",
                "row buffers of each thread and parts of sums",
            )
        for value in block.values:
            node = _maker(value)
            status, why = _status(node, read_in.get(value, set()))
            birth, death = _life(plan, value, block.birth, block.death)
            yield ValueReport(
                node.op.name,
                node.origin.scope,
                node.origin.source,
                value.type.nbytes,
                birth,
                death,
                block.offset,
                status,
                why,
            )


def _life(plan: Plan, value: Value, birth: int, death: int) -> tuple[int, int]:
    """A value's own phases within the life of the block that it shares with others."""
    first = next((i for i in range(birth, len(plan.phases)) if value.node in plan.phases[i]), birth)
    uses = (
        i
        for i in range(min(death, len(plan.phases) - 1), first, -1)
        if any(plan.views[v].base is value for unit in plan.phases[i] for v in unit.inputs)
    )
    return first, death if value in plan.graph.outputs else next(uses, first)


def _status(node: Node, readers: set[str]) -> tuple[str, str]:
    match node.origin.role:
        case "recompute":
            return "recomputed", "computed again from what its checkpoint keeps"
        case "forward" if readers & {"backward", "recompute"}:
            return "kept", "made in the forward, read in the backward"
        case "backward" if "optimizer" in readers:
            return "temporary", "a gradient, until its parameter is updated"
        case role:
            return "temporary", f"within the {role}"
