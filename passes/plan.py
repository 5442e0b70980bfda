"""Where every value lives: liveness, reuse in place, offsets in one arena."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..ir import Graph, Node, Value
from .loop_nest import LoopNest, loop_nest
from .schedule import late_inputs, phases
from .views import VIEW_OPS, View, resolve_views

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Location:
    """Memory of a value: `place` is `arena`, `input`, `output` or `constant`; `index` counts inputs, outputs,
    constants.

    `offset` is in bytes, from the start of the arena (0 elsewhere).
    """

    place: str
    index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the arena from the phase `birth` to the phase `death`, both included.

    `values` share it one after the other, each written over its dying predecessor in the same pass over the elements.
    Scratch of a unit has no value.
    """

    offset: int
    nbytes: int
    birth: int
    death: int
    values: tuple[Value, ...]
    unit: Node | None = None


@dataclass(frozen=True)
class Plan:
    """A scheduled graph with a place for every value.

    `phases` are lists of units that may run side by side. `in_place[node][o] = i`: output `o` of the region is
    written over its input `i`. `copied_back[value] = j`: the value is copied over graph input `j` at the end.
    `scratch[node]` is the arena offset of row buffers (one set for each of `threads` workers) followed by parts of
    reductions. `arena_bytes` is the size of the arena; `lower_bound_bytes` the most bytes live in any phase.
    """

    graph: Graph
    views: Mapping[Value, View]
    nests: Mapping[Node, LoopNest]
    phases: Sequence[Sequence[Node]]
    locations: Mapping[Value, Location]
    constants: Sequence[Value]
    in_place: Mapping[Node, Mapping[int, int]]
    copied_back: Mapping[Value, int]
    scratch: Mapping[Node, int]
    blocks: Sequence[Block]
    threads: int
    arena_bytes: int
    lower_bound_bytes: int


@dataclass
class _Request:
    nbytes: int
    birth: int
    death: int
    values: list[Value] = field(default_factory=list[Value])
    unit: Node | None = None
    offset: int = -1


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to whole cache lines."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def plan(graph: Graph, threads: int = 1, outputs_in_arena: bool = False) -> Plan:
    """Plan a scheduled graph for `threads` workers.

    With `outputs_in_arena`, outputs that overwrite no input live in the arena to the end of the run; otherwise their
    memory is the caller's.
    """
    views = resolve_views(graph.inputs, graph.nodes)
    units = [n for n in graph.nodes if n.op.name not in VIEW_OPS and n.op.name != "constant"]
    constants = [n.output for n in graph.nodes if n.op.name == "constant"]
    nests = {n: loop_nest(n, views) for n in units if n.op.name == "region"}
    stages = phases(graph, views, units)
    phase_of = {node: i for i, stage in enumerate(stages) for node in stage}
    last_use: dict[Value, int] = {}
    last_reader: dict[Value, Node | None] = {}
    for node in units:
        for base in dict.fromkeys(views[v].base for v in node.inputs):
            # Units of one phase run in any order: only a lone last reader may write over what it reads.
            lone = last_use.get(base, -1) < phase_of[node]
            last_use[base] = phase_of[node]
            last_reader[base] = node if lone else None
    locations: dict[Value, Location] = {v: Location("input", i) for i, v in enumerate(graph.inputs)}
    locations.update((v, Location("constant", i)) for i, v in enumerate(constants))
    late = late_inputs(graph, views)
    copied_back: dict[Value, int] = {}
    for i, value in enumerate(graph.outputs):
        if i in graph.aliases and graph.inputs[graph.aliases[i]] not in late:
            locations[value] = Location("input", graph.aliases[i])
        elif i in graph.aliases:
            copied_back[value] = graph.aliases[i]
            last_use[value] = len(stages)
        elif outputs_in_arena:
            last_use[value] = len(stages)
        else:
            locations[value] = Location("output", i)
    in_place: dict[Node, dict[int, int]] = {}
    requests: list[_Request] = []
    owner: dict[Value, _Request] = {}
    scratch_of: dict[Node, _Request] = {}
    for node in units:
        now = phase_of[node]
        taken: set[int] = set()
        reading = Counter(views[v].base for v in node.inputs)
        for o, value in enumerate(node.outputs):
            target = locations.get(value)
            if node.op.name == "region":
                i = _overwritable(
                    node, o, nests[node], views, reading, locations, target, owner, last_reader, now, taken
                )
                if i is not None:
                    taken.add(i)
                    in_place.setdefault(node, {})[o] = i
                    if target is None:
                        request = owner[views[node.inputs[i]].base]
                        request.values.append(value)
                        request.death = max(now, last_use.get(value, now))
                        owner[value] = request
                    continue
                if target is not None and target.place == "input" and reading[graph.inputs[target.index]]:
                    # The region would destroy what it has yet to read.
                    copied_back[value] = target.index
                    last_use[value] = len(stages)
                    del locations[value]
                    target = None
            if (
                node.op.name == "scatter_add"
                and target is None
                and _dies_whole(node.inputs[0], views, reading, owner, last_reader, node, now)
            ):
                in_place[node] = {0: 0}
                request = owner[views[node.inputs[0]].base]
                request.values.append(value)
                request.death = max(now, last_use.get(value, now))
                owner[value] = request
                continue
            if target is None:
                request = _Request(value.type.nbytes, now, max(now, last_use.get(value, now)), [value])
                owner[value] = request
                requests.append(request)
        nbytes = _scratch_bytes(node, nests, threads)
        if nbytes:
            scratch_of[node] = _Request(nbytes, now, now, [], node)
            requests.append(scratch_of[node])
    requests = [r for r in requests if r.nbytes]
    arena_bytes = _assign_offsets(requests)
    for value, request in owner.items():
        locations[value] = Location("arena", 0, max(request.offset, 0))
    return Plan(
        graph,
        views,
        nests,
        stages,
        locations,
        constants,
        in_place,
        copied_back,
        {node: r.offset for node, r in scratch_of.items()},
        [Block(r.offset, r.nbytes, r.birth, r.death, tuple(r.values), r.unit) for r in requests],
        threads,
        arena_bytes,
        _most_live(requests),
    )


