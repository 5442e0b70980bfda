"""The graph as a U in SVG, without graphviz: forward down the left, backward up the right, kept values between."""

from __future__ import annotations

import html
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from unicodedata import east_asian_width

from ..engine.report.layers import middle
from ..engine.report.wording import human, human_flops
from ..ir import Graph, Node, Value, node_flops
from ..ir.printable import printable
from .draw_bounds import NO_BOUNDS, Bounds
from .draw_boxes import Opened
from .draw_scopes import cut_scopes, widths

MOST_ROWS = 40
"""More layers than these are collapsed, unless a depth is asked for."""

_WIDTH, _ROW, _TOP, _FOOT = 860, 30, 96, 92
_LABELS, _LEFT, _RIGHT, _UPDATE = 34, 290, 640, 790
_BOX = 74
_MOST_NAME, _MOST_TITLE = 28, 84
_OUTSIDE = "outside the layers"
_LAST_HUE, _FIRST_HUE = 22, 262


def escape(text: str) -> str:
    """A text for SVG."""
    return html.escape(printable(text))


@dataclass
class _Row:
    """One layer: what it runs in each part of the step."""

    name: str
    place: float = 0.0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    flops: dict[str, int] = field(default_factory=dict[str, int])
    critical: set[str] = field(default_factory=set[str])
    """Roles of its nodes on the critical path."""
    peak: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes of its values without which the peak would be lower."""


@dataclass
class _Rung:
    """Bytes that go from the forward of one row to the backward of another."""

    start: int
    end: int
    nbytes: int = 0
    values: int = 0


def u_svg(
    graph: Graph, title: str, depth: int | None = None, only: str | None = None, bounds: Bounds = NO_BOUNDS
) -> str:
    """The text of an SVG file. `depth`, `only` and `bounds` as in `collapse`; rows are layers in the order of the
    forward.
    """
    opened = Opened(graph, only)
    nodes = opened.nodes
    if only is not None:
        nodes = [n for n in nodes if n.origin.scope == only or n.origin.scope.startswith(only + ".")]
        if not nodes:
            raise ValueError(only)
    rows, row_of = _rows(nodes, _names(nodes, depth), bounds)
    rungs, recomputed = _rungs(opened, row_of)
    return _svg(rows, rungs, recomputed, title, sum(r.nbytes for r in rungs))


def _names(nodes: list[Node], depth: int | None) -> dict[str, str]:
    """The row of each path of modules."""
    scopes = {n.origin.scope for n in nodes}
    if depth is not None:
        return cut_scopes(scopes, depth)
    deepest = max((s.count(".") + 1 for s in scopes), default=1)
    whole = (cut_scopes(scopes, d) for d in range(deepest, -1, -1))
    names = next(cut for cut in whole if len(set(cut.values())) <= MOST_ROWS)
    below = max((name.count(".") + 1 for name in names.values() if name), default=0) + 1
    folds = (cut_scopes(scopes, below, width) for width in widths(scopes, below))
    return next((cut for cut in folds if len(set(cut.values())) <= MOST_ROWS), names)


def _rows(nodes: list[Node], names: dict[str, str], bounds: Bounds) -> tuple[list[_Row], dict[Node, int]]:
    found: dict[str, _Row] = {}
    runs: dict[str, list[tuple[str, int]]] = {"backward": [], "forward": []}
    for node in nodes:
        name = names[node.origin.scope]
        row = found.setdefault(name, _Row(name or _OUTSIDE))
        role = node.origin.role
        row.counts[role] = row.counts.get(role, 0) + 1
        flops = node_flops(node)
        row.flops[role] = row.flops.get(role, 0) + flops
        row.peak[role] = row.peak.get(role, 0) + bounds.peak.get(node, 0)
        if node in bounds.critical:
            row.critical.add(role)
        if role != "optimizer":
            runs["forward" if role == "forward" else "backward"].append((name, flops))
    # What runs in the backward alone stands where its forward would be, and tables that are read as they are above all.
    for role, order in runs.items():
        places: dict[str, list[tuple[float, int]]] = {}
        for i, (name, flops) in enumerate(order if role == "forward" else reversed(order)):
            places.setdefault(name, []).append((i / len(order), flops))
        for name, shares in places.items():
            found[name].place = middle(shares) if name else 1.0
    ordered = sorted(found, key=lambda name: found[name].place)
    number = {name: i for i, name in enumerate(ordered)}
    return [found[name] for name in ordered], {n: number[names[n.origin.scope]] for n in nodes}


def _rungs(opened: Opened, row_of: dict[Node, int]) -> tuple[list[_Rung], list[_Rung]]:
    """Kept values, by their last readers; and rows that are recomputed, dashed."""
    last_reader: dict[Value, Node] = {}
    recomputed: dict[int, _Rung] = {}
    for node in (node for node in opened.nodes if node in row_of):
        if node.origin.role == "recompute":
            rung = recomputed.setdefault(row_of[node], _Rung(row_of[node], row_of[node]))
            rung.nbytes += sum(v.type.nbytes for v in node.outputs)
            rung.values += len(node.outputs)
        if node.origin.role not in ("backward", "recompute"):
            continue
        for value in map(opened.source, node.inputs):
            if value.node is not None and value.node in row_of and value.node.origin.role == "forward":
                last_reader[value] = node
    kept: dict[tuple[int, int], _Rung] = {}
    for value, reader in last_reader.items():
        assert value.node is not None
        ends = (row_of[value.node], row_of[reader])
        rung = kept.setdefault(ends, _Rung(*ends))
        rung.nbytes += value.type.nbytes
        rung.values += 1
    return sorted(kept.values(), key=lambda r: (r.start, r.end)), list(recomputed.values())


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """An sRGB colour of even lightness. Ottosson 2020, "A perceptual color space for image processing"."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    x = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    y = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    z = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
    linear = (
        4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
        -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
        -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z,
    )
    coded = (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in linear)
    return "#" + "".join(f"{round(255 * min(max(v, 0.0), 1.0)):02x}" for v in coded)


