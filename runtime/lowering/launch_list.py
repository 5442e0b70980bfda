"""From a plan to its launches: units in their phases, loops with the launches of their bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from ...ir import ArrayType, Node
from ...passes.graph.carries import carry_count
from ...passes.graph.scan import Scan
from ...passes.memory.plan import Plan
from .data_movement import copy_elements
from .gpu_copies import copy_array
from .gpu_messages import MessageCall, MessageWait
from .gpu_unit import lower_gpu_unit
from .launch import Address, Launch, Pointer, Transfer, Traps
from .library_call import LibraryCall
from .merge import merge_launches
from .tiles_met import leave_out_tiles
from .unit import lower_unit

Item = Launch | LibraryCall | MessageCall | MessageWait
"""What runs: a launch of a kernel, or, on a GPU, a call of a library, or messages to other ranks."""
Stages = list[list[Item]]
"""What a unit runs: items of a stage may run concurrently, each stage waits for the one before."""


@dataclass
class Loop:
    """A `scan`: stages that run before it, and the launches of its body, for each iteration anew."""

    node: Node
    before: Stages
    body: LaunchList

    @property
    def iterations(self) -> range:
        """The iterations in the order in which they run."""
        scan = Scan(self.node)
        return range(scan.length)[:: -1 if scan.reverse else 1]


@dataclass
class Fork:
    """A `while_loop` or a `cond`: stages that run before it, the flag that decides, and the launches of each body."""

    node: Node
    before: Stages
    flag: Pointer
    bodies: list[LaunchList]


Unit = Stages | Loop | Fork | Transfer


@dataclass
class LaunchList:
    """A plan as phases of units, which may run concurrently. The bodies of loops share the `traps`."""

    plan: Plan
    traps: Traps
    phases: list[list[Unit]] = field(default_factory=list["list[Unit]"])

    def sources(self) -> Iterator[str]:
        """The sources of all kernels, bodies included."""
        return (source for source, _ in self.uses())

    def uses(self) -> Iterator[tuple[str, Node | None]]:
        """The sources of the kernels of each unit, bodies included, and the unit: none copies to where inputs are."""
        for launch, node in self.launches():
            for call in launch.calls:
                yield from ((source, unit) for source in call.sources() for unit in launch.units or (node,))

    def launches(self) -> Iterator[tuple[Launch, Node | None]]:
        """The kernels' launches of each unit, bodies included, and the unit: none copies to where inputs are."""
        for unit, node in self.units():
            yield from launches_of(unit, node)

    def units(self) -> Iterator[tuple[Unit, Node | None]]:
        """All units in order, each with its node: none copies to where inputs are."""
        return chain.from_iterable(self.paired_phases())

    def paired_phases(self) -> Iterator[list[tuple[Unit, Node | None]]]:
        """The units of each phase with their nodes."""
        for phase, nodes in zip_longest(self.phases, self.plan.phases, fillvalue=()):
            yield list(zip_longest(phase, nodes))

    def transfers_done(self) -> dict[int, list[Transfer]]:
        """The transfers that have to be done when a phase ends, by its number, in the order in which they begin."""
        found: dict[int, list[Transfer]] = {}
        for unit in (unit for phase in self.phases for unit in phase):
            if isinstance(unit, Transfer):
                found.setdefault(unit.done, []).append(unit)
        return found

    def plans(self) -> Iterator[Plan]:
        """The plan and those of all bodies, in the order in which their constants are numbered."""
        yield self.plan
        for phase in self.phases:
            for unit in phase:
                for body in bodies_of(unit):
                    yield from body.plans()


def launches_of(unit: Unit, node: Node | None) -> Iterator[tuple[Launch, Node | None]]:
    """The kernels' launches of a unit, those of its bodies with the units there."""
    launches = (item for stage in stages_of(unit) for item in stage if isinstance(item, Launch))
    yield from ((launch, launch.units[0] if launch.units else node) for launch in launches)
    for body in bodies_of(unit):
        yield from body.launches()


def stages_of(unit: Unit) -> Stages:
    """What a unit runs, of a loop or a fork what it runs before its bodies."""
    if isinstance(unit, Transfer):
        return []
    return unit.before if isinstance(unit, (Loop, Fork)) else unit


def bodies_of(unit: Unit) -> list[LaunchList]:
    """The launches of the bodies of a loop or of a fork."""
    return [unit.body] if isinstance(unit, Loop) else unit.bodies if isinstance(unit, Fork) else []


def _supports_all(call: LibraryCall) -> bool:
    return True


def lower(
    plan: Plan, traps: Traps | None = None, supports: Callable[[LibraryCall], bool] = _supports_all
) -> LaunchList:
    """The launches of all units of a plan, for its target. Own kernels run a unit where the library of the target
    does not support a call of it; its workspace is then idle.

    Raises `TargetError` for what has no kernel there.
    """
    outermost = traps is None
    traps = Traps() if traps is None else traps
    phases = [[_unit(node, plan, traps, supports) for node in phase] for phase in plan.phases]
    if plan.copied_back:
        phases.append(
            [
                [[_copy(plan, Pointer(value), Pointer(plan.graph.inputs[j]), value.type)]]
                for value, j in plan.copied_back.items()
            ]
        )
    if plan.target.is_gpu:
        merge_launches(phases, plan)
    lowered = LaunchList(plan, traps, phases)
    if outermost:
        leave_out_tiles(launch for launch, _ in lowered.launches())
    return lowered


def _unit(node: Node, plan: Plan, traps: Traps, supports: Callable[[LibraryCall], bool]) -> Unit:
    if node in plan.transfers.nodes:
        source, target, done = plan.views[node.inputs[0]], Pointer(node.output), plan.transfers.done[node]
        return Transfer(Pointer.to(source), target, node.output.type.nbytes, node.op.moves_to == "host", done)
    if not node.op.bodies:
        stages: Stages = []
        on_gpu = plan.target.is_gpu
        for launch in lower_gpu_unit(node, plan, traps, supports) if on_gpu else lower_unit(node, plan, traps):
            if launch.concurrent:
                stages[-1].append(launch)
            else:
                stages.append([launch])
        return stages
    bodies = [lower(body, traps, supports) for body in plan.bodies[node]]
    if node.op.is_cond:
        return Fork(node, [], Pointer.to(plan.views[node.inputs[0]]), bodies)
    # A carry begins as what it is given, in the place where it ends.
    given, first = plan.in_place.get(node, {}), node.attrs["consts"]
    begin: list[Item] = [
        _copy(plan, Pointer.to(plan.views[node.inputs[first + end.index]]), Pointer(end), end.type)
        for end in node.outputs[: carry_count(node)]
        if end.index not in given and end.type.size
    ]
    if node.op.is_while:
        return Fork(node, [begin], Pointer(node.outputs[0]), bodies)
    return Loop(node, [begin], *bodies)


def _copy(plan: Plan, source: Address, target: Address, type: ArrayType) -> Launch:
    """A copy of all elements of an array of this type."""
    return (copy_array if plan.target.is_gpu else copy_elements)(source, target, type)