def _scratch_bytes(node: Node, nests: Mapping[Node, LoopNest], threads: int) -> int:
    nest = nests.get(node)
    return 0 if nest is None else threads * nest.buffer_bytes + nest.partial_bytes


def _dies_whole(
    value: Value,
    views: Mapping[Value, View],
    reading: Mapping[Value, int],
    owner: Mapping[Value, _Request],
    last_reader: Mapping[Value, Node | None],
    node: Node,
    now: int,
) -> bool:
    base = views[value].base
    return (
        reading[base] == 1
        and views[value].whole
        and base in owner
        and last_reader.get(base) is node
        and owner[base].death == now
    )


def _overwritable(
    node: Node,
    o: int,
    nest: LoopNest,
    views: Mapping[Value, View],
    reading: Mapping[Value, int],
    locations: Mapping[Value, Location],
    target: Location | None,
    owner: Mapping[Value, _Request],
    last_reader: Mapping[Value, Node | None],
    now: int,
    taken: set[int],
) -> int | None:
    """The input of a region that output `o` may be written over, element by element as it is read."""
    result = nest.body.outputs[o]
    if nest.kinds[result] == "crossing":
        return None
    for i, value in enumerate(node.inputs):
        view = views[value]
        inner = nest.body.inputs[i]
        if (
            i in taken
            or not view.whole
            or inner.type.dtype != result.type.dtype
            or nest.kinds[inner] != nest.kinds[result]
        ):
            continue
        if nest.accesses[inner] != nest.accesses[result] or inner not in nest.last_read:
            continue
        if reading[view.base] > 1 or nest.last_read[inner] > nest.sweep_of[result]:
            continue
        home = locations.get(view.base)
        if target is not None:
            if target.place == "input" and home == target:
                return i
            continue
        if home is None and view.base in owner and last_reader.get(view.base) is node and owner[view.base].death == now:
            return i
    return None


def _assign_offsets(requests: list[_Request]) -> int:
    """Offsets by the better of two classic orders; returns the size of the arena."""
    best: tuple[int, list[int]] | None = None
    for order in (_by_birth, _by_size):
        offsets = order(requests)
        if offsets is None:
            continue
        size = max((o + aligned(r.nbytes) for o, r in zip(offsets, requests)), default=0)
        if best is None or size < best[0]:
            best = (size, offsets)
    assert best is not None
    for request, offset in zip(requests, best[1]):
        request.offset = offset
    return best[0]


def _by_birth(requests: list[_Request]) -> list[int]:
    """Best fit in the order of births, with a list of free gaps: near-linear."""
    offsets = [0] * len(requests)
    order = sorted(range(len(requests)), key=lambda i: (requests[i].birth, -requests[i].nbytes))
    dying: list[tuple[int, int]] = []
    free: dict[int, int] = {}  # start -> end of gaps below `top`
    top = 0
    for i in order:
        request = requests[i]
        while dying and dying[0][0] < request.birth:
            _, j = heapq.heappop(dying)
            start, end = offsets[j], offsets[j] + aligned(requests[j].nbytes)
            for gap_start, gap_end in list(free.items()):
                if gap_end == start:
                    start = gap_start
                    del free[gap_start]
                elif gap_start == end:
                    end = gap_end
                    del free[gap_start]
            free[start] = end
        size = aligned(request.nbytes)
        fitting = [(end - start, start) for start, end in free.items() if end - start >= size]
        if fitting:
            _, start = min(fitting)
            end = free.pop(start)
            if end - start > size:
                free[start + size] = end
        else:
            last = next((s for s, e in free.items() if e == top), None)
            start = top if last is None else last
            if last is not None:
                del free[last]
            top = start + size
        offsets[i] = start
        heapq.heappush(dying, (request.death, i))
    return offsets


_QUADRATIC_LIMIT = 1500


def _by_size(requests: list[_Request]) -> list[int] | None:
    """Largest first, each at the lowest place that no block alive at the same time holds."""
    if len(requests) > _QUADRATIC_LIMIT:
        return None
    offsets = [0] * len(requests)
    placed: list[int] = []
    for i in sorted(range(len(requests)), key=lambda i: -requests[i].nbytes):
        request, size = requests[i], aligned(requests[i].nbytes)
        busy = sorted(
            (offsets[j], offsets[j] + aligned(requests[j].nbytes))
            for j in placed
            if requests[j].birth <= request.death and request.birth <= requests[j].death
        )
        offset = 0
        for start, end in busy:
            if start - offset >= size:
                break
            offset = max(offset, end)
        offsets[i] = offset
        placed.append(i)
    return offsets


def _most_live(requests: list[_Request]) -> int:
    """The most bytes that are live in one phase: no arena can be smaller for this schedule."""
    change: dict[int, int] = {}
    for r in requests:
        change[r.birth] = change.get(r.birth, 0) + r.nbytes
        change[r.death + 1] = change.get(r.death + 1, 0) - r.nbytes
    live = most = 0
    for phase in sorted(change):
        live += change[phase]
        most = max(most, live)
    return most
