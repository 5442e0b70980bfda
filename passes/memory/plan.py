"""The memory plan: a place for every value, by liveness, reuse in place, and offsets in one arena."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node, Value, node_workspace
from ...ir.ops import indexing, reduction
from ...ir.ops.contraction import has_bf16_factors
from ..graph.carries import carry_count
from ..graph.views import View, resolve_views
from ..kernels import conv_scratch, matmul_tiles, window_sums
from ..kernels.accumulators import accumulated_input, accumulator_chain, reads_of_bases
from ..kernels.block_tiles import product_tiles
from ..kernels.conv_epilogue import epilogue_of
from ..kernels.conv_tiles import conv_tiles
from ..kernels.library_scratch import library_scratch
from ..kernels.loop_nest import LoopNest, is_concatenated, loop_nest
from ..kernels.matrix_products import fused_product, matrix_product
from ..kernels.moment_tiles import MomentTiles
from ..kernels.most_tiles import workers_with_scratch
from ..kernels.scatter_sums import ScatterSums, link_bytes
from ..target import DEFAULT_TARGET, Target
from ..tiling.parallel_loops import parallel_iterations, run_concurrently
from .arena import Request, assign_offsets, most_live
from .schedule import overwriting, phases
from .transfers import Transfers, transfers


@dataclass(frozen=True, slots=True)
class Location:
    """Memory of a value: `place` is `arena`, `host`, `input`, `output` or `constant`; `index` counts inputs, outputs,
    constants.

    `offset` is in bytes, from the start of the arena, or of the arena in host memory (0 elsewhere).
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

    `phases` are lists of units that run concurrently. `in_place[node][o] = i`: output `o` of the region is
    written over its input `i`. `copied_back[value] = j`: the value is copied over graph input `j` at the end.
    `scratch[node]` is the arena offset of row buffers (one set for each of `threads` workers) followed by parts of
    reductions; of a `scan`, that of the arena of its body, whose plan is in `bodies[node]`, or of as many arenas as it
    has `parallel_iterations`; of other nodes with bodies, that of an arena that these share. Of this plan, if it is the
    `nested` one of a body, so many `copies` may run at a time.
    `arena_bytes` is the size of the arena; `lower_bound_bytes` the most bytes live in any phase.

    On a GPU, `transfers` says what moves between its memory and its host's, and which inputs lie there; `host_blocks`
    are the pieces of an arena of `host_bytes` there.
    """

    graph: Graph
    views: Mapping[Value, View]
    nests: Mapping[Node, LoopNest]
    bodies: Mapping[Node, Sequence[Plan]]
    phases: Sequence[Sequence[Node]]
    locations: Mapping[Value, Location]
    constants: Sequence[Value]
    in_place: Mapping[Node, Mapping[int, int]]
    copied_back: Mapping[Value, int]
    scratch: Mapping[Node, int]
    blocks: Sequence[Block]
    threads: int
    copies: int
    nested: bool
    arena_bytes: int
    lower_bound_bytes: int
    target: Target
    transfers: Transfers = field(default_factory=Transfers)
    host_blocks: Sequence[Block] = ()
    host_bytes: int = 0

    def __repr__(self) -> str:
        count = len(self.graph.nodes)
        return f"<Plan of {count} nodes in {len(self.phases)} phases, with an arena of {self.arena_bytes:,} bytes>"

    @property
    def host_input_bytes(self) -> int:
        """Bytes of the inputs that lie in host memory."""
        return sum(self.graph.inputs[i].type.nbytes for i in self.transfers.numbers)

    @property
    def net_bytes(self) -> int:
        """Bytes of the arena less those of inputs that lie in host memory: what a plan adds to what a step holds."""
        return self.arena_bytes - self.host_input_bytes

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constants, those of the bodies of loops included."""
        own = sum(value.type.nbytes for value in self.constants)
        return own + sum(body.constant_bytes for bodies in self.bodies.values() for body in bodies)


