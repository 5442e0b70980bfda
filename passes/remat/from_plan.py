"""From a plan to a rematerialization problem, and from an order of runs back to a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...ir import Builder, Graph, Node, Recompute, Value, node_flops
from ...ir.ops import collectives
from ..fusion.regions import Fuse
from ..graph.current_values import CurrentValues
from ..graph.rewrite import all_nodes
from ..graph.views import base_of
from ..kernels.cost import node_nanoseconds
from ..kernels.library_calls import product_by_library
from ..memory.plan import Plan, can_be_written_over
from ..ranks.shard_gathers import begins_gather, copies_of_inputs, finish_of_each, prefetched
from ..ranks.traffic import message_time
from .problem import Problem, Run, Unit


@dataclass
class GraphProblem(Problem):
    """The units of a planned graph. Values are what lies in the arena, in the order in which it is made.

    A region recomputes only the values that are wanted of it, from its inputs and from those of its own results that
    are still there. A message that gathers what each rank has a shard of is one unit with what waits for it: waiting
    uses up what was begun, so neither may run again without the other.
    """

    graph: Graph = field(kw_only=True)
    nodes: Sequence[Node] = field(kw_only=True)
    values: Sequence[Value] = field(kw_only=True)
    gathers: Mapping[Node, Node] = field(kw_only=True)
    """What begins to gather a shard of each rank, with what waits for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number = {value: i for i, value in enumerate(self.values)}
        for begun, waits in self.gathers.items():
            if waits.output in self._number:
                self._number[begun.output] = self._number[waits.output]
        self._slices: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], float]] = {}
        self._elements: dict[int, dict[Node, int]] = {}
        self._flops: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}

    def recompute_inputs(
        self, place: int, makes: tuple[int, ...], alive: Sequence[bool]
    ) -> tuple[tuple[int, ...], float]:
        """As of every problem."""
        unit = self.units[place]
        if unit.whole or len(unit.makes) == 1:
            return unit.reads, unit.cost
        there = tuple([v for v in unit.makes if alive[v] and v not in makes])
        key = makes, there
        if key not in self._slices:
            node, inner = self.nodes[place], self._part(place, makes, there)
            body: Graph = node.attrs["body"]
            stops = {body.outputs[self.values[v].index]: v for v in there}
            read = dict.fromkeys(v for n in inner for v in n.inputs)
            numbers = [stops[v] for v in read if v in stops]
            outer = dict(zip(body.inputs, node.inputs))
            for v in read:
                if v in outer and (base := base_of(outer[v])) in self._number:
                    numbers.append(self._number[base])
            sizes = self._element_counts(place)
            share = sum(sizes[n] for n in inner) / max(sum(sizes.values()), 1)
            self._slices[key] = tuple(dict.fromkeys(numbers)), unit.cost * share
        return self._slices[key]

    def _element_counts(self, place: int) -> dict[Node, int]:
        """The elements that each node of the region at `place` makes."""
        if place not in self._elements:
            self._elements[place] = {n: n.outputs[0].type.size for n in self.nodes[place].attrs["body"].nodes}
        return self._elements[place]

    def _part(self, place: int, makes: Sequence[int], there: Sequence[int]) -> list[Node]:
        """The nodes of the region at `place` that make `makes` while those of its results in `there` are there."""
        body: Graph = self.nodes[place].attrs["body"]
        stops = {body.outputs[self.values[v].index] for v in there}
        return _upstream(body, [body.outputs[self.values[v].index] for v in makes], stops)

    def number_of(self, value: Value) -> int:
        """The number of a value of the graph that lies in the arena."""
        return self._number[value]

    def recompute_effort(self, value: Value) -> tuple[int, float]:
        """The bytes that a run reads which recomputes `value` alone, those of inputs and constants too, and its time in
        nanoseconds.
        """
        number = self._number[value]
        place = self.maker[number]
        node = self.nodes[place]
        read = set(node.inputs)
        if node.op.is_region:
            part = self._part(place, (number,), ())
            inner = {v for n in part for v in n.inputs}
            read = {v for v, of in zip(node.inputs, node.attrs["body"].inputs) if of in inner}
        gone = [False] * len(self.sizes)
        return sum(v.type.nbytes for v in read), self.recompute_inputs(place, (number,), gone)[1]

    def recompute_flops(self, runs: Sequence[Run], more: Mapping[Node, int]) -> int:
        """Operations that an order recomputes, with so many `more` in each iteration of some loops."""
        total = sum(node.attrs.get("length", 1) * flops for node, flops in more.items())
        for run in runs:
            if not run.is_recompute:
                continue
            if more:
                node = self.nodes[run.unit]
                total += node.attrs.get("length", 1) * more.get(node, 0)
            key = run.unit, run.makes, run.reads
            flops = self._flops.get(key)
            if flops is None:
                flops = self._flops[key] = self._run_flops(run)
            total += flops
        return total

    def _run_flops(self, run: Run) -> int:
        """Operations of a run that recomputes."""
        node = self.nodes[run.unit]
        if not node.op.is_region:
            return node_flops(node)
        there = [v for v in run.reads if self.maker[v] == run.unit]
        return sum(map(node_flops, self._part(run.unit, run.makes, there)))

    def realized(self, runs: Sequence[Run], bodies: Mapping[Node, Sequence[Graph]]) -> Graph:
        """The graph that runs these units in this order, loops and branches with other bodies where `bodies` has some.
        What is recomputed has the role `recompute`.
        """
        return _Realizer(self, bodies).graph(runs)


