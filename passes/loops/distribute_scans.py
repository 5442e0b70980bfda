"""Loop distribution: products and sums of a loop's body for all iterations at once, before the loop or behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Recompute, Value
from ...ir.ops import contraction, movement, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.contraction import Pair
from ...ir.ops.movement import slice_along
from ..graph.batching import batched, can_batch
from ..graph.dead_code import live_nodes, without_dead_code
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.scan import Scan, body_of, invariant_values


@dataclass(frozen=True)
class DistributeScans(Pass):
    """Moves work out of loops:

        total += dot(a[t], b[t])                              -> behind the loop: one product of the stacks of a and b
        total += reduce_sum(a[t]), total += a[t]              -> behind the loop: one sum, where a is stacked anyway,
                                                                 by itself or as a part of what is
        y[t] = g(dot(a[t], w)), w loop-invariant              -> behind the loop: one product of the stack of a, then g
        dot(f(x[t]), w), w loop-invariant                     -> before the loop: one product of all x
        f(w)                                                  -> before the loop: once

    Known elsewhere as loop distribution or loop fission; the last rule as loop-invariant code motion. The first rule is
    how a gradient of a weight leaves the loop that reverse mode writes.

    One product of many rows does in one go what a product of a few rows does again in every iteration: it reads and
    packs the weight once. What moves out stands for all iterations at once, until `StripMineScans` cuts the loop into
    segments and makes it segment by segment: so the product has the rows of a segment, and memory holds no more. Work
    that is recomputed stays inside, because nobody asked for it to stand for all iterations. The order of the sums
    depends on the graph alone.
    """

    def __call__(self, graph: Graph) -> Graph:
        # Sums first: the stacks that their products need serve the results, too. What has moved behind a loop is gone
        # from it before the last question, what can move to before it.
        for way in (_sums_behind, _results_behind, _products_before):
            if not any(node.op.is_scan for node in graph.nodes):
                return graph
            graph = way(graph)
        return graph


# ---- sums behind the loop


def _sums_behind(graph: Graph) -> Graph:
    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        return _with_sums_behind(b, Scan(node, inputs)) if node.op.is_scan and node.attrs["length"] else None

    return rewrite_nodes(graph, rule)


@dataclass
class _Total:
    """A carry that is nothing but a sum: its place, its last addition, what is added in each iteration, and which of
    that moves.
    """

    place: int
    node: Node
    terms: list[Value]
    moved: list[_Term]


@dataclass
class _Term:
    """A term that is summed behind the loop: `views` of the `node` of stacked `operands`, or one operand itself. Where
    `part` is given, it is of this part (axis, start, stop) of the one operand.
    """

    value: Value
    node: Node | None
    views: list[Node]
    operands: list[Value]
    part: tuple[int, int, int] | None = None


def _with_sums_behind(b: Builder, scan: Scan) -> list[Value] | None:
    users = scan.body.users()
    invariant = scan.invariants()
    totals = [total for k in range(scan.carry_count) if (total := _total(scan, users, k)) is not None]
    # First the products, whose operands are then stacked for the others too.
    stacked = dict.fromkeys([*scan.body_xs, *scan.step_ys])
    for total in totals:
        for value in total.terms:
            views, source = _through_views(value)
            product = source.node
            if product is not None and product.op is contraction.dot and invariant.isdisjoint(product.inputs):
                operands = [_before_transposes(v)[0] for v in product.inputs]
                stacked.update(dict.fromkeys(operands))
                total.moved.append(_Term(value, product, views, operands))
    parts = _parts(stacked)
    for total in totals:
        for value in total.terms:
            views, source = _through_views(value)
            made = source.node
            if made is not None and made.op is reduction.reduce_sum and made.inputs[0] in parts:
                whole, part = parts[made.inputs[0]]
                total.moved.append(_Term(value, made, views, [whole], part))
            elif value in parts:
                whole, part = parts[value]
                total.moved.append(_Term(value, None, [], [whole], part))
    totals = [total for total in totals if total.moved]
    if not totals:
        return None
    places = {v: i for i, v in enumerate(dict.fromkeys(v for t in totals for m in t.moved for v in m.operands))}
    loop = scan.emit(b, _without_terms(scan, totals, list(places)))
    first = len(scan.node.outputs)
    results = list(loop.outputs[:first])
    for total in totals:
        b.origin = total.node.origin
        for term in total.moved:
            part = _summed(b, term, [loop.outputs[first + places[v]] for v in term.operands])
            results[total.place] = ew.add(b, results[total.place], part)
    return results


def _parts(stacked: Iterable[Value]) -> dict[Value, tuple[Value, tuple[int, int, int] | None]]:
    """Where the stacks have a value: in which, and in which part (axis, start, stop) of it if not the whole."""
    found: dict[Value, tuple[Value, tuple[int, int, int] | None]] = {value: (value, None) for value in stacked}
    for value in list(found):
        if value.node is not None and value.node.op is movement.concatenate:
            axis: int = value.node.attrs["axis"]
            start = 0
            for operand in value.node.inputs:
                stop = start + operand.type.shape[axis]
                found.setdefault(operand, (value, (axis, start, stop)))
                start = stop
    return found


def _total(scan: Scan, users: dict[Value, list[Node]], k: int) -> _Total | None:
    """Carry `k` as a sum, if it is one that nothing else in the body reads."""
    body, carry, result = scan.body, scan.body_carries[k], scan.new_carries[k]
    if result.node is None or result.node.op is not ew.add or users[result] or body.outputs.count(result) > 1:
        return None
    if carry in body.outputs or len(users[carry]) != 1:
        return None
    terms: list[Value] = []
    stack = [result]
    while stack:
        value = stack.pop()
        inner = value.node
        alone = value is result or (len(users[value]) == 1 and value not in body.outputs)
        if inner is not None and inner.op is ew.add and alone and inner.inputs[0] is not inner.inputs[1]:
            stack += reversed(inner.inputs)
        else:
            terms.append(value)
    if terms.count(carry) != 1:
        return None
    terms.remove(carry)
    return _Total(k, result.node, terms, [])


def _through_views(value: Value) -> tuple[list[Node], Value]:
    """The views, innermost first, that make `value`, and what of."""
    views: list[Node] = []
    while value.node is not None and value.node.op in (movement.transpose, movement.reshape):
        views.insert(0, value.node)
        value = value.node.inputs[0]
    return views, value


def _before_transposes(value: Value) -> tuple[Value, tuple[int, ...]]:
    """What `value` is a transposition of, and for each of its axes the one there."""
    perm = tuple(range(value.type.ndim))
    while value.node is not None and value.node.op is movement.transpose:
        inner: tuple[int, ...] = value.node.attrs["perm"]
        perm = tuple(inner[i] for i in perm)
        value = value.node.inputs[0]
    return value, perm


def _without_terms(scan: Scan, totals: list[_Total], stacked: list[Value]) -> Graph:
    """The body that adds what does not move, and stacks what does."""
    body = scan.body
    b = Builder()
    mapping = {v: b.input(v.type, v.name) for v in body.inputs}
    for inner in body.nodes:
        mapping.update(zip(inner.outputs, b.copy(inner, [mapping[v] for v in inner.inputs]).outputs))
    results = [mapping[v] for v in (*body.outputs, *stacked)]
    for total in totals:
        moved = [term.value for term in total.moved]
        b.origin = total.node.origin
        left = mapping[scan.body_carries[total.place]]
        for value in total.terms:
            if value in moved:
                moved.remove(value)
            else:
                left = ew.add(b, left, mapping[value])
        results[total.place] = left
    return without_dead_code(b.graph(results))


def _summed(b: Builder, term: _Term, stacks: Sequence[Value]) -> Value:
    """The sum of a term over all iterations."""
    if term.part is not None:
        axis, start, stop = term.part
        stacks = [b.emit(OPS["slice"], stacks[0], **slice_along(stacks[0].type.shape, axis + 1, start, stop))]
    if term.node is None:
        return b.emit(OPS["reduce_sum"], stacks[0], axes=(0,))
    if term.node.op is reduction.reduce_sum:
        axes = (0, *(a + 1 for a in term.node.attrs["axes"]))
        result = b.emit(OPS["reduce_sum"], stacks[0], axes=axes)
    else:
        result = _dot_of_stacks(b, term.node, stacks)
    for view in term.views:
        result = b.emit(view.op, result, **view.attrs)
    return result


def _dot_of_stacks(b: Builder, node: Node, stacks: Sequence[Value]) -> Value:
    """The product that also sums over the iterations, with the free axes in the order of `node`."""
    pairs: tuple[Pair, Pair] = (node.attrs["contract"], node.attrs["batch"])
    perms = [_before_transposes(operand)[1] for operand in node.inputs]
    contract = tuple((0, *(perm[a] + 1 for a in pairs[0][side])) for side, perm in enumerate(perms))
    batch = tuple(tuple(perm[a] + 1 for a in pairs[1][side]) for side, perm in enumerate(perms))
    product = b.emit(OPS["dot"], *stacks, contract=contract, batch=batch)
    # The stacks lie as before the transpositions that `node` reads its operands through: their free axes come in
    # another order.
    order: list[int] = list(range(len(batch[0])))
    begin = len(order)
    for side, (perm, stack) in enumerate(zip(perms, stacks)):
        taken = {*contract[side], *batch[side]}
        free = [a for a in range(stack.type.ndim) if a not in taken]
        used = {*pairs[0][side], *pairs[1][side]}
        order += (begin + free.index(perm[a] + 1) for a in range(len(perm)) if a not in used)
        begin += len(free)
    return product if order == sorted(order) else b.emit(OPS["transpose"], product, perm=tuple(order))


# ---- results behind the loop


def _results_behind(graph: Graph) -> Graph:
    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        return _with_results_behind(b, Scan(node, inputs)) if node.op.is_scan and node.attrs["length"] else None

    return rewrite_nodes(graph, rule)


def _with_results_behind(b: Builder, scan: Scan) -> list[Value] | None:
    body, invariant = scan.body, scan.invariants()
    moved = _only_for_results(scan, invariant)
    if not moved:
        return None
    made_behind = {n.output for n in moved}
    read = list(dict.fromkeys(v for n in moved for v in n.inputs if v not in made_behind and v not in invariant))
    ys = [v for v in scan.step_ys if v not in made_behind]
    stacked = list(dict.fromkeys([*ys, *read]))
    outputs = [*scan.new_carries, *stacked]
    loop = Scan(scan.emit(b, Graph(body.inputs, live_nodes(body.nodes, outputs), outputs)))
    outer = dict(zip(stacked, loop.ys))
    once = dict(zip(scan.body_consts, scan.consts))
    nodes = [n for n in body.nodes if invariant.issuperset(n.outputs)]
    for n in live_nodes(nodes, [v for m in moved for v in m.inputs if v in invariant]):
        once.update(zip(n.outputs, b.copy(n, [once[v] for v in n.inputs]).outputs))
    for n in moved:
        b.origin = n.origin
        given = [outer[v] if v in outer else once[v] for v in n.inputs]
        outer[n.output] = batched(b, n, given, [v not in invariant for v in n.inputs], scan.length)
    return [*loop.last_carries, *(outer[v] for v in scan.step_ys)]


def _only_for_results(scan: Scan, invariant: set[Value]) -> list[Node]:
    """The nodes that only results need, from products with what is loop-invariant on."""
    body = scan.body
    users = body.users()
    core = set(live_nodes(body.nodes, scan.new_carries))
    movable: set[Node] = set()
    for node in reversed(body.nodes):
        if node in core or len(node.outputs) > 1 or node.output in invariant:
            continue
        if movable.issuperset(users[node.output]) and can_batch(node, [v not in invariant for v in node.inputs]):
            movable.add(node)
    moved: dict[Value, Node] = {}
    for node in body.nodes:
        product = node.op is contraction.dot and not invariant.isdisjoint(node.inputs)
        if node in movable and (product or any(v in moved for v in node.inputs)):
            moved[node.output] = node
    return list(moved.values())


# ---- products and invariants before the loop


def _products_before(graph: Graph) -> Graph:
    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        return _Hoisted(b, Scan(node, inputs)).run() if node.op.is_scan and node.attrs["length"] else None

    return rewrite_nodes(graph, rule)


class _Hoisted:
    """A loop of which parts move to before it: `outer` has what stands outside for values of the body, with the
    iterations as the first axis but for those that are `invariant`.
    """

    def __init__(self, b: Builder, scan: Scan) -> None:
        self.b = b
        self.scan = scan
        self.body = scan.body
        self.outer = dict(zip(scan.body.inputs, scan.inputs))
        self.invariant = scan.invariants()
        self.of_sequences = invariant_values((*self.invariant, *scan.body_xs), scan.body.nodes) - self.invariant
        """What depends on sequences, and on no carry."""

    def run(self) -> list[Value] | None:
        for node in self.body.nodes:
            if self.invariant.issuperset(node.outputs):
                if not _is_free(node):
                    self.compute_once(node.outputs[0])
            elif node.origin.role == "recompute":
                continue
            elif (
                node.op is contraction.dot
                and node.output in self.of_sequences
                and not self.invariant.isdisjoint(node.inputs)
            ):
                self.compute_for_all_iterations(node.output)
        if len(self.outer) == len(self.scan.inputs):
            return None
        return list(self.smaller_loop().outputs)

    def compute_once(self, value: Value) -> None:
        """A loop-invariant value, outside."""
        nodes = [n for n in self.body.nodes if self.invariant.issuperset(n.outputs) and n.outputs[0] not in self.outer]
        for node in live_nodes(nodes, [value]):
            self.outer.update(zip(node.outputs, self.b.copy(node, [self.outer[v] for v in node.inputs]).outputs))

    def compute_for_all_iterations(self, value: Value) -> None:
        """A value that depends on no carry, outside for all iterations, if all that it is made of can be batched."""
        nodes = [n for n in self.body.nodes if n.outputs[0] in self.of_sequences and n.outputs[0] not in self.outer]
        needed = live_nodes(nodes, [value])
        stacked = {node: [v not in self.invariant for v in node.inputs] for node in needed}
        if not all(len(n.outputs) == 1 and can_batch(n, stacked[n]) for n in needed):
            return
        for node in needed:
            for v in node.inputs:
                if v not in self.outer:
                    self.compute_once(v)
            self.b.origin = node.origin
            given = [self.outer[v] for v in node.inputs]
            self.outer[node.output] = batched(self.b, node, given, stacked[node], self.scan.length)

    def smaller_loop(self) -> Node:
        """The loop that reads what was moved out as consts and sequences; what is free is made inside."""
        body = self.body
        moved = {v for v in self.outer if v.node is not None and not _is_free(v.node)}
        inner = live_nodes([n for n in body.nodes if moved.isdisjoint(n.outputs)], body.outputs)
        read = {*body.outputs, *(v for n in inner for v in n.inputs)} - {v for n in inner for v in n.outputs}
        consts = [v for v in self.outer if v in read and v in self.invariant]
        xs = [v for v in self.outer if v in read and v in self.of_sequences]
        smaller = body_of([*consts, *self.scan.body_carries, *xs], inner, body.outputs)
        self.b.origin = self.scan.node.origin
        return self.scan.emit(self.b, smaller, [self.outer[v] for v in consts], None, [self.outer[v] for v in xs])


def _is_free(node: Node) -> bool:
    """Whether what is loop-invariant may as well be made inside, where it costs nothing."""
    return node.op.recompute is Recompute.FREE
