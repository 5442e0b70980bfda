"""What no output needs: dead nodes, and the dead parts of loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from .rewrite import rewrite_nodes


@dataclass(frozen=True)
class _Used:
    """The parts of a loop that something reads, by their places."""

    consts: list[int]
    carries: list[int]
    xs: list[int]
    ys: list[int]


def without_dead_parts(graph: Graph) -> Graph:
    """The graph without nodes that no output needs, and its loops without the carries, results and inputs that nothing
    needs.
    """
    used: dict[Node, _Used] = {}
    needed = set(graph.outputs)
    complete = True
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        if node.op.name != "scan":
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
    body: Graph = node.attrs["body"]
    consts, carries = node.attrs["consts"], node.attrs["carries"]
    kept = {i for i in outputs if i < carries}
    ys = [i for i in outputs if i >= carries]
    while True:
        read = {body.outputs[i] for i in (*kept, *ys)}
        for inner in reversed(body.nodes):
            if not read.isdisjoint(inner.outputs):
                read.update(inner.inputs)
        more = {k for k in range(carries) if body.inputs[consts + k] in read} - kept
        if not more:
            break
        kept |= more
    places = [i for i, v in enumerate(body.inputs) if v in read]
    return _Used(
        [i for i in places if i < consts],
        [consts + k for k in sorted(kept)],
        [i for i in places if i >= consts + carries],
        ys,
    )


def _without(b: Builder, node: Node, inputs: list[Value], used: _Used) -> list[Value]:
    """The loop with its used parts alone; for a carry that nothing needs, what it began with stands."""
    body: Graph = node.attrs["body"]
    consts = node.attrs["consts"]
    places = [*used.consts, *used.carries, *used.xs]
    results = [*(i - consts for i in used.carries), *used.ys]
    outputs = [body.outputs[i] for i in results]
    smaller = Graph([body.inputs[i] for i in places], live_nodes(body.nodes, outputs), outputs)
    attrs = {**node.attrs, "body": smaller, "consts": len(used.consts), "carries": len(used.carries)}
    made = dict(zip(results, b.emit_node(OPS["scan"], *(inputs[i] for i in places), **attrs).outputs))
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
    """The graph without nodes that no output needs."""
    return Graph(graph.inputs, live_nodes(graph.nodes, graph.outputs), graph.outputs, graph.aliases, graph.output_names)
