"""The plan verifier finds what is wrong with moves between device and host memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from gradloom.ir import Node
from gradloom.passes.memory.plan import Location, Plan
from gradloom.passes.memory.transfers import Transfers
from gradloom.passes.target import Target
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan
from moved_values import plan_that_moves


def moves(made: Plan, to: str) -> list[Node]:
    """The transfers in this direction, in the order of the step."""
    return [node for node in made.graph.nodes if node.op.moves_to == to]


def done_in(made: Plan, node: Node, phase: int) -> Plan:
    return replace(made, transfers=replace(made.transfers, done={**made.transfers.done, node: phase}))


def phase_of(made: Plan, node: Node) -> int:
    return next(i for i, phase in enumerate(made.phases) if node in phase)


def test_what_moves_has_a_place_of_its_own_in_host_memory():
    made = plan_that_moves()
    check_plan(made)
    kept, other, new = (node.output for node in moves(made, "host"))
    assert [made.locations[v].place for v in (kept, other, new)] == ["host", "host", "input"]
    assert made.transfers.numbers == {0}
    assert made.host_input_bytes == 1600
    assert made.host_bytes == 2 * made.target.round_to_line(1600)
    assert len(made.transfers.nodes) == 6


def test_what_moves_away_leaves_its_memory_to_others():
    made = plan_that_moves()
    first = made.graph.nodes[0].output
    (block,) = (b for b in made.blocks if first in b.values)
    assert block.death == made.transfers.done[moves(made, "host")[0]] < len(made.phases) - 3


def _read_before_done(made: Plan) -> Plan:
    back = moves(made, "device")[1]
    reader = next(n for n in made.graph.nodes if back.output in n.inputs)
    return done_in(made, back, phase_of(made, reader))


def _freed_before_moved(made: Plan) -> Plan:
    away = moves(made, "host")[0]
    return done_in(made, away, made.transfers.done[away] + 1)


def _done_before_begun(made: Plan) -> Plan:
    away = moves(made, "host")[1]
    return done_in(made, away, phase_of(made, away) - 1)


def _never_done(made: Plan) -> Plan:
    away = moves(made, "host")[2]
    return done_in(made, away, len(made.phases))


def _back_before_away(made: Plan) -> Plan:
    away, back = moves(made, "host")[1], moves(made, "device")[2]
    return done_in(made, away, phase_of(made, back))


def _overlap(made: Plan) -> Plan:
    first, second = made.host_blocks
    (value,) = second.values
    blocks = [first, replace(second, offset=first.offset)]
    places = {**made.locations, value: Location("host", 0, first.offset)}
    return replace(made, host_blocks=blocks, locations=places, host_bytes=made.target.round_to_line(1600))


def _kernel_reads_host_memory(made: Plan) -> Plan:
    back = moves(made, "device")[0]
    done = {node: phase for node, phase in made.transfers.done.items() if node is not back}
    return replace(made, transfers=replace(made.transfers, nodes=made.transfers.nodes - {back}, done=done))


def _input_on_the_device(made: Plan) -> Plan:
    return replace(made, transfers=replace(made.transfers, numbers=frozenset()))


def _another_input(made: Plan) -> Plan:
    return replace(made, transfers=replace(made.transfers, numbers=frozenset({1})))


def _no_transfers(made: Plan) -> Plan:
    return replace(made, transfers=Transfers())


def _value_on_the_device(made: Plan) -> Plan:
    kept = moves(made, "host")[0].output
    return replace(made, locations={**made.locations, kept: Location("arena")})


def _less_host_memory(made: Plan) -> Plan:
    return replace(made, host_bytes=made.host_bytes - made.target.line_bytes)


def _short_block(made: Plan) -> Plan:
    first, second = made.host_blocks
    return replace(made, host_blocks=[replace(first, death=first.death - 1), second])


def _forgotten_block(made: Plan) -> Plan:
    return replace(made, host_blocks=made.host_blocks[:1])


def _on_a_cpu(made: Plan) -> Plan:
    return replace(made, target=Target.cpu("avx2"))


FAULTS: list[tuple[Callable[[Plan], Plan], str]] = [
    (_read_before_done, "reads <to_device output: f32\\[20,20\\]> before an earlier phase has made it"),
    (_freed_before_moved, "lives from 0 to"),
    (_done_before_begun, "is done in phase"),
    (_never_done, "is done in phase"),
    (_back_before_away, "before an earlier phase has made it"),
    (_overlap, "share bytes of host memory"),
    (_kernel_reads_host_memory, "is no transfer, and works in host memory"),
    (_input_on_the_device, "does not move from one memory to the other"),
    (_another_input, "keeps its content"),
    (_no_transfers, "the blocks of host memory hold other values than lie there|lies at"),
    (_value_on_the_device, "lies at"),
    (_less_host_memory, "host memory has"),
    (_short_block, "longer or shorter than its block"),
    (_forgotten_block, "hold other values"),
    (_on_a_cpu, "on a CPU"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_each_fault_is_found(fault: Callable[[Plan], Plan], message: str):
    with pytest.raises(PlanVerificationError, match=message):
        check_plan(fault(plan_that_moves()))