_STYLE = """
text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #23262b; }
.title { font-size: 17px; font-weight: 600; } .soft { fill: #6a6f78; } .on { fill: #1b1d20; font-size: 11px; }
.paper { fill: #fffefb; } .track { stroke: #efede6; fill: none; } .critical { stroke: #c2352b; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e7ea; } .soft { fill: #9ba1ac; } .on { fill: #1b1d20; }
  .paper { fill: #1c1f25; } .track { stroke: #2a2e36; }
}
""".strip()


def _svg(rows: list[_Row], rungs: list[_Rung], recomputed: list[_Rung], title: str, kept_bytes: int) -> str:
    height = _TOP + _ROW * len(rows) + _FOOT
    bottom = _TOP + _ROW * len(rows)
    ends = _ends(rungs)
    kept = f"{human(kept_bytes)} kept for the backward" if kept_bytes else "nothing is kept for the backward"
    kept += ", dashed: recomputed" if recomputed else ""
    kept += ", framed: the critical path" if any(row.critical for row in rows) else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="10"/>',
        f'<text class="title" x="{_LABELS}" y="36">{escape(_shortened(title, _MOST_TITLE))}</text>',
        f'<text class="soft" x="{_LABELS}" y="56">{kept}</text>',
        *(
            f'<text class="soft" x="{x}" y="{_TOP - 14}" text-anchor="middle">{word}</text>'
            for x, word in ((_LEFT, "forward"), (_RIGHT, "backward"), (_UPDATE, "update"))
        ),
        f'<path class="track" stroke-width="14" stroke-linecap="round" d="M{_LEFT},{_TOP} V{bottom} '
        f'q0,40 50,40 H{_RIGHT - 50} q50,0 50,-40 V{_TOP}"/>',
        f'<text class="soft" x="{(_LEFT + _RIGHT) / 2}" y="{bottom + 44}" text-anchor="middle">loss</text>',
    ]
    for rung in rungs:
        parts.append(_rung(rung, ends, _colour(rung.start, rows)))
    for rung in recomputed:
        y = _y(rung.start)
        about = f"{rows[rung.start].name}: {human(rung.nbytes)} recomputed"
        parts.append(
            f'<path d="M{_LEFT + _BOX / 2},{y} H{_RIGHT - _BOX / 2}" fill="none" stroke="{oklch(0.58, 0.16, 310)}" '
            f'stroke-width="1.6" stroke-dasharray="6 4"><title>{escape(about)}</title></path>'
        )
    for i, row in enumerate(rows):
        parts += _row(row, i, _colour(i, rows))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _shortened(text: str, most: int) -> str:
    """Its begin and its end, where it takes more than `most` columns; wide letters take two."""
    columns = [1 + (east_asian_width(letter) in "WF") for letter in text]
    if sum(columns) <= most:
        return text
    begin, end = (bisect_right([*accumulate(part)], (most - 1) // 2) for part in (columns, reversed(columns)))
    return f"{text[:begin]}…{text[len(text) - end :]}"


def _y(row: int) -> float:
    return _TOP + (row + 0.5) * _ROW


def _colour(row: int, rows: list[_Row]) -> str:
    if rows[row].name == _OUTSIDE:
        return oklch(0.74, 0.012, 90)
    hue = _FIRST_HUE - (_FIRST_HUE - _LAST_HUE) * row / max(len(rows) - 1, 1)
    return oklch(0.76 if row % 2 else 0.72, 0.105, hue)


def _ends(rungs: list[_Rung]) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Width of each rung, and by how much its ends are off the middle of their boxes: one beside the other."""
    sums: dict[tuple[str, int], int] = {}
    for rung in rungs:
        for side in (("start", rung.start), ("end", rung.end)):
            sums[side] = sums.get(side, 0) + rung.nbytes
    scale = 0.7 * _ROW / max(1, *sums.values()) if sums else 0.0
    used: dict[tuple[str, int], float] = {}
    result: dict[tuple[int, int], tuple[float, float, float]] = {}
    for rung in rungs:
        width = rung.nbytes * scale
        shifts: list[float] = []
        for side in (("start", rung.start), ("end", rung.end)):
            begin = used.get(side, -sums[side] * scale / 2)
            shifts.append(begin + width / 2)
            used[side] = begin + width
        result[rung.start, rung.end] = (max(width, 0.8), shifts[0], shifts[1])
    return result


def _rung(rung: _Rung, ends: dict[tuple[int, int], tuple[float, float, float]], colour: str) -> str:
    width, start, end = ends[rung.start, rung.end]
    x0, x1, y0, y1 = _LEFT + _BOX / 2, _RIGHT - _BOX / 2, _y(rung.start) + start, _y(rung.end) + end
    middle = (x0 + x1) / 2
    about = f"{human(rung.nbytes)} kept in {rung.values} value{'s' if rung.values != 1 else ''}"
    return (
        f'<path d="M{x0},{y0:.1f} C{middle},{y0:.1f} {middle},{y1:.1f} {x1},{y1:.1f}" fill="none" stroke="{colour}" '
        f'stroke-opacity="0.65" stroke-width="{width:.2f}"><title>{about}</title></path>'
    )


def _row(row: _Row, i: int, colour: str) -> Iterable[str]:
    y = _y(i)
    name = escape(_shortened(row.name, _MOST_NAME))
    yield f'<text x="{_LABELS}" y="{y + 4}">{name}<title>{escape(row.name)}</title></text>'
    parts = (
        (_LEFT, _BOX, ("forward",)),
        (_RIGHT, _BOX, ("recompute", "backward")),
        (_UPDATE, _BOX / 2, ("optimizer",)),
    )
    for x, width, roles in parts:
        count = sum(row.counts.get(role, 0) for role in roles)
        if not count:
            continue
        about = f"{row.name}: {count} in the {roles[-1]}, {human_flops(sum(row.flops.get(r, 0) for r in roles))}"
        if peak := sum(row.peak.get(role, 0) for role in roles):
            about += f", {human(peak)} at the peak"
        frame = ' class="critical"' if row.critical.intersection(roles) else ""
        yield (
            f'<rect{frame} x="{x - width / 2}" y="{y - 10}" width="{width}" height="20" rx="6" fill="{colour}">'
            f"<title>{escape(about)}</title></rect>"
        )
        yield f'<text class="on" x="{x}" y="{y + 4}" text-anchor="middle">{count}</text>'
