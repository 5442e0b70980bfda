"""Products of bfloat16 on a GPU: factors are read as bfloat16, and a result that is rounded is stored so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import BFLOAT16, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.contraction import dot
from ...ir.types import FLOAT32
from ..graph.casts import is_widening
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass
from ..graph.views import View, base_of, own, through


@dataclass(frozen=True)
class NarrowProducts(Pass):
    """`dot(cast(x), cast(y))` -> `dot(x, y) {dtype=f32}`, and `cast(dot(x, y) {dtype=f32})` -> `dot(x, y)`, for x and y
    of bfloat16.

    Known elsewhere as mixed-precision matrix multiplication. Tensor cores multiply bfloat16 and add up float32; sums
    that passes before this one take apart are float32 too. A CPU multiplies float32.
    """

    of_gpus = True

    def __call__(self, graph: Graph) -> Graph:
        if not any(map(multiplies_widened, graph.nodes)):
            return graph
        return _Narrower(graph).graph()


class _Narrower:
    """Copies a graph; keeps the laws of `Canonicalize`, which hold of what a cast has laid out contiguously."""

    def __init__(self, graph: Graph) -> None:
        self.old, self.users, self.outputs = graph, graph.users(), set(graph.outputs)
        self.b = Builder()
        self.mapping: dict[Value, Value] = {v: self.b.input(v.type, v.name) for v in graph.inputs}
        self.copies: dict[Value, Value] = {}

    def graph(self) -> Graph:
        """The new graph."""
        b, graph, mapping = self.b, self.old, self.mapping
        gone: set[Node] = set()
        for node in graph.nodes:
            b.origin = node.origin
            if multiplies_widened(node):
                factors = [self.narrow(v) for v in node.inputs[:2]]
                readers = _rounded(node, self.users, self.outputs) if node.op is dot else []
                attrs = node.attrs if readers else {**node.attrs, "dtype": FLOAT32}
                made = b.emit(node.op, *factors, *(mapping[v] for v in node.inputs[2:]), **attrs)
                mapping[node.output] = made
                for reader in readers:
                    made = b.emit(reader.op, made, **reader.attrs) if reader.op.is_view else self.contiguous(made)
                    mapping[reader.output] = made
                gone.update(readers)
            elif node not in gone:
                mapping.update(zip(node.outputs, b.copy(node, [mapping[v] for v in node.inputs]).outputs))
        return without_dead_code(b.graph([mapping[v] for v in graph.outputs], graph.aliases, graph.output_names))

    def narrow(self, factor: Value) -> Value:
        """A factor, a view of what was widened, as the same view of what it was before; of a copy of that, where no
        product reads the view in its place.
        """
        views: list[Node] = []
        node = factor.node
        while node is not None and node.op.is_view:
            views.append(node)
            node = node.inputs[0].node
        assert node is not None
        source = self.mapping[node.inputs[0]]
        view = _view_of(source)
        for one in reversed(views):
            view = None if view is None else through(one, view)
        if view is None or not view.is_matrix:
            source = self.contiguous(source)
        for one in reversed(views):
            source = self.b.emit(one.op, source, **one.attrs)
        return source

    def contiguous(self, value: Value) -> Value:
        """The value itself where it is contiguous, else a copy that all readers share."""
        if _view_of(value).contiguous:
            return value
        if value not in self.copies:
            self.copies[value] = self.b.emit(ew.copy, value)
        return self.copies[value]


def multiplies_widened(node: Node) -> bool:
    """Whether a node multiplies what was bfloat16 before."""
    made = [base_of(v).node for v in node.inputs[:2]]
    return node.op.family == "contraction" and all(made) and all(_widens(n) for n in made if n is not None)


def _widens(node: Node) -> bool:
    return is_widening(node) and node.inputs[0].type.dtype == BFLOAT16


def _view_of(value: Value) -> View:
    """Where a value lies, a view of what has memory of its own."""
    node = value.node
    if node is None or not node.op.is_view:
        return own(value)
    view = through(node, _view_of(node.inputs[0]))
    assert view is not None, node
    return view


def _rounded(product: Node, users: Mapping[Value, Sequence[Node]], outputs: set[Value]) -> list[Node]:
    """The views of a product, one of another, and the cast to bfloat16 at their end, which alone read it."""
    found: list[Node] = []
    value = product.output
    while value not in outputs and len(users[value]) == 1:
        (reader,) = users[value]
        found.append(reader)
        if reader.op is ew.cast and reader.output.type.dtype == BFLOAT16:
            is_view = len(found) > 1  # which no output is
            return [] if is_view and reader.output in outputs else found
        if not reader.op.is_view:
            break
        value = reader.output
    return []
