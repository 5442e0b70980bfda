"""What `gradloom draw` draws: a graph, collapsed until it can be read, as boxes and what flows between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from ..engine.report.layers import middle
from ..engine.report.values import unit_name
from ..engine.report.wording import human, listed
from ..ir import Graph, Node, Value, node_flops
from .draw_bounds import NO_BOUNDS, Bounds
from .draw_scopes import cut_scope, cut_scopes, widths

MOST_BOXES = 90
"""More than these are put together, unless a depth is asked for."""

_MOST_WITH_BODIES = 60
_CALLS = 3
_APART = 1.25
"""Calls of one module are boxes of their own, unless these are too many and more than so many times the others."""
_MOST_NAMES = 2
_FILLS = frozenset({"full", "constant", "iota"})


@dataclass
class Box:
    """One or many nodes that are drawn as one. `lines` are what stands in the box below its title."""

    title: str
    scope: str
    role: str
    nodes: int = 0
    flops: int = 0
    lines: list[str] = field(default_factory=list[str])
    source: str = ""
    shape: str = "op"
    """`op`, `region`, `scan`, `line` (what one line makes), `module` (all of it), `beyond` (what is left out)."""
    names: dict[str, None] = field(default_factory=dict[str, None])
    """Of its nodes, each once."""
    place: float = 0.0
    """By which half of its operations are done, in nodes of the graph."""
    critical: bool = False
    """Whether a node of it is on the critical path."""
    peak: int = 0
    """Bytes of its values without which the peak would be lower."""


@dataclass
class Drawing:
    """Boxes in the order of the graph, and the bytes that flow from one to another. `apart` where calls of one module
    are boxes of their own.
    """

    boxes: list[Box]
    edges: Mapping[tuple[int, int], int]
    apart: bool = False


@dataclass(frozen=True)
class _Level:
    """How far a graph is collapsed: modules below `depth` are one box, named in `names`, and so is what one line of the
    user makes.
    """

    depth: int
    names: Mapping[str, str]
    by_line: bool = False
    bodies: bool = False


def collapse(
    graph: Graph,
    depth: int | None = None,
    only: str | None = None,
    most: int = MOST_BOXES,
    bounds: Bounds = NO_BOUNDS,
) -> Drawing:
    """The drawing of `graph`: modules collapsed below `depth`, by default as far as leaves at most `most` boxes. Boxes
    say what `bounds` says of their nodes.

    With `only` all but the modules of that path is left out, except what they read and what reads them. Views are
    drawn as what they look at; constants and arithmetic of lone numbers not at all. Raises `ValueError` where no node
    is in `only`.
    """
    opened = Opened(graph, only)
    if only is not None and not any(_within(node, only) for node in opened.nodes):
        raise ValueError(only)
    scopes = {node.origin.scope for node in opened.nodes}

    def level(depth: int, width: int = 1, by_line: bool = False, bodies: bool = False) -> _Level:
        return _Level(depth, cut_scopes(scopes, depth, width), by_line, bodies)

    if depth is not None:
        return _drawing(opened, level(depth), only, most, bounds)
    deepest = max(map(_depth, scopes), default=0) + 1
    bodies = level(deepest, bodies=True)
    if _count(opened, bodies, only) <= min(most, _MOST_WITH_BODIES):
        return _drawing(opened, bodies, only, most, bounds)
    levels = (level(d, by_line=by_line) for d in range(deepest, -1, -1) for by_line in (False, True))
    chosen = next((level for level in levels if _count(opened, level, only) <= most), level(0))
    below = chosen.depth + 1
    for width in widths(scopes, below):
        folded = level(below, width, by_line=True)
        if _count(opened, folded, only) <= most:
            chosen = folded
            break
    return _drawing(opened, chosen, only, most, bounds)


def _depth(scope: str) -> int:
    return scope.count(".") + 1 if scope else 0


def _within(node: Node, only: str) -> bool:
    return node.origin.scope == only or node.origin.scope.startswith(only + ".")


def _key(node: Node, level: _Level, only: str | None) -> tuple[object, ...]:
    """Nodes with the same key are one box."""
    origin = node.origin
    if only is not None and not _within(node, only):
        return ("beyond", cut_scope(origin.scope, _depth(only)), origin.role)
    if _depth(origin.scope) >= level.depth:
        return ("module", level.names[origin.scope], origin.role)
    if level.by_line:
        return ("line", origin.scope, origin.role, origin.source)
    return ("node", node)


class Opened:
    """The nodes of a graph that make arrays, those of loops among them: no views, no constants, no arithmetic of lone
    numbers.

    The loops that run the whole step tile by tile are opened, and those in `only`; any other is one node.
    """

    def __init__(self, graph: Graph, only: str | None = None) -> None:
        self._sources: dict[Value, Value] = {}
        self._only = only
        nodes = list(self._open(graph))
        drawn = [node for node in nodes if not _says_little(node)]
        self.nodes = [n for n in drawn if any(v.type.size > 1 for v in (*n.inputs, *n.outputs))] or drawn

    def _open(self, graph: Graph) -> Iterator[Node]:
        for node in graph.nodes:
            if node.op.is_scan and (not node.origin.scope or self._in_only(node)):
                body: Graph = node.attrs["body"]
                self._sources.update(zip(body.inputs, node.inputs))
                self._sources.update(zip(node.outputs, body.outputs))
                yield from self._open(body)
            else:
                yield node

    def _in_only(self, node: Node) -> bool:
        return self._only is not None and _within(node, self._only)

    def source(self, value: Value) -> Value:
        """The value that is looked at through views, and through the borders of opened loops."""
        while True:
            if value in self._sources:
                value = self._sources[value]
            elif value.node is not None and value.node.op.is_view:
                value = value.node.inputs[0]
            else:
                return value


def _says_little(node: Node) -> bool:
    """Whether a node only fills arrays, as sums begin with, or looks at others."""
    if node.op.is_region:
        return all(_says_little(inner) for inner in node.attrs["body"].nodes)
    return node.op.is_view or node.op.name in _FILLS


def _body(node: Node) -> Graph | None:
    body = node.attrs.get("body")
    return body if isinstance(body, Graph) else None


def _count(opened: Opened, level: _Level, only: str | None) -> int:
    if level.bodies:
        wanted = [node for node in opened.nodes if only is None or _within(node, only)]
        return sum(1 if (body := _body(node)) is None else len(body.nodes) for node in wanted)
    return len({key for node in opened.nodes if (key := _key(node, level, only))[0] != "beyond"})


def _grouped(opened: Opened, level: _Level, only: str | None, apart: bool) -> dict[Node, tuple[object, ...]]:
    """The key of the box of every node. If `apart`, nodes of one key are several boxes where other parts of the model
    lie on the way from one to the next, at least `_CALLS` of them: so a module that is called between others again and
    again, as the pooling of a U-Net is, makes no rings.
    """
    keys = {node: _key(node, level, only) for node in opened.nodes}
    if not apart:
        return keys
    calls: dict[tuple[object, ...], int] = {}
    bits: dict[tuple[object, ...], int] = {}
    of_part: dict[str, int] = {}
    box: dict[Node, tuple[object, ...]] = {}
    # Bits of the boxes on some way to a node: since it came to the part of the model that it is in, and before that.
    inside: dict[Node, int] = {}
    left: dict[Node, int] = {}
    for node, key in keys.items():
        read = [v.node for v in map(opened.source, node.inputs) if v.node is not None and v.node in box]
        part = cut_scope(node.origin.scope, min(level.depth, 1))
        passed = reduce(or_, (inside[maker] | bits[box[maker]] for maker in read), 0)
        before = reduce(or_, (left[maker] for maker in read), 0)
        if part:  # What is outside of all modules is between those of one part as well.
            before |= passed & ~of_part.get(part, 0)
            passed &= of_part.get(part, 0)
        if before & bits.get((key, calls.setdefault(key, 0)), 0):
            calls[key] += 1
        mine = (key, calls[key])
        bits.setdefault(mine, 1 << len(bits))
        of_part[part] = of_part.get(part, 0) | bits[mine]
        box[node], inside[node], left[node] = mine, passed, before
    return {node: box[node] if calls[key] + 1 >= _CALLS else key for node, key in keys.items()}


def _drawing(opened: Opened, level: _Level, only: str | None, most: int, bounds: Bounds) -> Drawing:
    made: dict[tuple[object, ...], int] = {}
    boxes: list[Box] = []
    box_of: dict[Node, int] = {}
    runs: list[list[tuple[float, int]]] = []
    grouped = _grouped(opened, level, only, apart=False)
    count, are_apart = len(set(grouped.values())), False
    if count <= most:
        apart = _grouped(opened, level, only, apart=True)
        if count < len(set(apart.values())) <= max(most, _APART * count):
            grouped, are_apart = apart, True
    for place, node in enumerate(opened.nodes):
        group = grouped[node]
        if group not in made:
            made[group] = len(boxes)
            boxes.append(_new_box(node, _key(node, level, only), level))
            runs.append([])
        box = boxes[made[group]]
        flops = node_flops(node)
        box.nodes += 1
        box.flops += flops
        box.critical |= node in bounds.critical
        box.peak += bounds.peak.get(node, 0)
        runs[made[group]].append((place, flops))
        box.names[unit_name(node)] = None
        box_of[node] = made[group]
    for box, places in zip(boxes, runs):
        box.place = middle(places)
        if box.shape == "line":
            box.title = listed(box.names, _MOST_NAMES)
        if box.shape in ("line", "module", "beyond"):
            box.lines = [f"{box.nodes} nodes" if box.nodes > 1 else "1 node"]
        if box.source and box.shape == "line":
            box.lines.append(box.source)
        if box.peak:
            box.lines.append(f"{human(box.peak)} at the peak")
    edges: dict[tuple[int, int], int] = {}
    # However many nodes of a box read a value, its bytes are there once.
    reads = ((opened.source(v), box_of[node]) for node in opened.nodes for v in node.inputs)
    for value, to in dict.fromkeys(reads):
        if value.node is None or value.node not in box_of or box_of[value.node] == to:
            continue
        pair = (box_of[value.node], to)
        edges[pair] = edges.get(pair, 0) + value.type.nbytes
    if only is None:
        return Drawing(boxes, edges, are_apart)
    return _touching(Drawing(boxes, edges, are_apart))


def _touching(drawing: Drawing) -> Drawing:
    """Without what lies beyond and does not touch what is drawn."""
    inside = {i for i, box in enumerate(drawing.boxes) if box.shape != "beyond"}
    edges = {pair: n for pair, n in drawing.edges.items() if pair[0] in inside or pair[1] in inside}
    kept = sorted(inside | {i for pair in edges for i in pair})
    number = {old: new for new, old in enumerate(kept)}
    edges = {(number[a], number[b]): n for (a, b), n in edges.items()}
    return Drawing([drawing.boxes[i] for i in kept], edges, drawing.apart)


def _new_box(node: Node, key: tuple[object, ...], level: _Level) -> Box:
    origin, kind = node.origin, key[0]
    if kind == "beyond":
        return Box(str(key[1]) or "outside the layers", str(key[1]), origin.role, shape="beyond")
    if kind == "module":
        title = str(key[1]).rpartition(".")[2] or ("the step" if level.depth == 0 else "outside the layers")
        return Box(title, str(key[1]), origin.role, shape="module")
    if kind == "line":
        return Box("", origin.scope, origin.role, source=origin.source, shape="line")
    shape = {"region": "region", "conv_region": "region", "scan": "scan"}.get(node.op.name, "op")
    box = Box(unit_name(node), origin.scope, origin.role, source=origin.source, shape=shape)
    body = _body(node)
    if body is not None and level.bodies:
        box.lines = _body_lines(body)
    box.lines += [str(value.type) for value in node.outputs[:3]]
    return box


_MOST_LINES = 14


def _body_lines(body: Graph) -> list[str]:
    names = [node.op.name for node in body.nodes if not _says_little(node)]
    # One after the other, as they run; the same ones in a row together.
    runs: list[list[object]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1][1] = int(str(runs[-1][1])) + 1
        else:
            runs.append([name, 1])
    lines = [f"{name} ×{count}" if count != 1 else str(name) for name, count in runs]
    return (
        lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], f"and {len(lines) - _MOST_LINES + 1} more"]
    )
