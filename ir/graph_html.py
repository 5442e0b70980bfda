"""A graph in a notebook: what it takes and gives, which ops it is made of, and its text."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from .graph import Graph
from .html import block, folded, paragraph, table

_MOST_OPS = 12
_MOST_VALUES = 12
_MOST_LINES = 400


def graph_html(graph: Graph) -> str:
    """The graph as HTML. Of a long text the first lines are there."""
    lines = str(graph).split("\n")
    text = "\n".join(lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        text += f"\n... and {len(lines) - _MOST_LINES} more lines: print(graph)"
    ops = Counter(node.op.name for node in graph.nodes)
    rows = [(name, str(count)) for name, count in ops.most_common(_MOST_OPS)]
    rest = len(ops) - len(rows)
    return block(
        f"Graph of {len(graph.nodes)} nodes",
        paragraph(f"inputs: {_listed([(f'%{v.name}', str(v.type)) for v in graph.inputs])}"),
        paragraph(f"outputs: {_listed([(n, str(v.type)) for n, v in zip(graph.output_names, graph.outputs)])}"),
        table(rows, ("op", "nodes"), {1}),
        paragraph(f"and {rest} more ops") if rest > 0 else "",
        folded("text", text),
    )


def _listed(values: list[tuple[str, str]]) -> str:
    shown = [f"{name}: {type}" if name else type for name, type in islice(values, _MOST_VALUES)]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