def _upstream(body: Graph, wanted: Sequence[Value], stops: Container[Value]) -> list[Node]:
    """The nodes of a region that make `wanted`, from its inputs and the values of `stops`."""
    needed = {v.node for v in wanted}
    result: list[Node] = []
    for node in reversed(body.nodes):
        if node in needed:
            result.append(node)
            needed.update(v.node for v in node.inputs if v not in stops)
    result.reverse()
    return result


def recompute_flops(graph: Graph) -> int:
    """Operations of a fused graph that recompute, in the bodies of loops too."""
    return sum(map(_recompute_flops, graph.nodes))


def _recompute_flops(node: Node) -> int:
    """Operations of a node that recompute."""
    if node.origin.role == "recompute" and not node.op.is_region:
        return node_flops(node)
    return node.attrs.get("length", 1) * max(map(recompute_flops, node.graphs), default=0)


def graph_problem(plan: Plan, smallest: int = 64) -> GraphProblem:
    """The units of `plan`, in its order, with the bytes that it gives them; values of `smallest` bytes always stay."""
    graph, views = plan.graph, plan.views
    inputs = set(graph.inputs)
    gathers = {begun: waits for begun, waits in finish_of_each(graph).items() if begins_gather(begun, inputs)}
    waiting = set(gathers.values())
    nodes = [node for node in graph.nodes if node.op.has_kernel and node not in waiting]
    results = {node: gathers.get(node, node).outputs for node in nodes}
    values = [v for n in nodes for v in results[n] if plan.locations[v].place == "arena" and v.type.nbytes]
    number = {value: i for i, value in enumerate(values)}
    scratch = {block.unit: block.nbytes for block in plan.blocks if block.unit is not None}
    written = _overwriting(plan, nodes)
    units: list[Unit] = []
    overwritten: list[int] = []
    for node in nodes:
        bases = dict.fromkeys(views[v].base for v in node.inputs)
        makes = tuple(number[v] for v in results[node] if v in number)
        over = tuple(
            (number[node.outputs[o]], number[base])
            for o, i in _in_place(plan, node).items()
            if node.outputs[o] in number and (base := views[node.inputs[i]].base) in number
        )
        recomputable = len(makes) == sum(bool(v.type.nbytes) for v in results[node]) and (
            node in gathers or _may_recompute(node)
        )
        reads = tuple(number[b] for b in bases if b in number)
        whole = not node.op.is_region or product_by_library(node, views, plan.target) is not None
        cost = node_nanoseconds(node, plan.target)
        if node in gathers:
            # No thread computes anything while a message is waited for.
            cost = plan.threads * message_time(node, plan.target)
        units.append(Unit(cost, reads, makes, scratch.get(node, 0), over, recomputable, whole, node.can_trap))
        overwritten.append(min((written.get(b, len(nodes) + 1) for b in bases), default=len(nodes) + 1))
    lasting = frozenset(number[v] for v in graph.outputs if v in number)
    # What is looked up a second time is known to be in range only where the indices are the very same value.
    indices = (views[n.inputs[1]].base for n in nodes if n.op.family == "indexing")
    # What is sent stays where it is until that is done.
    sources = (n.inputs[1] for n in nodes if n.op is collectives.finish)
    sent = (views[v].base for v in sources if copies_of_inputs(v, inputs) is None)
    fixed = frozenset(number[base] for base in (*indices, *sent) if base in number)
    sizes = [v.type.nbytes for v in values]
    asked = units, sizes, lasting, overwritten, fixed, smallest
    return GraphProblem(*asked, graph=graph, nodes=nodes, values=values, gathers=gathers)


def _in_place(plan: Plan, node: Node) -> dict[int, int]:
    """For each output of a unit the input that it is written over, or may be where nothing reads that afterwards."""
    found = dict(plan.in_place.get(node, {}))
    if node.op.is_region:
        reading = Counter(plan.views[v].base for v in node.inputs)
        for o in range(len(node.outputs)):
            for i, value in enumerate(node.inputs):
                view = plan.views[value]
                free = o not in found and i not in found.values() and reading[view.base] == 1
                if free and can_be_written_over(node, o, i, plan.nests[node], view):
                    found[o] = i
    return found


