"""Transfers of a plan, checked: what moves, what lies in host memory, and when a move is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...ir import Node, Value
from ..memory.plan import Plan
from .errors import PlanVerificationError, describe
from .windows import Layout


def check_transfers(plan: Plan, phase_of: Mapping[Node, int], layouts: Mapping[Value, Layout]) -> None:
    """Raise `PlanVerificationError` unless

    - each transfer moves bytes in one piece between the two memories of a GPU, in the direction of its op, and is done
      no earlier than it begins, and when the last phase ends;
    - what lies in host memory is read and made by transfers alone;
    - values that are there at the same time share no byte, and blocks are as large as what lies in them and live as
      long: from the beginning of the transfer there until the last one back is done.
    """
    moved = plan.transfers
    if not (moved.nodes or moved.values or moved.numbers or moved.done or plan.host_blocks or plan.host_bytes):
        return
    if not plan.target.is_gpu or plan.nested:
        raise PlanVerificationError("there are transfers in the body of a loop, or on a CPU")
    if frozenset(moved.done) != moved.nodes or not moved.nodes <= phase_of.keys():
        raise PlanVerificationError("a transfer does not run, or is never done")
    for i in moved.numbers:
        if not 0 <= i < len(plan.graph.inputs):
            raise PlanVerificationError(f"there is no input {i} to lie in host memory")
    there = {*moved.values, *(plan.graph.inputs[i] for i in moved.numbers)}
    homes = {plan.graph.outputs[i] for i, j in plan.graph.aliases.items() if j in moved.numbers}
    if len(homes) != len(moved.numbers) or not homes.isdisjoint(plan.copied_back):
        raise PlanVerificationError("an input in host memory keeps its content")
    for node, now in phase_of.items():
        sources = [layouts[v].base for v in node.inputs]
        is_there = [base in there for base in sources]
        makes_there = any(v in there or v in homes for v in node.outputs)
        if node not in moved.nodes:
            if any(is_there) or makes_there:
                raise PlanVerificationError(f"{describe(node)} is no transfer, and works in host memory")
            continue
        away = node.op.moves_to == "host"
        if node.op.moves_to is None or is_there != [not away] or makes_there != away:
            raise PlanVerificationError(f"{describe(node)} does not move from one memory to the other")
        if not layouts[node.inputs[0]].window.flags.c_contiguous:
            raise PlanVerificationError(f"{describe(node)} moves what does not lie in one piece")
        if not now <= moved.done[node] < len(plan.phases):
            raise PlanVerificationError(f"{describe(node)} of phase {now} is done in phase {moved.done[node]}")
    for value, place in plan.locations.items():
        if (place.place == "host") != (value in moved.values):
            raise PlanVerificationError(f"{describe(value)} lies at {place}")
    _check_blocks(plan, _lives(plan, phase_of, layouts))


def _lives(plan: Plan, phase_of: Mapping[Node, int], layouts: Mapping[Value, Layout]) -> dict[Value, tuple[int, int]]:
    """From when to when each value lies in host memory."""
    lives = {v: (phase_of[v.node], -1) for v in plan.transfers.values if v.node is not None}
    for node, done in plan.transfers.done.items():
        base = layouts[node.inputs[0]].base
        if base in lives:
            lives[base] = lives[base][0], max(lives[base][1], done)
    return lives


def _check_blocks(plan: Plan, lives: Mapping[Value, tuple[int, int]]) -> None:
    line, end = plan.target.line_bytes, 0
    inside = [value for block in plan.host_blocks for value in block.values]
    if sorted(map(id, inside)) != sorted(id(v) for v in lives if v.type.nbytes):
        raise PlanVerificationError("the blocks of host memory hold other values than lie there")
    for block in plan.host_blocks:
        if len(block.values) != 1 or block.unit is not None or block.offset < 0 or block.offset % line:
            raise PlanVerificationError(f"a block of host memory at {block.offset} holds more or less than a value")
        (value,) = block.values
        if (block.birth, block.death) != lives[value] or block.nbytes != value.type.nbytes:
            raise PlanVerificationError(f"{describe(value)} lies in host memory longer or shorter than its block")
        if plan.locations[value].offset != block.offset:
            raise PlanVerificationError(f"{describe(value)} does not lie in its block of host memory")
        end = max(end, block.offset + -(-block.nbytes // line) * line)
    if plan.host_bytes != end:
        raise PlanVerificationError(f"host memory has {plan.host_bytes} bytes, what lies in it ends at {end}")
    _check_disjoint([(b.offset, b.nbytes, *lives[v], v) for b in plan.host_blocks for v in b.values])


def _check_disjoint(things: Sequence[tuple[int, int, int, int, Value]]) -> None:
    """Those of each value: offset, bytes, birth and death."""
    alive: list[tuple[int, int, int, int, Value]] = []
    for one in sorted(things, key=lambda thing: thing[2]):
        alive = [other for other in alive if other[3] >= one[2]]
        _check_apart(one, alive)
        alive.append(one)


def _check_apart(one: tuple[int, int, int, int, Value], others: Iterable[tuple[int, int, int, int, Value]]) -> None:
    for other in others:
        if one[0] < other[0] + other[1] and other[0] < one[0] + one[1]:
            raise PlanVerificationError(f"{describe(one[4])} and {describe(other[4])} share bytes of host memory")
