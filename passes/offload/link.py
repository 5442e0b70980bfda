"""The link between a GPU and its host as time: when transfers end, and for how long units wait for them.

The link carries one transfer at a time in each direction. What it carries while units run costs nothing. The time for
which units wait for it is *exposed*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..kernels.cost import node_nanoseconds
from ..memory.plan import Plan
from ..target import Target

_CARRIED = 0.9
"""Part of the rate of PCI Express that is left for data: packets of 256 bytes have headers of about 28."""


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer of so many bytes: it begins with phase `begin`, and phase `done` ends after it."""

    begin: int
    done: int
    nbytes: int
    to_host: bool


@dataclass(frozen=True)
class Link:
    """How long transfers take."""

    bytes_per_ns: float
    begin_ns: float

    @staticmethod
    def of(target: Target) -> Link:
        """The link of a GPU, at the rate that its data sheet says."""
        assert target.link_bytes_per_ns is not None
        return Link(_CARRIED * target.link_bytes_per_ns, target.launch_ns / (target.workers or 1))

    def nanoseconds(self, nbytes: int) -> float:
        """What a transfer takes that waits for no other."""
        return self.begin_ns + nbytes / self.bytes_per_ns

    def exposed(self, phases: Sequence[float], moves: Iterable[Move]) -> float:
        """Nanoseconds that phases, which take so long each, wait for transfers in all."""
        beginning: list[list[Move]] = [[] for _ in phases]
        for move in moves:
            beginning[move.begin].append(move)
        now, free = 0.0, [0.0, 0.0]
        wanted = [0.0] * len(phases)  # the time by which the transfers that a phase waits for are done
        for phase, time in enumerate(phases):
            for move in beginning[phase]:
                free[move.to_host] = max(free[move.to_host], now) + self.nanoseconds(move.nbytes)
                wanted[move.done] = max(wanted[move.done], free[move.to_host])
            now = max(now + time, wanted[phase])
        return now - sum(phases)


def phase_times(plan: Plan) -> list[float]:
    """Nanoseconds of each phase of a plan for a GPU, by what is predicted."""
    workers = plan.target.workers or 1
    return [sum(node_nanoseconds(node, plan.target) for node in phase) / workers for phase in plan.phases]


def moves_of(plan: Plan) -> list[Move]:
    """The transfers of a plan, in the order in which they begin."""
    done = plan.transfers.done
    return [
        Move(i, done[node], node.output.type.nbytes, node.op.moves_to == "host")
        for i, phase in enumerate(plan.phases)
        for node in phase
        if node in done
    ]


def exposed_nanoseconds(plan: Plan) -> float:
    """Nanoseconds that the units of a plan wait for its transfers, by what is predicted."""
    moves = moves_of(plan)
    return Link.of(plan.target).exposed(phase_times(plan), moves) if moves else 0.0
