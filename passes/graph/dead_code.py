"""Dead code elimination: nodes that no output needs, and the dead parts of loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from .carries import carry_count
from .rewrite import rewrite_nodes


@dataclass(frozen=True)
class _Used:
    """The live inputs and outputs of a loop, or of branches, by their places."""

    inputs: list[int]
    outputs: list[int]


def without_dead_parts(graph: Graph) -> Graph:
    """The graph without dead nodes, and its loops and branches without dead carries, results and inputs."""
    used: dict[Node, _Used] = {}
    needed = set(graph.outputs)
    complete = True
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        if not node.op.bodies:
            needed.update(node.inputs)
            continue
        wanted = [i for i, v in enumerate(node.outputs) if v in needed]
        parts = used[node] = _used_of_branches(node, wanted) if node.op.is_cond else _used_of_loop(node, wanted)
        needed.update(node.inputs[i] for i in parts.inputs)
        complete = complete and (len(parts.inputs), len(parts.outputs)) == (len(node.inputs), len(node.outputs))
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


def _used_of_loop(node: Node, wanted: Sequence[int]) -> _Used:
    body: Graph = node.attrs["body"]
    first: int = node.attrs["consts"]
    carries = range(carry_count(node))
    kept = {*wanted, *((0,) if node.op.is_while else ())}  # of a `while_loop`, carry 0 says whether it goes on
    while True:
        read = _read(body, kept)
        more = {k for k in carries if body.inputs[first + k] in read} - kept
        if not more:
            break
        kept |= more
    inputs = [i for i, v in enumerate(body.inputs) if (i - first in kept if i - first in carries else v in read)]
    return _Used(inputs, sorted(kept))


def _used_of_branches(node: Node, wanted: Sequence[int]) -> _Used:
    found: set[int] = set()
    for body in node.bodies:
        read = _read(body, wanted)
        found.update(i for i, v in enumerate(body.inputs, 1) if v in read)
    return _Used([0, *sorted(found)], list(wanted))


def _read(body: Graph, outputs: Iterable[int]) -> set[Value]:
    """The values that some outputs of a graph need, these included."""
    read = {body.outputs[i] for i in outputs}
    for inner in reversed(body.nodes):
        if not read.isdisjoint(inner.outputs):
            read.update(inner.inputs)
    return read


def _without(b: Builder, node: Node, inputs: list[Value], used: _Used) -> list[Value]:
    """The loop, or branches, with the used parts alone."""
    attrs, own = dict(node.attrs), 0
    if node.op.is_cond:
        own = 1  # the flag, which no branch reads
    else:
        attrs["consts"] = sum(i < node.attrs["consts"] for i in used.inputs)
    if node.op.is_scan:
        attrs["carries"] = sum(o < carry_count(node) for o in used.outputs)
    for name, body in zip(node.op.bodies, node.bodies):
        outputs = [body.outputs[o] for o in used.outputs]
        read = [body.inputs[i - own] for i in used.inputs[own:]]
        attrs[name] = Graph(read, live_nodes(body.nodes, outputs), outputs)
    made = dict(zip(used.outputs, b.emit_node(node.op, *(inputs[i] for i in used.inputs), **attrs).outputs))
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
