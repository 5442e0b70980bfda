"""What a pass is, and the frame of most passes: copy a graph node by node, and ask a rule for replacements."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from ...ir import Builder, Graph, Node, Value
from ..target import Target


@dataclass(frozen=True)
class Pass:
    """A map from graphs to graphs of the same values: a frozen dataclass, whose fields are its options.

    Laws that a pass must keep:

    - It builds a new graph, and leaves its own as it is.
    - It also runs on the bodies of loops and of branches. Such a graph is no whole step: it has no parameters, no loss
      and no update.
    - Inputs, outputs, their names and aliases stay. Nodes get the origin of those that they replace.
    - It looks at the graph and the target alone, never at a budget or at threads: all plans give the same bits.
    """

    in_bodies: ClassVar[bool] = True
    """Whether it is done in the bodies of loops too."""
    of_cpus: ClassVar[bool] = False
    """Whether it serves kernels in the registers of a CPU: on a GPU it stands aside."""
    of_gpus: ClassVar[bool] = False
    """Whether it makes what only a GPU has kernels for."""
    saves_by_tiles: ClassVar[bool] = False
    """Whether it makes loops over tiles, to stay in caches and to hold less. On a GPU they run only where a budget
    asks for them: their sums are in another order, and each tile keeps the card less busy."""

    @property
    def name(self) -> str:
        """The name by which it is printed and asked for: the class's, in lower case with hyphens (`tile-batch`)."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def __call__(self, graph: Graph) -> Graph:
        """The new graph."""
        raise NotImplementedError


def for_target(passes: Iterable[Pass], target: Target, tiles: bool = False) -> list[Pass]:
    """The passes for another target, with all else as it is: those that depend on it have a field `target`. Those that
    are not for it are left out; of a GPU those that save by `tiles` too, unless these are asked for.
    """
    used = (p for p in passes if not (p.of_cpus or (p.saves_by_tiles and not tiles) if target.is_gpu else p.of_gpus))
    return [replace(p, target=target) if any(f.name == "target" for f in fields(p)) else p for p in used]


def rewrite_nodes(graph: Graph, rule: Callable[[Builder, Node, list[Value]], list[Value] | None]) -> Graph:
    """Copy `graph` with what `rule` returns in place of the outputs of a node. None copies the node.

    The rule gets the builder of the new graph, the old node, and its inputs in the new graph.
    """
    b = Builder()
    mapping: dict[Value, Value] = {v: b.input(v.type, v.name) for v in graph.inputs}
    for node in graph.nodes:
        inputs = [mapping[v] for v in node.inputs]
        b.origin = node.origin
        replacement = rule(b, node, inputs)
        outputs = b.copy(node, inputs).outputs if replacement is None else replacement
        mapping.update(zip(node.outputs, outputs, strict=True))
    return b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names)


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, each followed by those of the graphs inside it."""
    for node in graph.nodes:
        yield node
        for inner in node.graphs:
            yield from all_nodes(inner)


def with_bodies(b: Builder, node: Node, inputs: Sequence[Value], bodies: Sequence[Graph]) -> Node:
    """Append a node with other bodies, see `Node.bodies`."""
    return b.emit_node(node.op, *inputs, **{**node.attrs, **dict(zip(node.op.bodies, bodies, strict=True))})
