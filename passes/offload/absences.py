"""What may lie in host memory for a while: values between two units that read them, and state between its updates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ...ir import Value
from ..memory.plan import Plan
from ..target import Target

_LEAST_PHASES = 3
"""An absence has a phase to move away in, one to come back in, and one between them."""
_SMALL = 1_000
"""What is less than this part of the arena and of what may move stays: it would save next to nothing."""


@dataclass(frozen=True)
class Offloading:
    """What may move to host memory: at most so many bytes, where inputs of the numbers `movable` may lie between two
    runs, or `must`, all of them.
    """

    movable: frozenset[int] = frozenset()
    must: bool = False
    most_host_bytes: float = 0

    def allows(self, target: Target) -> bool:
        """Whether anything may move, of what runs on a target."""
        return target.link_bytes_per_ns is not None and self.most_host_bytes > 0

    @property
    def must_move(self) -> bool:
        """Whether a plan without transfers is none."""
        return self.must and bool(self.movable)


NO_OFFLOADING = Offloading()


@dataclass(frozen=True, slots=True)
class Absence:
    """Phases in which a value need not be in the memory of the device: behind phase `after` and before phase `before`.

    It may move away from the end of phase `made` on. State, which is input `home` of the graph, is absent up to the
    phase `before`, and again behind `after`, when its new content is `value`.
    """

    value: Value
    made: int
    after: int
    before: int
    home: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self.value.type.nbytes


def absences(plan: Plan, offloading: Offloading) -> list[Absence]:
    """All absences of a plan of a GPU."""
    phase_of = {node: i for i, phase in enumerate(plan.phases) for node in phase}
    uses: dict[Value, list[int]] = {}
    for node, phase in phase_of.items():
        for base in dict.fromkeys(plan.views[v].base for v in node.inputs):
            uses.setdefault(base, []).append(phase)
    graph = plan.graph
    inputs = sum(graph.inputs[i].type.nbytes for i in offloading.movable)
    least = max(plan.target.line_bytes, (plan.arena_bytes + inputs) // _SMALL)
    found: list[Absence] = []
    for block in plan.blocks:
        for value in block.values:
            if value.type.nbytes >= least and value.node is not None:
                made = phase_of[value.node]
                phases = sorted({made, *uses.get(value, ())})
                pairs = pairwise(phases)
                found += (Absence(value, made, a, b) for a, b in pairs if b - a > _LEAST_PHASES)
    for i, j in graph.aliases.items():
        old, new = graph.inputs[j], graph.outputs[i]
        usable = j in offloading.movable and new not in plan.copied_back and new.node in phase_of and uses.get(old)
        if usable and (old.type.nbytes >= least or offloading.must) and new.node is not None:
            made = phase_of[new.node]
            after = max([made, *uses.get(new, ()), *uses[old]])
            found.append(Absence(new, made, after, min(uses[old]), j))
    return found
