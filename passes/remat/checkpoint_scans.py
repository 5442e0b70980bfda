"""Checkpointed loops over time: the backward recomputes them, a segment at a time, instead of keeping every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Recompute, Value
from ...ir.ops.movement import slice_along
from ..autodiff.min_cut_remat import fewest_bytes
from ..graph.carries import carried_in_place
from ..graph.dead_code import live_nodes
from ..graph.rewrite import Pass, all_nodes
from ..graph.scan import Scan, emit_only_step, emit_scan, step_type

_SHORTEST = 4
"""Steps of the shortest loop that is cut."""
_WORTH_CUTTING = 0.75
"""A loop is cut where its backward then holds less than this part of the bytes."""
_LEFT_OVER = 2.0
"""Segments may hold so many times the bytes of the best ones where no step is left over then."""


@dataclass(frozen=True)
class CheckpointScans(Pass):
    """`ys, zs = scan(xs); dxs = backward scan(dys, zs)` -> the same in segments of time, each recomputing its own zs:

        ys, zs = loop(xs)                             zs: what each step leaves for its derivative
        dxs = backward loop(dys, zs)
    ->
        ys, starts = loop over segments(xs)           loop(x of the segment)
        dxs = backward loop over segments(dys)        zs = loop(start, x of the segment), backward loop(dy, zs)

    Known elsewhere as activation checkpointing over time, or sqrt(n) checkpointing (Chen et al. 2016, "Training deep
    nets with sublinear memory cost"). The backward of a segment begins with its forward, from the carries with which
    the segment began, so that n steps need about 2√n times the bytes of one.

    What else reads `zs`, later, reads the recomputed ones. Steps that are left over behind the last whole segment stay
    as they are. With `products` the results of products are kept, and no product is recomputed. Of the steps of a loop
    the first part, `share`, is cut: what these leave waits longest.
    """

    products: bool = False
    share: float = 1.0

    def applies(self, graph: Graph) -> bool:
        """Whether there is a loop to cut, at any depth."""
        bodies = (body for node in graph.nodes for body in node.bodies)
        return bool(_loops(graph, self)) or any(map(self.applies, bodies))

    def __call__(self, graph: Graph) -> Graph:
        found = _loops(graph, self)
        forwards = {loop.forward: loop for loop in found}
        backwards = {loop.backward: loop for loop in found}
        b = Builder()
        new = {v: b.input(v.type, v.name) for v in graph.inputs}
        kept: dict[_Loop, _Kept] = {}
        for node in graph.nodes:
            b.origin = node.origin
            if node in forwards:
                kept[forwards[node]] = _forward(b, forwards[node], new)
            elif node in backwards:
                _backward(b, backwards[node], kept[backwards[node]], new)
            else:
                new.update(zip(node.outputs, b.copy(node, [new[v] for v in node.inputs]).outputs))
        return b.graph([_own_memory(b, new[v]) for v in graph.outputs], graph.aliases, graph.output_names)


def _own_memory(b: Builder, value: Value) -> Value:
    """The value with memory of its own, as a graph's outputs have."""
    return b.emit(OPS["copy"], value) if value.node is None or value.node.op.is_view else value


@dataclass(frozen=True, eq=False)
class _Loop:
    """A loop and that of its derivative, in `segments` of `steps`.

    `dropped` are ys of the first that are recomputed, by the body `recompute`, from the values `given` of the loop's
    own body, which are kept; those of `late` are read behind the second loop too.
    """

    forward: Node
    backward: Node
    dropped: Sequence[Value]
    late: Sequence[Value]
    recompute: Graph
    given: Sequence[Value]
    steps: int
    segments: int

    @property
    def body(self) -> Graph:
        return self.forward.attrs["body"]

    @property
    def kept(self) -> list[Value]:
        """The stacked results that stay."""
        return [v for v in Scan(self.forward).ys if v not in self.dropped]

    def step_of(self, stacks: Sequence[Value]) -> list[Value]:
        """What a step makes for these results of the loop."""
        return [self.body.outputs[v.index] for v in stacks]

    @property
    def extra(self) -> list[Value]:
        """What is given and no result of the loop without segments."""
        there = self.step_of(self.kept)
        return [v for v in self.given if v not in there]


# ---- which loops


def _loops(graph: Graph, way: CheckpointScans) -> list[_Loop]:
    """The loops that are worth cutting, in order."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    users, end = graph.users(), set(graph.outputs)
    found: list[_Loop] = []
    for node in graph.nodes:
        backward = _derivative(node, users, place)
        if backward is None:
            continue
        stacks = [v for v in Scan(node).ys if v not in end]
        dropped = [v for v in stacks if all(place[user] >= place[backward] for user in users[v])]
        late = [v for v in dropped if users[v] != [backward]]
        loop = _in_segments(node, backward, dropped, late, way)
        if loop is not None:
            found.append(loop)
    return found


def _derivative(node: Node, users: Mapping[Value, Sequence[Node]], place: Mapping[Node, int]) -> Node | None:
    """The loop that goes through the steps of a loop of the forward in the other order, and reads what they leave."""
    if not node.op.is_scan or node.origin.role != "forward":
        return None
    scan = Scan(node)
    if not scan.carries or scan.length < _SHORTEST:
        return None
    if any(n.op.recompute is Recompute.NEVER for n in all_nodes(scan.body)):
        return None
    # Loops that read what this one gives as their own sequences run backwards before it does.
    for reader in sorted({reader for v in scan.ys for reader in users[v]}, key=place.__getitem__, reverse=True):
        if reader.op.is_scan and reader.origin.role == "backward":
            other = Scan(reader)
            mirrored = (other.length, not other.reverse) == (scan.length, scan.reverse)
            return reader if mirrored and set(scan.ys).isdisjoint((*other.consts, *other.carries)) else None
    return None


def _in_segments(
    node: Node, backward: Node, dropped: Sequence[Value], late: Sequence[Value], way: CheckpointScans
) -> _Loop | None:
    """The loop in segments of the best length; None where these hold about as much."""
    scan = Scan(node)
    body, carries, length = scan.body, scan.carry_count, scan.length
    given: list[Value] = []
    recompute = body
    if way.products:
        wanted = [*range(carries), *(v.index for v in dropped)]
        recompute, given = _without_products(node, wanted)
        dropped = [v for v in dropped if body.outputs[v.index] not in given]
        inner = [n for n in recompute.nodes if set(given).isdisjoint(n.outputs)]
        needed = live_nodes(inner, recompute.outputs[:carries])
        if any(n.op.is_contraction for n in needed):
            return None
    start = sum(v.type.nbytes for v in scan.new_carries)
    step = sum(body.outputs[v.index].type.nbytes for v in dropped)
    cut = round(way.share * length)
    steps = _best_steps(cut, start, step)
    loop = _Loop(node, backward, dropped, [v for v in late if v in dropped], recompute, given, steps, cut // steps)
    held = _held(cut, start, step, steps) + step * (length - cut)
    held += length * sum(v.type.nbytes for v in loop.extra)
    return loop if held < _WORTH_CUTTING * step * length else None


def _has_products(node: Node) -> bool:
    """Whether a node takes long: with `products` none of these runs twice."""
    return node.op.is_contraction or node.op.is_scan


def _behind_products(node: Node, wanted: Sequence[Value]) -> list[Value]:
    """The values of a body of the fewest bytes from which, and from what is there anyway, the `wanted` ones are made
    without a product.
    """
    scan = Scan(node)
    computed = {v for v, outside in zip(scan.body_xs, scan.xs) if outside.node is not None}
    same = scan.invariants()

    def can_recompute(value: Value) -> bool:
        return value.node is not None and not _has_products(value.node) and len(value.node.outputs) == 1

    def weight(value: Value) -> int:
        return value.type.nbytes if value in computed or (value.node is not None and value not in same) else 0

    cut = fewest_bytes(wanted, can_recompute, weight) - same
    return [v for n in scan.body.nodes for v in n.outputs if v in cut]


def _without_products(node: Node, wanted: Sequence[int]) -> tuple[Graph, list[Value]]:
    """A body for a loop that makes the `wanted` outputs without a product, where it is given the values of the loop's
    own body that are returned too. In its place a loop within, whose products are those that count, is one that is
    given stacks of that loop.
    """
    body: Graph = node.attrs["body"]
    if all(not n.op.is_scan for n in body.nodes):
        return body, _behind_products(node, [body.outputs[i] for i in wanted])
    b = Builder()
    new: dict[Value, Value] = {}
    given: list[Value] = []
    for inner in body.nodes:
        b.nodes.append(inner)
        b.origin = inner.origin
        inputs = [new.get(v, v) for v in inner.inputs]
        if inner.op.is_scan:
            new.update(_given_stacks(b, inner, inputs, given))
        elif inputs != list(inner.inputs):
            new.update(zip(inner.outputs, b.copy(inner, inputs).outputs))
    return Graph(body.inputs, b.nodes, [new.get(v, v) for v in body.outputs]), given


def _given_stacks(b: Builder, node: Node, inputs: Sequence[Value], given: list[Value]) -> dict[Value, Value]:
    """A loop without products in the place of a loop, from stacks of it that are entered in `given`: what stands for
    its other outputs. None of them where something else than a stack is behind its products.
    """
    scan = Scan(node, inputs)
    body = scan.body
    stacks = dict(zip(scan.step_ys, scan.ys))
    behind = _behind_products(node, body.outputs)
    if any(v not in stacks for v in behind):
        return {}
    others = [i for i, v in enumerate(body.outputs) if i < scan.carry_count or v not in behind]
    step, numbers = _step(scan, body, [body.outputs[i] for i in others], behind)
    sequences = [*(scan.xs[i] for i in numbers), *(stacks[v] for v in behind)]
    made = _scan(b, step, scan.consts, scan.carries, sequences, scan.reverse, scan.length)
    given += (stacks[v] for v in behind)
    return dict(zip((node.outputs[i] for i in others), made))


def _held(length: int, start: int, step: int, steps: int) -> int:
    """Bytes of what all segments begin with, of the steps of one, and of those that are left over."""
    return start * (length // steps) + step * (steps + length % steps)


def _best_steps(length: int, start: int, step: int) -> int:
    """Steps of a segment for the fewest bytes, about a square root; so many that none is left over if that is about as
    good.
    """

    def held(steps: int) -> int:
        return _held(length, start, step, steps)

    best = min(range(1, length), key=held)
    even = min((k for k in range(2, length) if length % k == 0), key=held, default=best)
    return even if best > 1 and held(even) <= _LEFT_OVER * held(best) else best


# ---- the loops over segments


@dataclass(frozen=True)
class _Pieces:
    """`length` steps as `segments` of `steps` each, and `rest` steps that are left over: those that run last."""

    length: int
    segments: int
    steps: int
    reverse: bool

    @property
    def rest(self) -> int:
        return self.length - self.segments * self.steps

    def cut(self, b: Builder, x: Value) -> Value:
        """(length, ...) as (segments, steps, ...)."""
        first = self.rest if self.reverse else 0
        part = _slice(b, x, first, first + self.segments * self.steps)
        return b.emit(OPS["reshape"], part, shape=(self.segments, self.steps, *x.type.shape[1:]))

    def left(self, b: Builder, x: Value) -> Value:
        """The steps that are left over."""
        first = 0 if self.reverse else self.length - self.rest
        return _slice(b, x, first, first + self.rest)

    def joined(self, b: Builder, x: Value, left: Value | None) -> Value:
        """(segments, steps, ...) and what is left over as (length, ...)."""
        whole = b.emit(OPS["reshape"], x, shape=(self.segments * self.steps, *x.type.shape[2:]))
        if left is None:
            return whole
        return b.emit(OPS["concatenate"], *((left, whole) if self.reverse else (whole, left)), axis=0)


def _slice(b: Builder, x: Value, first: int, last: int) -> Value:
    if last - first == x.type.shape[0]:
        return x
    return b.emit(OPS["slice"], x, **slice_along(x.type.shape, 0, first, last))


@dataclass(frozen=True)
class _Kept:
    """What the forward in segments leaves for the backward: what segments begin with, what is kept in the place of
    other values, in segments, and the results of the steps that are left over.
    """

    starts: Sequence[Value]
    extra: Mapping[Value, Value]
    left: Mapping[Value, Value]


def _scan(
    b: Builder,
    body: Graph,
    consts: Sequence[Value],
    carries: Sequence[Value],
    xs: Sequence[Value],
    reverse: bool,
    n: int,
) -> Sequence[Value]:
    """The outputs of a loop of `n` steps; a single one needs none."""
    if n == 1:
        return emit_only_step(b, body, consts, carries, xs)
    body = Graph(body.inputs, body.nodes, body.outputs, carried_in_place(len(consts), len(carries)))
    return emit_scan(b, body, consts, carries, xs, n, reverse).outputs


def _inputs(b: Builder, *groups: Sequence[Value]) -> list[list[Value]]:
    """Inputs of a body for these consts and carries, and for a step of the last group, the sequences."""
    whole = [[b.input(v.type, v.name) for v in group] for group in groups[:-1]]
    return [*whole, [b.input(step_type(v), v.name) for v in groups[-1]]]


def _step(scan: Scan, body: Graph, results: Sequence[Value], given: Sequence[Value] = ()) -> tuple[Graph, list[int]]:
    """The part of the `body` of a loop that makes `results`, from its consts, its carries, some of its sequences, whose
    numbers are returned too, and what is `given` as sequences behind these.
    """
    consts, carries, xs = scan.split(body.inputs)
    nodes = live_nodes([n for n in body.nodes if set(given).isdisjoint(n.outputs)], results)
    read = {v for n in nodes for v in n.inputs}
    numbers = [i for i, x in enumerate(xs) if x in read]
    b = Builder(scan.node.origin)
    inputs = [*consts, *carries, *(xs[i] for i in numbers), *given]
    made = b.inline(Graph(inputs, nodes, results), [b.input(v.type, v.name) for v in inputs])
    return b.graph([_own_memory(b, v) for v in made]), numbers


def _forward(b: Builder, loop: _Loop, new: dict[Value, Value]) -> _Kept:
    """The loop over segments in the place of the first loop."""
    node = loop.forward
    scan = Scan(node, [new[v] for v in node.inputs])
    reverse, count, kept = scan.reverse, scan.carry_count, loop.kept
    consts, carries, xs = scan.consts, scan.carries, scan.xs
    pieces = _Pieces(scan.length, loop.segments, loop.steps, reverse)
    step, numbers = _step(scan, loop.body, [*loop.body.outputs[:count], *loop.step_of(kept), *loop.extra])
    cut = [pieces.cut(b, xs[i]) for i in numbers]
    inside = Builder(b.origin)
    same, begin, slices = _inputs(inside, consts, carries, cut)
    starts = [inside.emit(OPS["copy"], v) for v in begin]
    made = _scan(inside, step, same, begin, slices, reverse, loop.steps)
    main = _scan(b, inside.graph([*made, *starts]), consts, carries, cut, reverse, pieces.segments)
    last, stacks = main[:count], main[count : len(made)]
    left: dict[Value, Value] = {}
    if pieces.rest:
        rest = _scan(b, loop.body, consts, last, [pieces.left(b, v) for v in xs], reverse, pieces.rest)
        last, left = rest[:count], dict(zip(scan.ys, rest[count:]))
    new.update(zip(node.outputs, last))
    new.update((v, pieces.joined(b, stack, left.get(v))) for v, stack in zip(kept, stacks))
    return _Kept(main[len(made) :], dict(zip(loop.extra, stacks[len(kept) :])), left)


def _backward(b: Builder, loop: _Loop, kept: _Kept, new: dict[Value, Value]) -> None:
    """The loop over segments in the place of the backward loop: each recomputes its steps, and then runs backwards."""
    forward, node = loop.forward, loop.backward
    first = Scan(forward, [new.get(v, v) for v in forward.inputs])
    reverse, count = first.reverse, first.carry_count
    pieces = _Pieces(first.length, loop.segments, loop.steps, reverse)
    body, xs = loop.backward.attrs["body"], Scan(node).xs
    consts, carries = ([new[v] for v in part] for part in (Scan(node).consts, Scan(node).carries))
    left: Sequence[Value | None] = [None] * len(node.outputs)
    if pieces.rest:
        steps = [kept.left[v] if v in kept.left else pieces.left(b, new[v]) for v in xs]
        left = rest = _scan(b, body, consts, carries, steps, not reverse, pieces.rest)
        carries = rest[: len(carries)]
    recomputed = [loop.recompute.outputs[i] for i in (*range(count), *(v.index for v in loop.dropped))]
    step, numbers = _step(first, loop.recompute, recomputed, loop.given)
    stacked = dict(zip(loop.step_of(loop.kept), loop.kept))
    read = [v for v in dict.fromkeys(xs) if v not in loop.dropped]
    # What both loops read comes in once: only so are random numbers that both draw known to be the same.
    same = list(dict.fromkeys((*consts, *first.consts)))
    cut = {new[v]: pieces.cut(b, new[v]) for v in read}
    cut.update((first.xs[i], pieces.cut(b, first.xs[i])) for i in numbers if first.xs[i] not in cut)
    given = [v if (v := kept.extra.get(g)) is not None else pieces.cut(b, new[stacked[g]]) for g in loop.given]
    inside = Builder(b.origin)
    sequences = [*cut.values(), *given, *kept.starts]
    inner_same, begin, slices = _inputs(inside, same, carries, sequences)
    const = dict(zip(same, inner_same))
    part = dict(zip(cut, slices))
    here = {v: part[new[v]] for v in read}
    again_xs = [*(part[first.xs[i]] for i in numbers), *slices[len(cut) : len(slices) - count]]
    with inside.at(forward.origin.with_role("recompute")):
        first_same = [const[v] for v in first.consts]
        recomputed_ys = _scan(inside, step, first_same, slices[len(slices) - count :], again_xs, reverse, loop.steps)
    here.update(zip(loop.dropped, recomputed_ys[count:]))
    made = _scan(inside, body, [const[v] for v in consts], begin, [here[v] for v in xs], not reverse, loop.steps)
    results = inside.graph([*made, *(here[v] for v in loop.late)])
    main = _scan(b, results, same, carries, sequences, not reverse, pieces.segments)
    new.update(zip(node.outputs, main[: len(carries)]))
    for i in range(len(carries), len(made)):
        new[node.outputs[i]] = pieces.joined(b, main[i], left[i])
    new.update((v, pieces.joined(b, stack, kept.left.get(v))) for v, stack in zip(loop.late, main[len(made) :]))
