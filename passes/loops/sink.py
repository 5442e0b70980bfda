"""Out of loops, to behind them: products and sums for all steps at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import elementwise as ew
from ...ir.ops.contraction import Pair
from ...ir.ops.movement import slice_along
from ..graph.batching import batched, can_batch
from ..graph.dead_code import live_nodes
from ..graph.rewrite import Pass, rewrite_nodes
from ..graph.scan import Scan


@dataclass(frozen=True)
class Sink(Pass):
    """Takes nodes of loops to behind them.

        total += dot(a[t], b[t])                             one product of the stacks of a and b
        total += reduce_sum(a[t]), total += a[t]             one sum, where a is stacked anyway, by itself or as a part
                                                             of what is
        y[t] = g(dot(a[t], w)), w the same in every step     one product of the stack of a, then g

    The first is a gradient of weights as reverse mode writes it. The order of these sums depends on the graph alone.
    """

    def __call__(self, graph: Graph) -> Graph:
        if not any(node.op.is_scan for node in graph.nodes):
            return graph

        def sums(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            return _sums_behind(b, Scan(node, inputs)) if node.op.is_scan and node.attrs["length"] else None

        def results(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            return _results_behind(b, Scan(node, inputs)) if node.op.is_scan and node.attrs["length"] else None

        return rewrite_nodes(rewrite_nodes(graph, sums), results)


# Sums.


@dataclass
class _Total:
    """A carry that only gathers a sum: its place, what is added in each step, and which of that moves."""

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


def _sums_behind(b: Builder, scan: Scan) -> list[Value] | None:
    users = scan.body.users()
    same = scan.invariants()
    totals = [total for k in range(scan.carry_count) if (total := _total(scan, users, k)) is not None]
    # First the products, whose operands are then stacked for the others too.
    stacked = dict.fromkeys([*scan.body_xs, *scan.step_ys])
    for total in totals:
        for value in total.terms:
            views, source = _through_views(value)
            product = source.node
            if product is not None and product.op.name == "dot" and same.isdisjoint(product.inputs):
                operands = [_before_transposes(v)[0] for v in product.inputs]
                stacked.update(dict.fromkeys(operands))
                total.moved.append(_Term(value, product, views, operands))
    parts = _parts(stacked)
    for total in totals:
        for value in total.terms:
            views, source = _through_views(value)
            made = source.node
            if made is not None and made.op.name == "reduce_sum" and made.inputs[0] in parts:
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
        if value.node is not None and value.node.op.name == "concatenate":
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
    if result.node is None or result.node.op.name != "add" or users[result] or body.outputs.count(result) > 1:
        return None
    if carry in body.outputs or len(users[carry]) != 1:
        return None
    terms: list[Value] = []
    stack = [result]
    while stack:
        value = stack.pop()
        inner = value.node
        alone = value is result or (len(users[value]) == 1 and value not in body.outputs)
        if inner is not None and inner.op.name == "add" and alone and inner.inputs[0] is not inner.inputs[1]:
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
    while value.node is not None and value.node.op.name in ("transpose", "reshape"):
        views.insert(0, value.node)
        value = value.node.inputs[0]
    return views, value


def _before_transposes(value: Value) -> tuple[Value, tuple[int, ...]]:
    """What `value` is a transposition of, and for each of its axes the one there."""
    perm = tuple(range(value.type.ndim))
    while value.node is not None and value.node.op.name == "transpose":
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
    return b.graph(results)


def _summed(b: Builder, term: _Term, stacks: Sequence[Value]) -> Value:
    """The sum of a term over all steps."""
    if term.part is not None:
        stacks = [_taken(b, stacks[0], *term.part)]
    if term.node is None:
        return b.emit(OPS["reduce_sum"], stacks[0], axes=(0,))
    if term.node.op.name == "reduce_sum":
        axes = (0, *(a + 1 for a in term.node.attrs["axes"]))
        result = b.emit(OPS["reduce_sum"], stacks[0], axes=axes)
    else:
        pairs: tuple[Pair, Pair] = (term.node.attrs["contract"], term.node.attrs["batch"])
        contract: list[tuple[int, ...]] = []
        batch: list[tuple[int, ...]] = []
        for side, operand in enumerate(term.node.inputs):
            _, perm = _before_transposes(operand)
            contract.append((0, *(perm[a] + 1 for a in pairs[0][side])))
            batch.append(tuple(perm[a] + 1 for a in pairs[1][side]))
        result = _dot_of_stacks(b, term.node, stacks, contract, batch)
    for view in term.views:
        result = b.emit(view.op, result, **view.attrs)
    return result


def _taken(b: Builder, stack: Value, axis: int, start: int, stop: int) -> Value:
    """The part of a stack that is given by the axis of its elements."""
    return b.emit(OPS["slice"], stack, **slice_along(stack.type.shape, axis + 1, start, stop))


def _dot_of_stacks(
    b: Builder, node: Node, stacks: Sequence[Value], contract: list[tuple[int, ...]], batch: list[tuple[int, ...]]
) -> Value:
    """The product that also sums over the steps, with the free axes in the order of `node`."""
    product = b.emit(OPS["dot"], *stacks, contract=tuple(contract), batch=tuple(batch))
    order: list[int] = list(range(len(batch[0])))
    begin = len(order)
    for side, (operand, stack) in enumerate(zip(node.inputs, stacks)):
        _, perm = _before_transposes(operand)
        taken = {*contract[side], *batch[side]}
        free = [a for a in range(stack.type.ndim) if a not in taken]
        used = {*node.attrs["contract"][side], *node.attrs["batch"][side]}
        order += (begin + free.index(perm[a] + 1) for a in range(len(perm)) if a not in used)
        begin += len(free)
    return product if order == sorted(order) else b.emit(OPS["transpose"], product, perm=tuple(order))


# Results.


def _results_behind(b: Builder, scan: Scan) -> list[Value] | None:
    body = scan.body
    same = scan.invariants()
    sunk = _sunk(scan, same)
    if not sunk:
        return None
    made_behind = {n.output for n in sunk}
    invariant = [n for n in body.nodes if same.issuperset(n.outputs)]
    read = list(dict.fromkeys(v for n in sunk for v in n.inputs if v not in made_behind and v not in same))
    ys = [v for v in scan.step_ys if v not in made_behind]
    stacked = list(dict.fromkeys([*ys, *read]))
    smaller = Graph(body.inputs, body.nodes, [*scan.new_carries, *stacked])
    loop = Scan(scan.emit(b, smaller))
    outer = dict(zip(stacked, loop.ys))
    once = dict(zip(scan.body_consts, scan.consts))
    for n in live_nodes(invariant, [v for s in sunk for v in s.inputs if v in same]):
        once.update(zip(n.outputs, b.copy(n, [once[v] for v in n.inputs]).outputs))
    for n in sunk:
        b.origin = n.origin
        is_stacked = [v not in same for v in n.inputs]
        given = [outer[v] if v in outer else once[v] for v in n.inputs]
        outer[n.output] = batched(b, n, given, is_stacked, scan.length)
    return [*loop.last_carries, *(outer[v] for v in scan.step_ys)]


def _sunk(scan: Scan, same: set[Value]) -> list[Node]:
    """The nodes that only results need, from products with what is the same in every step on."""
    body = scan.body
    users = body.users()
    core = set(live_nodes(body.nodes, scan.new_carries))
    sinkable: set[Node] = set()
    for inner in reversed(body.nodes):
        if inner in core or len(inner.outputs) > 1 or inner.output in same:
            continue
        if sinkable.issuperset(users[inner.output]) and can_batch(inner, [v not in same for v in inner.inputs]):
            sinkable.add(inner)
    sunk: dict[Value, Node] = {}
    for inner in body.nodes:
        product = inner.op.name == "dot" and not same.isdisjoint(inner.inputs)
        if inner in sinkable and (product or any(v in sunk for v in inner.inputs)):
            sunk[inner.output] = inner
    return list(sunk.values())