def plan(
    graph: Graph,
    threads: int = 1,
    outputs_in_arena: bool = False,
    copies: int = 1,
    nested: bool = False,
    known: Mapping[Graph, Plan] | None = None,
    target: Target = DEFAULT_TARGET,
) -> Plan:
    """Plan a scheduled graph for `threads` workers of a target.

    With `outputs_in_arena`, outputs that overwrite no input live in the arena to the end of the run; otherwise their
    memory is the caller's. The bodies of `known` have been planned, as this would.
    """
    known = known or {}
    views = resolve_views(graph.inputs, graph.nodes)
    # A view would never be written.
    assert all(v.node is not None and views[v].base is v for v in graph.outputs), "an output is a view"
    units = [n for n in graph.nodes if n.op.has_kernel]
    constants = [n.output for n in graph.nodes if n.op.is_stored]
    nests = {n: loop_nest(n, views, target) for n in units if n.op.is_region}
    epilogues = {n: e for n in units if n.op.is_conv_region and (e := epilogue_of(n)) is not None}
    for node, epilogue in epilogues.items():
        tiles = conv_tiles(node, target)
        assert tiles is not None
        if (nest := epilogue.nest(views, tiles.cut, target)) is not None:
            nests[node] = nest
    bodies = {
        n: [
            known.get(body)
            or plan(body, threads, False, copies if nested else parallel_iterations(n), True, None, target)
            for body in n.bodies
        ]
        for n in units
        if n.op.bodies
    }
    scratch_bytes = {n: _scratch_bytes(n, nests, bodies, views, threads, copies, nested, target) for n in units}
    for node, epilogue in epilogues.items():
        scratch_bytes[node] += epilogue.moment_bytes(node, threads, target)
    written = overwriting(graph, views)
    late = written.late | written.wanted_later
    moved = transfers(graph, views, late) if target.is_gpu and not nested else Transfers()
    stages = phases(graph, views, units, scratch_bytes, written.extra_dependencies, moved.values)
    phase_of = {node: i for i, stage in enumerate(stages) for node in stage}
    moved = moved.in_phases(units, phase_of, views)
    last_use: dict[Value, int] = {}
    last_reader: dict[Value, Node | None] = {}
    for node in units:
        now = phase_of[node]
        for base in dict.fromkeys(views[v].base for v in node.inputs):
            # Units of one phase run in any order: only a lone last reader may write over what it reads.
            lone = node not in moved.nodes and last_use.get(base, -1) < now
            last_use[base] = max(moved.done.get(node, now), last_use.get(base, now))
            last_reader[base] = node if lone else None
    locations: dict[Value, Location] = {v: Location("input", i) for i, v in enumerate(graph.inputs)}
    locations.update((v, Location("constant", i)) for i, v in enumerate(constants))
    copied_back: dict[Value, int] = {}
    reads = reads_of_bases(units, graph.outputs, views)
    for i, value in enumerate(graph.outputs):
        if i in graph.aliases and graph.inputs[graph.aliases[i]] not in late:
            home = Location("input", graph.aliases[i])
            locations.update(dict.fromkeys((value, *accumulator_chain(value, graph.inputs[home.index], reads)), home))
        elif i in graph.aliases:
            copied_back[value] = graph.aliases[i]
            last_use[value] = len(stages)
        elif outputs_in_arena:
            last_use[value] = len(stages)
        else:
            locations[value] = Location("output", i)
    begun = _begun_in_place(units, views, locations, set(graph.outputs), last_reader)
    locations.update((start, locations[end]) for start, end in begun.items())
    # Places are given in the order of the units, so that an output finds the place of what it is written over. Only
    # what dies in this very phase may be: units of one phase run in any order.
    in_place: dict[Node, dict[int, int]] = {}
    requests: list[Request] = []
    on_host: dict[Value, Request] = {}
    owner: dict[Value, Request] = {}
    scratch_of: dict[Node, Request] = {}
    for node in units:
        now = phase_of[node]
        taken: set[int] = set()
        reading = Counter(views[v].base for v in node.inputs)
        for o, value in enumerate(node.outputs):
            wanted = locations.get(value)
            if node.op.is_region:
                i = _overwritable(
                    node, o, nests[node], views, reading, locations, wanted, owner, last_reader, now, taken
                )
                if i is not None:
                    taken.add(i)
                    in_place.setdefault(node, {})[o] = i
                    if wanted is None:
                        request = owner[views[node.inputs[i]].base]
                        request.values.append(value)
                        request.death = max(now, last_use.get(value, now))
                        owner[value] = request
                    continue
                if wanted is not None and wanted.place == "input" and reading[graph.inputs[wanted.index]]:
                    # The region would destroy what it has yet to read.
                    copied_back[value] = wanted.index
                    last_use[value] = len(stages)
                    del locations[value]
                    wanted = None
            i = accumulated_input(node, o)
            if i is not None and begun.get(node.inputs[i]) is value:
                in_place.setdefault(node, {})[o] = i
                continue
            if i is not None and wanted is not None and locations.get(node.inputs[i]) == wanted:
                in_place.setdefault(node, {})[o] = i
                continue
            if (
                i is not None
                and wanted is None
                and _dies_whole(node.inputs[i], views, reading, owner, last_reader, node, now)
            ):
                in_place.setdefault(node, {})[o] = i
                request = owner[views[node.inputs[i]].base]
                request.values.append(value)
                request.death = max(now, last_use.get(value, now))
                owner[value] = request
                continue
            if value in moved.values:
                on_host[value] = Request(value.type.nbytes, now, last_use[value], [value])
            elif wanted is None:
                request = Request(value.type.nbytes, now, max(now, last_use.get(value, now)), [value])
                owner[value] = request
                requests.append(request)
        if scratch_bytes[node]:
            scratch_of[node] = Request(scratch_bytes[node], now, now, [], node)
            requests.append(scratch_of[node])
    requests = [r for r in requests if r.nbytes]
    arena_bytes = assign_offsets(requests, target.line_bytes)
    host_requests = [r for r in on_host.values() if r.nbytes]
    host_bytes = assign_offsets(host_requests, target.line_bytes)
    for place, owned in (("arena", owner), ("host", on_host)):
        locations.update((value, Location(place, 0, max(request.offset, 0))) for value, request in owned.items())
    return Plan(
        graph,
        views,
        nests,
        bodies,
        stages,
        locations,
        constants,
        in_place,
        copied_back,
        {node: r.offset for node, r in scratch_of.items()},
        [_block(r) for r in requests],
        threads,
        copies,
        nested,
        arena_bytes,
        most_live(requests),
        target,
        moved,
        [_block(r) for r in host_requests],
        host_bytes,
    )


