"""Attention on a GPU: softmax between two products, and the gradients of both, become units without whole scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import ArrayType, Builder, Graph, Node, Value
from ...ir.ops import creation, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.attention import Over, attention
from ..graph.dead_code import without_dead_code
from ..graph.rewrite import Pass
from ..graph.views import base_of
from .attention_match import RowProduct, ScoreSum, Softmax, product_with, row_product, softmax_at
from .score_body import NotScores, ScoreBody, is_score_product

_MOST_PRODUCTS, _MOST_SUMS = 3, 2
"""Of one unit: the threads of a block have the sums of all in registers."""


@dataclass(frozen=True)
class FuseAttention(Pass):
    """s = q @ k^T; p = softmax(s); o = p @ v -> attention(q, k^T, v); and its gradients likewise

    A softmax along the columns of a product, whose result is multiplied by a matrix again, is one unit: tiles of scores
    are made one after another, with the largest and the sum of each row so far, and none stays. What reads scores for
    the backward becomes units too: one for each order of sums, over columns (the gradient of q, and what is summed up
    beforehand) and over rows (those of k and v), which make the scores anew. Masks, scales, dropout and whatever else
    is computed of scores element by element run inside. Products without a softmax, of a batch of matrices that are no
    parameters, are scores too: those of sigmoid attention, or distances.

    The graph stays as it is where something else reads scores, where they are no larger than what is made of them, and
    where their products have more than `MOST_DEPTH` terms. Shapes and graph alone say where, never a budget.

    Known elsewhere as flash attention (Dao 2023, "FlashAttention-2"), there as an operation of its own.
    """

    of_gpus = True

    def __call__(self, graph: Graph) -> Graph:
        found = _clusters(graph)
        while found:
            try:
                return _Rebuilt(graph, found).graph()
            except _NeedsScores as needs:
                found.remove(needs.cluster)
        return graph


# ---- all that reads scores


@dataclass(eq=False)
class _Unit:
    """One node of the new graph, its body, and the nodes of the old one that it stands for."""

    over: Over
    body: ScoreBody
    sums: list[ScoreSum]
    softmax: Softmax | None = None


@dataclass(eq=False)
class _Cluster:
    """The units of one softmax, row sums that need none, and all `scores` that no longer exist."""

    units: list[_Unit] = field(default_factory=list[_Unit])
    rows: list[RowProduct] = field(default_factory=list[RowProduct])
    scores: set[Value] = field(default_factory=set[Value])


def _clusters(graph: Graph) -> list[_Cluster]:
    """What becomes units: of each softmax, then of products without one."""
    users = graph.users()
    rank = {node: i for i, node in enumerate(graph.nodes)}
    parameters = {graph.inputs[i] for i in graph.aliases.values()}
    found: list[_Cluster] = []
    for node in graph.nodes:
        try:
            softmax = softmax_at(node, users)
            if softmax is not None:
                found.append(_cluster_of(softmax, users, rank))
        except NotScores:
            continue
    taken = {node for c in found for unit in c.units for node in unit.body.products}
    for node in graph.nodes:
        try:
            if node not in taken and _is_batch(node, parameters):
                found.append(_cluster(_Cluster(), [node], set(), users, rank))
                taken.update(product for unit in found[-1].units for product in unit.body.products)
        except NotScores:
            continue
    return found


def _is_batch(node: Node, parameters: set[Value]) -> bool:
    """Whether a node is a product of the forward, of a batch of matrices that are no parameters, and larger than these
    together.
    """
    shape = node.outputs[0].type.shape
    if node.origin.role == "backward" or len(shape) < 3 or not is_score_product(node, shape):
        return False
    if node.output.type.dtype.itemsize < 4:
        return False
    larger = node.output.type.size > sum(v.type.size for v in node.inputs)
    return larger and parameters.isdisjoint(map(base_of, node.inputs))


def _cluster_of(softmax: Softmax, users: Mapping[Value, list[Node]], rank: Mapping[Node, int]) -> _Cluster:
    """The units of a softmax. Raises `NotScores` where its scores are read by what is no sum over rows or columns."""
    forward, sums = ScoreBody(softmax.scores.type.shape), list(softmax.sums)
    forward.add(softmax.scores)
    scaled = {node.output for one in sums for node in one.scaled}
    forward.begin_weights(softmax.scores, softmax.exp.output, scaled)
    for one in sums:
        forward.add(one.result)
    if not forward.products or len(forward.products) > _MOST_PRODUCTS or len(sums) > _MOST_SUMS:
        raise NotScores
    known = {softmax.largest, softmax.total, *(one.node for one in sums)}
    cluster = _Cluster([_Unit("columns", forward, sums, softmax)])
    return _cluster(cluster, list(forward.products), known, users, rank)


def _cluster(
    cluster: _Cluster,
    products: Sequence[Node],
    known: set[Node],
    users: Mapping[Value, list[Node]],
    rank: Mapping[Node, int],
) -> _Cluster:
    """A cluster with units of all that reads scores, but for nodes that are `known`."""
    seed = products[0].output
    readers = _readers(cluster.scores, [node.output for node in products], users, seed.type.shape)
    later = [_sum_of(node, value) for node, value in readers if node not in known]
    for softmax in (unit.softmax for unit in cluster.units if unit.softmax is not None):
        cluster.rows += [row for one in later if (row := row_product(one, softmax)) is not None]
    apart = {row.node for row in cluster.rows}
    later = [one for one in later if one.node not in apart]
    first = min(rank[node] for node in products)
    units: list[tuple[_Unit, set[Node]]] = []
    for one in sorted(later, key=lambda s: rank[s.node]):
        units = _joined(units, one, seed.type.shape, lambda node: rank[node] >= first)
    cluster.units += [unit for unit, _ in units]
    sums = [s for unit in cluster.units for s in unit.sums]
    made = sum(s.node.output.type.size for s in sums if s.matrix is not None)
    forward = [s for s in sums if s.node.origin.role == products[0].origin.role]
    if not made or sum(s.node.output.type.size for s in forward) > seed.type.size:
        raise NotScores
    types = {v.type.dtype for unit in cluster.units for v in unit.body.results([s.result for s in unit.sums])}
    if types != {seed.type.dtype}:
        raise NotScores
    return cluster


def _readers(
    scores: set[Value], products: Sequence[Value], users: Mapping[Value, list[Node]], shape: tuple[int, ...]
) -> list[tuple[Node, Value]]:
    """Fill in all that is made of products element by element. Returns what else reads that, and which of the scores
    it reads.
    """
    found: dict[tuple[Node, Value], None] = {}
    stack = list(products)
    scores.update(products)
    while stack:
        value = stack.pop()
        for node in users[value]:
            if not node.op.is_elementwise or node.op.is_check or node.output.type.shape != shape:
                found[node, value] = None
            elif node.output not in scores:
                scores.add(node.output)
                stack.append(node.output)
    return list(found)


def _sum_of(node: Node, value: Value) -> ScoreSum:
    """What a node that reads scores sums up of them."""
    ndim = value.type.ndim
    if node.op is reduction.reduce_sum and node.attrs["axes"] in ((ndim - 1,), (ndim - 2,)):
        return ScoreSum(node, value, "columns" if node.attrs["axes"] == (ndim - 1,) else "rows")
    found = product_with(node, value)
    if found is None:
        raise NotScores
    return found


def _joined(
    units: list[tuple[_Unit, set[Node]]], one: ScoreSum, shape: tuple[int, ...], late: Callable[[Node], bool]
) -> list[tuple[_Unit, set[Node]]]:
    """The units with one more sum, in one of them that goes the same way and that it does not wait for, else in a new
    one. With each are the nodes that it waits for.
    """
    body = ScoreBody(shape)
    body.add(one.result)
    needs = _ancestors([*body.reads(), *([] if one.matrix is None else [one.matrix.value])], late)
    for i, (unit, waits) in enumerate(units):
        apart = needs.isdisjoint(s.node for s in unit.sums)
        matrices = sum(s.matrix is not None for s in (*unit.sums, one))
        both = {*unit.body.products, *body.products}
        if unit.over == one.over and apart and matrices <= _MOST_SUMS and len(both) <= _MOST_PRODUCTS:
            unit.body.add(one.result)
            return [*units[:i], (_Unit(unit.over, unit.body, [*unit.sums, one]), waits | needs), *units[i + 1 :]]
    if len(body.products) > _MOST_PRODUCTS or not body.products:
        raise NotScores
    return [*units, (_Unit(one.over, body, [one]), needs)]


def _ancestors(values: Sequence[Value], late: Callable[[Node], bool]) -> set[Node]:
    found: set[Node] = set()
    stack = [v.node for v in values]
    while stack:
        node = stack.pop()
        if node is not None and late(node) and node not in found:
            found.add(node)
            stack += [v.node for v in node.inputs]
    return found


# ---- the new graph


class _NeedsScores(Exception):
    """Something that stays reads the scores of a cluster, or its units would wait for each other."""

    def __init__(self, cluster: _Cluster) -> None:
        super().__init__()
        self.cluster = cluster


class _Rebuilt:
    """The graph with the units of all clusters: a node is copied when the first that stays asks for it."""

    def __init__(self, graph: Graph, clusters: Sequence[_Cluster]) -> None:
        self.old = graph
        self.b = Builder()
        self.new: dict[Value, Value] = {v: self.b.input(v.type, v.name) for v in graph.inputs}
        self.units = {node: (c, u) for c in clusters for u in c.units for node in _nodes(u)}
        self.rows = {row.node: row for c in clusters for row in c.rows}
        self.users = graph.users()
        self.gone = {v: c for c in clusters for v in c.scores}
        self.begun: set[Node | _Unit] = set()

    def graph(self) -> Graph:
        """The new graph."""
        for node in self.old.nodes:
            if node.outputs[0] not in self.gone:
                self.make(node)
        outputs = [self.get(v) for v in self.old.outputs]
        return without_dead_code(self.b.graph(outputs, self.old.aliases, self.old.output_names))

    def get(self, value: Value) -> Value:
        """What stands for a value of the old graph."""
        if value not in self.new:
            if value in self.gone:
                raise _NeedsScores(self.gone[value])
            assert value.node is not None
            self.make(value.node)
        return self.new[value]

    def make(self, node: Node) -> None:
        """All that a node makes."""
        if node.outputs[0] in self.new:
            return
        if node in self.rows:
            self.new[node.output] = self.row_product(self.rows[node])
            return
        if node not in self.units:
            self.new.update(zip(node.outputs, self.b.copy(node, [self.get(v) for v in node.inputs]).outputs))
            return
        cluster, unit = self.units[node]
        if unit in self.begun:
            raise _NeedsScores(cluster)
        self.begun.add(unit)
        self.emit(unit)

    def emit(self, unit: _Unit) -> None:
        """The node of a unit, and what its outputs become."""
        body, softmax = unit.body, unit.softmax
        summed = [s for s in unit.sums if s.matrix is not None]
        plain = [s for s in unit.sums if s.matrix is None]
        origin = (softmax.exp if softmax is not None else unit.sums[-1].node).origin
        pairs, matrices = body.pairs(), [s.matrix.narrow() for s in summed if s.matrix is not None]
        for value in (*(m.value for m in (*pairs, *matrices)), *(v for v, _ in body.operands)):
            self.get(value)
        with self.b.at(origin):
            inputs = [m.emit(self.b, self.new[m.value]) for m in pairs]
            inputs += [body.view(self.b, self.new[v], axes) for v, axes in body.operands]
            inputs += [m.emit(self.b, self.new[m.value]) for m in matrices]
            graph, numbers = body.graph([s.result for s in (*summed, *plain)])
            node = self.b.emit_node(
                attention,
                *inputs,
                body=graph,
                products=len(body.products),
                sums=numbers[: len(summed)],
                plain=numbers[len(summed) :],
                over=unit.over,
                softmax=softmax is not None,
            )
        made = list(node.outputs)
        if softmax is not None:
            self.new[softmax.largest.output], self.new[softmax.total.output] = made[:2]
            made = made[2:]
        for one, value in zip((*summed, *plain), made, strict=True):
            with self.b.at(one.node.origin):
                self.new[one.node.output] = self.scaled(_turned(self.b, value) if one.turned else value, one)

    def scaled(self, value: Value, one: ScoreSum) -> Value:
        """The result of a product whose rows are still to be scaled as those of its left operand were.

        It lies in memory as the first reads it that transposes it, so that this reader and the backward share it.
        """
        if not one.scaled:
            return value
        readers = self.users[one.node.output]
        perm = next((r.attrs["perm"] for r in readers if r.op is movement.transpose), tuple(range(value.type.ndim)))
        shape, back = value.type.shape, tuple(perm.index(a) for a in range(len(perm)))
        last = len(shape) - 1
        value = _transposed(self.b, value, perm)
        for node in one.scaled:
            repeated = node.inputs[1].node
            assert repeated is not None
            row, axes = self.get(repeated.inputs[0]), tuple[int, ...](repeated.attrs["axes"])
            if one.turned:
                axes = tuple(last if a == last - 1 else a for a in axes)
            along = self.b.emit(movement.broadcast, row, shape=shape, axes=axes)
            value = self.b.emit(node.op, value, _transposed(self.b, along, perm))
        return _transposed(self.b, value, back)

    def row_product(self, row: RowProduct) -> Value:
        """Sums of products of gradients and results."""
        result, gradient = self.get(row.result.node.output), self.get(row.gradient.value)
        b = self.b
        factors = [(op, None if v is None else self.row(v)) for op, v, _ in row.factors]
        with b.at(row.node.origin):
            left = row.gradient.emit(b, gradient)
            right = _turned(b, result) if row.result.turned else result
            total = b.emit(reduction.reduce_sum, b.emit(ew.mul, left, right), axes=(left.type.ndim - 1,))
            for op, scale in factors:
                assert op is not None
                total = b.emit(op, total) if scale is None else b.emit(op, total, scale)
        return total

    def row(self, value: Value) -> Value:
        """What a value of scores repeats along rows."""
        node, lead = value.node, value.type.shape[:-1]
        assert node is not None
        if node.op is creation.full:
            return self.b.full(node.attrs["value"], ArrayType(lead, value.type.dtype))
        source = self.get(node.inputs[0])
        with self.b.at(node.origin):
            return self.b.emit(movement.broadcast, source, shape=lead, axes=node.attrs["axes"])


def _nodes(unit: _Unit) -> list[Node]:
    """The nodes that a unit stands for."""
    nodes = [s.node for s in unit.sums]
    return nodes if unit.softmax is None else [unit.softmax.largest, unit.softmax.total, *nodes]


def _turned(b: Builder, value: Value) -> Value:
    ndim = value.type.ndim
    return b.emit(movement.transpose, value, perm=(*range(ndim - 2), ndim - 1, ndim - 2))


def _transposed(b: Builder, value: Value, perm: tuple[int, ...]) -> Value:
    return value if perm == tuple(range(len(perm))) else b.emit(movement.transpose, value, perm=perm)
