"""Attention tiling: scores, which are far wider than what they are made of, are computed some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Graph, Node, Recompute, Value, is_float
from ...ir.ops import contraction, movement
from ..graph.rewrite import Pass
from ..target import DEFAULT_TARGET, Target
from .tile_size import cached_rows
from .tiled_axis import Axis, Untileable, all_operands, follow
from .tiled_loop import RowLoop, with_loops

_WIDER = 2.0
"""A product is wide that has this many times the elements of its operands together."""
_STEPS = 12
"""Nodes that may stand between one wide value and the next: the largest score of a row, subtracted from the row."""


@dataclass(frozen=True)
class TileAttention(Pass):
    """s = q @ k^T; p = softmax(s); o = p @ v -> scan over tiles of rows of q: s, p and o of these rows

    The loop takes in products that are far wider than their operands, the element-wise nodes and reductions along rows
    between them, and the products and sums in which they end. There is one loop for the forward and one for the
    backward. The forward's results are narrow: attention's output, the largest score and the sum of each row. The
    backward recomputes the wide values of a tile from these. Its sums over rows, the gradients of keys and values, are
    carries. The shapes alone say where: any model with such products gets the loop.

    Known elsewhere as memory-efficient attention (Rabe and Staats 2021, "Self-attention does not need O(n^2) memory")
    or flash attention (Dao et al. 2022, "FlashAttention"), there as an operation of its own.
    """

    of_cpus = True

    target: Target = DEFAULT_TARGET

    def __call__(self, graph: Graph) -> Graph:
        seeds = [node for node in graph.nodes if _is_wide_product(node, self.target)]
        if not seeds:
            return graph
        users = graph.users()
        nothing = _from_nothing(graph)
        loops: list[RowLoop] = []
        taken: set[Node] = set()
        for seed in seeds:
            if seed not in taken:
                found = _loops_around(graph, seed, users, nothing, self.target)
                if found and taken.isdisjoint(n for loop in found for n in loop.nodes):
                    loops += found
                    taken.update(n for loop in found for n in loop.nodes)
        return with_loops(graph, loops) if loops else graph


def _is_wide_product(node: Node, target: Target) -> bool:
    if node.op is not contraction.dot or not is_float(node.output.type.dtype):
        return False
    if node.output.type.nbytes < target.l2_bytes // 2:
        return False  # it stays in the cache as it is
    free = node.output.type.ndim - len(node.attrs["batch"][0])
    narrow = sum(v.type.size for v in node.inputs)
    return free == 2 and narrow > 0 and node.output.type.size >= _WIDER * narrow


def _loops_around(
    graph: Graph, seed: Node, users: dict[Value, list[Node]], nothing: set[Value], target: Target
) -> list[RowLoop]:
    """The loops for the wide values that hang together with `seed`, or none where they cannot run tile by tile."""
    shape = seed.output.type.shape
    for axis in (len(shape) - 2, len(shape) - 1):
        try:
            return _tiled_along(graph, seed, axis, users, nothing, target)
        except Untileable:
            continue
    return []


def _tiled_along(
    graph: Graph, seed: Node, axis: int, users: dict[Value, list[Node]], nothing: set[Value], target: Target
) -> list[RowLoop]:
    shape = seed.output.type.shape
    length = shape[axis]
    tile = cached_rows(length, seed.output.type.nbytes, target)
    if tile == 0:
        raise Untileable
    wide = _connected(seed, users, nothing, target)
    axes: dict[Value, Axis] = {seed.output: Axis(axis, 1)}
    for node in wide:
        axes.update((v, Axis(axis, 1)) for v in node.outputs if v.type.shape == shape)
    if any(v not in axes for node in wide for v in node.outputs):
        raise Untileable
    rank = {node: i for i, node in enumerate(graph.nodes)}
    members = sorted(wide | _between(wide), key=rank.__getitem__)
    size = seed.output.type.size
    forward, backward = (RowLoop(length, tile, size, axes, nothing.__contains__) for _ in range(2))
    late: set[Value] = set()
    for node in members:
        loop = forward if node.origin.role == "forward" else backward
        _enter(loop, node, axes, late, length)
    # Whoever reads a wide value must run in a loop too, or the value would be stored for it.
    stack = [v for node in members for v in node.outputs if v.type.size >= size]
    while stack:
        for node in users[stack.pop()]:
            loop = forward if node.origin.role == "forward" else backward
            if node not in loop.nodes:
                _enter(loop, node, axes, late, length)
                stack += [v for v in node.outputs if v.type.size >= size]
    # No tile could begin before the sums over all rows are whole, and what is wide must not leave: it would be stored.
    outputs = set(graph.outputs)
    for node in (*forward.nodes, *backward.nodes):
        if not late.isdisjoint(node.inputs) or any(v in outputs and v.type.size >= size for v in node.outputs):
            raise Untileable
    for loop in (forward, backward):
        loop.nodes = dict.fromkeys(sorted(loop.nodes, key=rank.__getitem__))
    if any(node.op.recompute is Recompute.NEVER for node in forward.nodes):
        raise Untileable
    backward.recomputed = dict.fromkeys(sorted(_needed(backward, forward), key=rank.__getitem__))
    return [loop for loop in (forward, backward) if loop.nodes]


def _connected(seed: Node, users: dict[Value, list[Node]], nothing: set[Value], target: Target) -> set[Node]:
    """The nodes with outputs of the seed's shape that hang together with it element by element: products, what is
    computed of them, and what is repeated along their rows for it. What is made of `nothing` is made anew instead.
    """
    shape = seed.output.type.shape
    found = {seed}
    stack = [seed]

    def joins(node: Node) -> bool:
        kind = node.op.is_elementwise or _is_wide_product(node, target) or node.op is movement.broadcast
        return kind and node not in found and node.outputs[0].type.shape == shape and node.outputs[0] not in nothing

    while stack:
        node = stack.pop()
        repeated = node.op is movement.broadcast
        near = [] if repeated else [reader for reader in users[node.outputs[0]] if reader.op is not contraction.dot]
        if node.op.is_elementwise:
            near += [v.node for v in node.inputs if v.node is not None and v.type.shape == shape]
        for other in near:
            if joins(other):
                found.add(other)
                stack.append(other)
    return {node for node in found if node.op is not movement.broadcast or _leads_from(node, found)}


def _leads_from(repeated: Node, wide: set[Node]) -> bool:
    """Whether what `repeated` repeats is computed of wide values."""
    return bool(_way_back(repeated, wide))


def _between(wide: set[Node]) -> set[Node]:
    """Nodes on short ways from wide values, along their rows, to wide values."""
    return {other for node in wide if node.op is movement.broadcast for other in _way_back(node, wide)}


def _way_back(repeated: Node, wide: set[Node]) -> set[Node]:
    """The nodes on short ways from wide values to `repeated`."""
    near: list[Node] = []
    stack = [v.node for v in repeated.inputs if v.node is not None]
    while stack and len(near) < _STEPS:
        source = stack.pop()
        if source in near or source in wide or source.op.family not in ("elementwise", "movement", "reduction"):
            continue
        near.append(source)
        stack += [v.node for v in source.inputs if v.node is not None]
    return _leading_on(near, {v for node in wide for v in node.outputs})


def _leading_on(way: list[Node], wide_values: set[Value]) -> set[Node]:
    """Of the nodes of a way, those that depend on wide values."""
    depending = set(wide_values)
    found: set[Node] = set()
    changed = True
    while changed:
        changed = False
        for node in way:
            if node not in found and not depending.isdisjoint(node.inputs):
                found.add(node)
                depending.update(node.outputs)
                changed = True
    return found


def _enter(loop: RowLoop, node: Node, axes: dict[Value, Axis], late: set[Value], length: int) -> None:
    """Make `node` one of the loop. A sum over all rows is `late`: no node of the loop may need it."""
    loop.nodes[node] = None
    if node.outputs[0] in axes and all(v in axes for v in node.outputs):
        _check(node, axes, length)
        return
    known = {v: axes[v] for v in node.inputs if v in axes}
    if not known:
        raise Untileable
    if node.op is contraction.dot:
        known = all_operands(node, known)
    place = follow(node, known, length)
    if place is None:
        late.update(node.outputs)
    else:
        axes.update((v, place) for v in node.outputs)


def _check(node: Node, axes: dict[Value, Axis], length: int) -> None:
    """That a tile of a wide value needs but tiles of the wide values that it is computed of."""
    known = {v: axes[v] for v in node.inputs if v in axes}
    if known and node.op is not contraction.dot and follow(node, known, length) != axes[node.outputs[0]]:
        raise Untileable


def _needed(backward: RowLoop, forward: RowLoop) -> set[Node]:
    """Nodes of the forward's loop whose wide values the backward's reads, and those that they are computed of."""
    found: set[Node] = set()
    stack = [v.node for node in backward.nodes for v in node.inputs]
    while stack:
        node = stack.pop()
        if node is None or node in found or node not in forward.nodes or node.outputs[0].type.size < forward.size:
            continue
        found.add(node)
        stack += [v.node for v in node.inputs]
    return found


def _from_nothing(graph: Graph) -> set[Value]:
    """Values that are made of no input: masks of positions."""
    found: set[Value] = set()
    for node in graph.nodes:
        made = node.op.is_elementwise or node.op.family == "movement" or node.op.is_generated
        if made and all(v in found for v in node.inputs):
            found.update(node.outputs)
    return found