def _block(r: Request) -> Block:
    return Block(r.offset, r.nbytes, r.birth, r.death, tuple(r.values), r.unit)


def _scratch_bytes(
    node: Node,
    nests: Mapping[Node, LoopNest],
    bodies: Mapping[Node, Sequence[Plan]],
    views: Mapping[Value, View],
    threads: int,
    copies: int,
    nested: bool,
    target: Target,
) -> int:
    if node in bodies:
        arenas = parallel_iterations(node) if not nested and run_concurrently(node, threads) else 1
        return target.round_to_line(max(body.arena_bytes for body in bodies[node])) * arenas
    nest = nests.get(node)
    if node.op is reduction.moments:
        return MomentTiles.of(node, target).scratch_bytes(threads)
    if node.op.family == "window":
        return threads * window_sums.line_bytes(node, target)
    if node.op is indexing.scatter_add:
        if links := link_bytes(node, target):
            return links
        return workers_with_scratch(node, threads, target) * ScatterSums.of(node, target).worker_bytes
    if target.is_gpu and node.op.is_region and (product := fused_product(node, views)) is not None:
        return max(product_tiles(product, target).part_bytes, library_scratch(node, views, target))
    if target.is_gpu and node.op.is_contraction:
        # Own kernels run where a library does not know a call, in the same memory.
        product = matrix_product(node, views)
        if product is None:
            own = conv_scratch.scratch_bytes(node, threads, views, target)
        else:
            own = product_tiles(product, target).part_bytes
        return max(own, library_scratch(node, views, target))
    if node.op.family == "convolution":
        own = conv_scratch.scratch_bytes(node, threads, views, target)
        return own if nest is None else own + threads * nest.buffer_bytes + nest.partial_bytes
    if node.op.family == "contraction":
        x, y = (views[v] for v in node.inputs[:2])
        of_parts = node.attrs.get("parts", 1)
        return matmul_tiles.scratch_bytes(x, y, threads, copies, target, has_bf16_factors(node), of_parts)
    if nest is None:
        return workers_with_scratch(node, threads, target) * target.round_to_line(node_workspace(node))
    return nest.workers_bytes(threads) + nest.partial_bytes


def _begun_in_place(
    units: Sequence[Node],
    views: Mapping[Value, View],
    locations: Mapping[Value, Location],
    outputs: set[Value],
    last_reader: Mapping[Value, Node | None],
) -> dict[Value, Value]:
    """Starts of loops that may be made where the graph wants the end: the caller's memory is free until then."""
    begun: dict[Value, Value] = {}
    runs = set(units)
    for node in units:
        if not node.op.is_loop:
            continue
        first: int = node.attrs["consts"]
        read = Counter(views[v].base for v in node.inputs)
        for end in node.outputs[: carry_count(node)]:
            start = node.inputs[first + end.index]
            made = start.node in runs and start not in outputs and start not in begun
            ends_outside = end in locations and locations[end].place == "output"
            if made and ends_outside and read[start] == 1 and last_reader.get(start) is node:
                begun[start] = end
    return begun


def _dies_whole(
    value: Value,
    views: Mapping[Value, View],
    reading: Mapping[Value, int],
    owner: Mapping[Value, Request],
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
    wanted: Location | None,
    owner: Mapping[Value, Request],
    last_reader: Mapping[Value, Node | None],
    now: int,
    taken: set[int],
) -> int | None:
    """The input of a region that output `o` may be written over, element by element as it is read."""
    for i, value in enumerate(node.inputs):
        view = views[value]
        if i in taken or reading[view.base] > 1 or not can_be_written_over(node, o, i, nest, view):
            continue
        home = locations.get(view.base)
        if wanted is not None:
            if wanted.place == "input" and home == wanted:
                return i
            continue
        if home is None and view.base in owner and last_reader.get(view.base) is node and owner[view.base].death == now:
            return i
    return None


def can_be_written_over(node: Node, o: int, i: int, nest: LoopNest, view: View) -> bool:
    """Whether output `o` of a region may be written over input `i`, which lies as `view` says, element by element as it
    is read, if nothing else reads that.
    """
    if i >= len(nest.body.inputs) or (i == 0 and nest.product is not None):
        return False  # what the dot reads, it reads again for other tiles
    if is_concatenated(node.attrs["body"].outputs[o]):
        return False
    result, inner = nest.body.outputs[o], nest.body.inputs[i]
    if nest.kinds[result] == "crossing" or nest.kinds[inner] != nest.kinds[result]:
        return False
    if not view.whole or inner.type.dtype != result.type.dtype or nest.accesses[inner] != nest.accesses[result]:
        return False
    return inner in nest.last_read and nest.last_read[inner] <= nest.sweep_of[result]
