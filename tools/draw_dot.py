"""A drawing in the language of graphviz."""

from __future__ import annotations

import math
import textwrap
from html import escape

import graphviz

from ..engine.report.wording import human, human_flops
from ..ir.printable import printable, printable_lines
from .draw_boxes import Box, Drawing

ROLE_COLOURS = {
    "forward": ("#dbe9f6", "#3c6e9f"),
    "recompute": ("#ecdff5", "#8351a8"),
    "backward": ("#fbe6cc", "#b3722a"),
    "optimizer": ("#dcefdc", "#4c8a4f"),
}
"""Fill and line of each role."""

_ROLE_WORDS = {"forward": "forward", "backward": "backward", "recompute": "recomputed", "optimizer": "update"}
_SHAPE_WORDS = {"region": "square corners: one fused loop", "scan": "double: a loop", "beyond": "dashed: neighbours"}

_PARTS = ("forward", "recompute", "backward", "optimizer")
_FONT = "Helvetica,Arial,sans-serif"
_WIDEST = 28
"""Letters in a line of a title."""
_KEPT = "#2c5f8a"
_FLOW = "#8a8f98"
_CRITICAL = "#c2352b"


def dot_source(drawing: Drawing, title: str = "") -> str:
    """The text of a .dot file: modules as clusters, roles as colours, lines as wide as their bytes.

    The forward goes down, and the backward up beside it: so both parts of a module are one cluster of little height,
    and what is kept goes across.
    """
    graph = graphviz.Digraph("step", strict=True)
    graph.attr(rankdir="TB", ranksep="0.35", nodesep="0.18", fontname=_FONT, fontsize="11")
    if drawing.apart:
        # All are put in rows together: the rows of a module by itself know nothing of what is called between its parts.
        graph.attr(newrank="true")
    graph.attr(label=_legend(drawing, title), labelloc="t", fontcolor="#333333")
    graph.attr(
        "node", fontname=_FONT, fontsize="10", shape="box", style="filled,rounded", margin="0.09,0.04", height="0.2"
    )
    graph.attr("edge", color=_FLOW, arrowsize="0.5", fontname=_FONT, fontsize="8", fontcolor="#777777")
    _add_modules(graph, drawing, "", list(range(len(drawing.boxes))))
    lines: dict[tuple[int, int], dict[str, int]] = {}
    for (a, b), nbytes in drawing.edges.items():
        down = _height(drawing.boxes[a]) < _height(drawing.boxes[b])
        lines.setdefault((a, b) if down else (b, a), {})["forward" if down else "back"] = nbytes
    largest = max((sum(line.values()) for line in lines.values()), default=1)
    for (upper, lower), line in lines.items():
        nbytes, of, to = sum(line.values()), drawing.boxes[upper].role, drawing.boxes[lower].role
        width = 0.5 + 3.5 * math.sqrt(nbytes / max(largest, 1))
        look = {"penwidth": f"{width:.2f}", "tooltip": human(nbytes), "minlen": "1" if of == to else "0"}
        look["dir"] = "both" if len(line) == 2 else next(iter(line))
        if of == "forward" and to in ("backward", "recompute"):
            look["color"] = _KEPT
        graph.edge(f"n{upper}", f"n{lower}", **look)
    return graph.source


def _height(box: Box) -> tuple[int, float]:
    """An order from above to below: down the left of a U and up its right. Lines that all go down in it make no rings,
    as those between modules may: graphviz would take long over them, and cut them anywhere.
    """
    return _PARTS.index(box.role), -box.place if box.role == "backward" else box.place


def _legend(drawing: Drawing, title: str) -> str:
    """A table in graphviz's HTML: the title, a field of each colour that is there, and what lines and corners mean."""
    used = {box.role for box in drawing.boxes}
    fields = "".join(
        f'<td border="1" style="rounded" bgcolor="{ROLE_COLOURS[role][0]}" color="{ROLE_COLOURS[role][1]}">{word}</td>'
        for role, word in _ROLE_WORDS.items()
        if role in used
    )
    shapes = {box.shape for box in drawing.boxes}
    words = ["lines as wide as their bytes", f'<font color="{_KEPT}"><b>kept for the backward</b></font>']
    words += [word for shape, word in _SHAPE_WORDS.items() if shape in shapes]
    if any(box.critical for box in drawing.boxes):
        words.append(f'<font color="{_CRITICAL}"><b>framed: the critical path</b></font>')
    row = '<tr><td><font point-size="{size}">{words}</font></td></tr>'
    return (
        '<<table border="0" cellspacing="3">'
        + (row.format(size=13, words=f"<b>{escape(printable(title))}</b>") if title else "")
        + f'<tr><td><table border="0" cellspacing="4" cellpadding="3"><tr>{fields}</tr></table></td></tr>'
        + row.format(size=10, words=" · ".join(words))
        + "</table>>"
    )


def _add_modules(graph: graphviz.Digraph, drawing: Drawing, path: str, members: list[int]) -> None:
    """The boxes of a module, and the modules in it as clusters of their own."""
    inner: dict[str, list[int]] = {}
    prefix = f"{path}." if path else ""
    for i in members:
        box = drawing.boxes[i]
        rest = box.scope.removeprefix(prefix) if box.scope != path else ""
        # A module that is one box is named by the box; no cluster is drawn around it alone.
        own = not rest or (box.shape in ("module", "beyond") and "." not in rest)
        if own:
            _add_box(graph, i, box)
        else:
            inner.setdefault(rest.partition(".")[0], []).append(i)
    for name, boxes in inner.items():
        # Numbered: a name may hold what graphviz takes for its own.
        cluster = graphviz.Digraph(f"cluster_{boxes[0]}_{prefix.count('.')}")
        cluster.attr(label=_text(name), labeljust="l", fontcolor="#555555", fontsize="11")
        cluster.attr(color="#c9c9c2", style="rounded")
        _add_modules(cluster, drawing, prefix + name, boxes)
        graph.subgraph(cluster)


def _add_box(graph: graphviz.Digraph, i: int, box: Box) -> None:
    fill, line = ROLE_COLOURS.get(box.role, ROLE_COLOURS["forward"])
    style = {"region": "filled", "scan": "filled", "beyond": "filled,rounded,dashed"}.get(box.shape, "filled,rounded")
    look = {"peripheries": "2"} if box.shape == "scan" else {}
    if box.shape == "beyond":
        fill = "#ffffff"
    width = "1.4" if box.shape in ("region", "scan") else "0.8"
    if box.critical:
        line, width = _CRITICAL, "2.2"
    label = "\n".join([textwrap.fill(printable(box.title), _WIDEST, break_long_words=False), *box.lines])
    about = f"{box.scope or 'outside the layers'}: {box.role}, {human_flops(box.flops)}"
    if box.source:
        about += f", {box.source}"
    graph.node(
        f"n{i}",
        _text(label),
        fillcolor=fill,
        color=line,
        style=style,
        penwidth=width,
        tooltip=_text(about),
        **look,
    )


def _text(text: str) -> str:
    """A text for graphviz as it stands: neither its escapes, nor its HTML, nor control characters."""
    return graphviz.nohtml(graphviz.escape(printable_lines(text)).replace("\n", "\\n"))