def _overwriting(plan: Plan, nodes: Sequence[Node]) -> dict[Value, int]:
    """For each input of the graph that a unit overwrites, the place of this unit."""
    place = {node: i for i, node in enumerate(nodes)}
    result: dict[Value, int] = {}
    for i, j in plan.graph.aliases.items():
        value = plan.graph.outputs[i]
        if value not in plan.copied_back and value.node in place:
            result[plan.graph.inputs[j]] = place[value.node]
    return result


def _may_recompute(node: Node) -> bool:
    inner = (n for graph in node.graphs for n in all_nodes(graph))
    if any(n.op.recompute is Recompute.NEVER for n in (node, *inner)):
        return False
    # Nothing is checked a second time: what a region checks is left out, and indices stay as they are.
    return node.op.is_region or node.op.family == "indexing" or not node.can_trap


class _Realizer:
    """Builds the graph of an order of runs."""

    def __init__(self, problem: GraphProblem, bodies: Mapping[Node, Sequence[Graph]]) -> None:
        self.problem = problem
        self.bodies = bodies
        self.b = Builder()
        self.current = CurrentValues(self.b, problem.graph)
        self.slices: dict[tuple[Node, tuple[int, ...], frozenset[int], bool], tuple[Graph, list[Value]]] = {}

    def graph(self, runs: Sequence[Run]) -> Graph:
        graph, problem = self.problem.graph, self.problem
        for run in runs:
            node = problem.nodes[run.unit]
            unit = problem.units[run.unit]
            if not unit.whole and (run.is_recompute or len(run.makes) < len(unit.makes)):
                self.part(node, run)
                continue
            origin = replace(node.origin, role="recompute") if run.is_recompute else node.origin
            copied = self.b.copy(node, [self.current.value(v) for v in node.inputs], origin)
            if node in self.bodies:
                copied.attrs.update(zip(node.op.bodies, self.bodies[node], strict=True))
            if node in problem.gathers:
                self.wait(problem.gathers[node], copied)
            elif run.is_recompute:
                wanted = [problem.values[v] for v in run.makes]
                self.current.update((v, copied.outputs[v.index]) for v in wanted)
            else:
                self.current.update(zip(node.outputs, copied.outputs))
        outputs = [self.current.value(v) for v in graph.outputs]
        return prefetched(self.b.graph(outputs, graph.aliases, graph.output_names))

    def wait(self, node: Node, begun: Node) -> None:
        """What waits for a message that has begun."""
        origin = replace(node.origin, role=begun.origin.role)
        self.current.update([(node.output, self.b.copy(node, [begun.output, begun.inputs[0]], origin).output)])

    def part(self, node: Node, run: Run) -> None:
        """The part of a region that makes what is wanted of it."""
        problem = self.problem
        wanted = tuple(problem.values[v].index for v in run.makes)
        there = frozenset(problem.values[v].index for v in run.reads if problem.maker[v] == run.unit)
        key = node, wanted, there, run.is_recompute
        if key not in self.slices:
            self.slices[key] = _slice(*key)
        part, sources = self.slices[key]
        results = self.b.inline(part, [self.current.value(v) for v in sources])
        self.current.update((node.outputs[o], v) for o, v in zip(wanted, results))


def _slice(node: Node, wanted: Sequence[int], there: frozenset[int], is_recompute: bool) -> tuple[Graph, list[Value]]:
    """The nodes of a region that make its outputs `wanted` from its inputs and its outputs `there`, fused, and the
    values outside that its inputs stand for. What was checked is not checked a second time.
    """
    body: Graph = node.attrs["body"]
    stops = {body.outputs[i]: i for i in there}
    inner = _upstream(body, [body.outputs[o] for o in wanted], stops)
    b = Builder()
    local: dict[Value, Value] = {}
    sources: list[Value] = []
    for value in dict.fromkeys(v for n in inner for v in n.inputs):
        if value in stops or value.node is None:
            local[value] = b.input(value.type)
            sources.append(node.outputs[stops[value]] if value in stops else node.inputs[body.inputs.index(value)])
    for one in inner:
        if one.op.is_check:
            local[one.output] = local[one.inputs[0]]
            continue
        origin = replace(one.origin, role="recompute") if is_recompute else one.origin
        copied = b.copy(one, [local[v] for v in one.inputs], origin)
        local.update((v, c) for v, c in zip(one.outputs, copied.outputs) if v not in stops)
    return Fuse()(b.graph([local[body.outputs[o]] for o in wanted])), sources
