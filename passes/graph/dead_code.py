"""Dead code elimination: nodes that no output needs, and the dead parts of loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from .rewrite import rewrite_nodes
from .scan import Scan


@dataclass(frozen=True)
class _Used:
    """The live parts of a loop, by their places."""

    consts: list[int]
    carries: list[int]
    xs: list[int]
    ys: list[int]


def without_dead_parts(graph: Graph) -> Graph:
    """The graph without dead nodes, and its loops without dead carries, results and inputs."""
    used: dict[Node, _Used] = {}
    needed = set(graph.outputs)
    complete = True
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        if not node.op.is_scan:
            needed.update(node.inputs)
            continue
        parts = used[node] = _used(node, [i for i, v in enumerate(node.outputs) if v in needed])
        kept = [*parts.consts, *parts.carries, *parts.xs]
        needed.update(node.inputs[i] for i in kept)
        complete = (
            complete and len(kept) == len(node.inputs) and len(parts.ys) == len(node.outputs) - len(parts.carries)
        )
    if complete:
        return without_dead_code(graph)

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        return _without(b, node, inputs, used[node]) if node in used else None

    return without_dead_code(
        rewrite_nodes(
            Graph(
                graph.inputs, live_nodes(graph.nodes, graph.outputs), graph.outputs, graph.aliases, graph.output_names
            ),
            rule,
        )
    )


def _used(node: Node, outputs: Sequence[int]) -> _Used:
    scan = Scan(node)
    body = scan.body
    kept = {i for i in outputs if i < scan.carry_count}
    ys = [i for i in outputs if i >= scan.carry_count]
    while True:
        read = {body.outputs[i] for i in (*kept, *ys)}
        for inner in reversed(body.nodes):
            if not read.isdisjoint(inner.outputs):
                read.update(inner.inputs)
        more = {k for k, carry in enumerate(scan.body_carries) if carry in read} - kept
        if not more:
            break
        kept |= more
    of_consts, _, of_xs = ([i for i in part if body.inputs[i] in read] for part in scan.split(range(len(body.inputs))))
    return _Used(of_consts, [scan.first_carry + k for k in sorted(kept)], of_xs, ys)


def _without(b: Builder, node: Node, inputs: list[Value], used: _Used) -> list[Value]:
    """The loop with its used parts alone; for a carry that nothing needs, what it began with stands."""
    scan = Scan(node, inputs)
    results = [*(i - scan.first_carry for i in used.carries), *used.ys]
    outputs = [scan.body.outputs[i] for i in results]
    read = [scan.body.inputs[i] for i in (*used.consts, *used.carries, *used.xs)]
    smaller = Graph(read, live_nodes(scan.body.nodes, outputs), outputs)
    kept = ([inputs[i] for i in places] for places in (used.consts, used.carries, used.xs))
    made = dict(zip(results, scan.emit(b, smaller, *kept).outputs))
    # What nothing reads is given anything of its type.
    return [made[i] if i in made else b.full_like(v, 0) for i, v in enumerate(node.outputs)]


def live_nodes(nodes: Iterable[Node], outputs: Iterable[Value]) -> list[Node]:
    """The nodes that the outputs need, in order."""
    needed = set(outputs)
    live: list[Node] = []
    for node in reversed(list(nodes)):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            live.append(node)
    live.reverse()
    return live


def without_dead_code(graph: Graph) -> Graph:
    """The graph without dead nodes."""
    return Graph(graph.inputs, live_nodes(graph.nodes, graph.outputs), graph.outputs, graph.aliases, graph.output_names)
