"""Graphs in SSA form: values, nodes, and where each node came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .op import Op
from .types import ArrayType

if TYPE_CHECKING:
    import networkx

ROLES = ("forward", "backward", "recompute", "optimizer")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node came from: the module path, the user's `file:line`, its part in the step, its checkpoint regions.

    `checkpoint` is a path of region ids such as `"1/4"` (outermost first), empty outside `checkpoint`.
    """

    scope: str = ""
    source: str = ""
    role: str = "forward"
    checkpoint: str = ""

    def with_role(self, role: str) -> Origin:
        """The same origin in another role."""
        return self if role == self.role else replace(self, role=role)


NOWHERE = Origin()


class Value:
    """One array in a graph: a graph input (`node is None`) or output `index` of `node`. Compared by identity."""

    __slots__ = ("index", "name", "node", "type")

    def __init__(self, type: ArrayType, node: Node | None = None, index: int = 0, name: str = "") -> None:
        self.type = type
        self.node = node
        self.index = index
        self.name = name

    def __repr__(self) -> str:
        what = self.name or (f"{self.node.op.name} output" if self.node else "input")
        return f"<{what}: {self.type}>"


class Node:
    """One application of an op. Nodes are never changed once built; passes make new ones."""

    __slots__ = ("attrs", "inputs", "op", "origin", "outputs")

    def __init__(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Mapping[str, Any],
        types: Sequence[ArrayType],
        origin: Origin = NOWHERE,
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attrs = dict(attrs)
        self.origin = origin
        # Most nodes have one output, and there are many nodes.
        one = len(types) == 1
        self.outputs = (Value(types[0], self),) if one else tuple(Value(t, self, i) for i, t in enumerate(types))

    @property
    def output(self) -> Value:
        """The only output of a node that has one."""
        (value,) = self.outputs
        return value

    @property
    def can_trap(self) -> bool:
        """Whether running the node, or a node of its body, may stop the run for what it reads."""
        return self.op.can_trap or any(node.can_trap for graph in self.graphs for node in graph.nodes)

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """All graphs among the attributes: of what is fused, of a loop's iteration, of branches."""
        return tuple(value for value in self.attrs.values() if isinstance(value, Graph))

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """The graphs that are programs of their own, see `Op.bodies`."""
        return tuple(self.attrs[name] for name in self.op.bodies)

    def __repr__(self) -> str:
        return f"<{self.op.name}({', '.join(str(v.type) for v in self.inputs)})>"


class Graph:
    """A list of nodes in an order that computes every value before it is used.

    `aliases[i] = j` says that output `i` is the new content of input `j` (a parameter, optimizer state): a runtime
    writes it where the input was. An input may be the target of one output at most, of the same type.
    """

    __slots__ = ("aliases", "inputs", "nodes", "output_names", "outputs")

    def __init__(
        self,
        inputs: Sequence[Value],
        nodes: Iterable[Node],
        outputs: Sequence[Value],
        aliases: Mapping[int, int] | None = None,
        output_names: Sequence[str] | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.nodes = tuple(nodes)
        self.outputs = tuple(outputs)
        self.aliases = dict(aliases or {})
        self.output_names = tuple(output_names) if output_names is not None else ("",) * len(self.outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        """As its text, which `parse` reads back."""
        from .parser import parse

        return parse, (str(self),)

    def __str__(self) -> str:
        from .printer import print_graph

        return print_graph(self)

    def __repr__(self) -> str:
        return f"<Graph of {len(self.nodes)} nodes, {len(self.inputs)} inputs, {len(self.outputs)} outputs>"

    def _repr_html_(self) -> str:
        from .graph_html import graph_html

        return graph_html(self)

    def verify(self) -> None:
        """Check that the graph is well formed; a `VerificationError` shows the bad node in its surroundings."""
        from .verify import verify

        verify(self)

    def flops(self) -> int:
        """Floating-point operations of one run: 2mnk for a contraction, 1 an element for arithmetic, 0 for movement."""
        return sum(node_flops(node) for node in self.nodes)

    def to_networkx(self) -> networkx.MultiDiGraph[str]:
        """This graph as one of networkx, for analysis by its algorithms.

        A node is named as in the text of the graph, by its first output (`%3`), an input by its name (`%x`). It has
        `op` (`input` for an input), `scope`, `source`, `role` (`input` for an input), `flops`, and of its outputs the
        `types` and the `bytes` together. `body` is the graph of a loop's iteration or of a fused region, as another
        graph of networkx; `None` for other nodes. An edge is one operand: its key is the operand's number, `value` the
        name of what is read, `bytes` its size. `graph["inputs"]` and `graph["outputs"]` are the names of the inputs
        and of what is returned.

        >>> import gradloom as gl, networkx as nx, numpy as np
        >>> def layer(x, w, b):
        ...     return np.tanh(x @ w + b)
        >>> graph = gl.trace(layer, gl.spec((8, 4)), gl.spec((4, 2)), gl.spec((2,))).to_networkx()
        >>> [graph.nodes[name]["op"] for name in nx.dag_longest_path(graph)]
        ['input', 'dot', 'add', 'tanh']
        >>> [graph.nodes[name]["op"] for name in graph.successors("%x")]
        ['dot']
        >>> max(graph.edges(data=True), key=lambda edge: edge[2]["bytes"])[2]["value"]
        '%x'
        """
        from .networkx_graph import to_networkx

        return to_networkx(self)

    def users(self) -> dict[Value, list[Node]]:
        """For every value, the nodes that read it, in order; a node that reads a value twice is listed once."""
        result: dict[Value, list[Node]] = {value: [] for value in self.inputs}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                result[value].append(node)
            for value in node.outputs:
                result[value] = []
        return result


def node_workspace(node: Node) -> int:
    """Bytes of scratch that each worker needs for one node, as its op declares."""
    rule = node.op.workspace
    return 0 if rule is None else rule([v.type for v in node.inputs], [v.type for v in node.outputs], node.attrs)


def node_flops(node: Node) -> int:
    """Floating-point operations of one node."""
    return node.op.flops([v.type for v in node.inputs], [v.type for v in node.outputs], node.attrs)
