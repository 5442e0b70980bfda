"""Small pieces of HTML for notebooks: they stand by themselves, without scripts, on light pages and on dark ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from .printable import printable

_RULE = "border:0;border-top:1px solid rgba(128,128,128,.35)"
_CELL = "padding:2px 10px 2px 0;vertical-align:top;white-space:nowrap"
_COLORS = ("#4c8bd6", "#d9705f", "#4aa36f", "#b08a3c", "#9a74c9", "#5aa5a5")
"""Seen on white and on black."""


def block(title: str, *parts: str) -> str:
    """Pieces below a title."""
    head = f'<div style="font-weight:600;margin-bottom:4px">{_text(title)}</div>'
    style = "color:inherit;font-variant-numeric:tabular-nums;line-height:1.4;overflow-x:auto"
    return f'<div style="{style}">{head}{"".join(part for part in parts if part)}</div>'


def paragraph(text: str) -> str:
    """Text in lines of its own."""
    return f'<div style="margin:4px 0">{_text(text)}</div>'


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), right: Iterable[int] = ()) -> str:
    """Rows of texts below a head; the columns `right` stand to the right."""
    to_right = frozenset(right)
    lines: list[str] = []
    if head:
        lines.append(f"<tr>{''.join(_cell('th', text, i in to_right) for i, text in enumerate(head))}</tr>")
    for row in rows:
        lines.append(f"<tr>{''.join(_cell('td', text, i in to_right) for i, text in enumerate(row))}</tr>")
    style = "border-collapse:collapse;margin:4px 0;background:none;color:inherit"
    return f'<table style="{style}">{"".join(lines)}</table>'


def folded(title: str, text: str) -> str:
    """A text that opens where its title is pressed."""
    style = "white-space:pre;overflow:auto;max-height:32em;color:inherit;background:none;font-size:90%"
    summary = f'<summary style="cursor:pointer">{_text(title)}</summary>'
    return f'<details>{summary}<pre style="{style}">{_lines(text)}</pre></details>'


def preformatted(text: str) -> str:
    """A text in its own lines, in letters of one width."""
    return f'<pre style="color:inherit;background:none;margin:4px 0;overflow-x:auto">{_lines(text)}</pre>'


def line_chart(
    curves: Sequence[tuple[str, Sequence[float]]],
    filled: bool = False,
    title: str = "",
    shown: Callable[[float], str] = "{:.4g}".format,
    places: Sequence[str] = (),
) -> str:
    """Curves over their places as an SVG, each with its name, and the `places` with theirs, if they have any. The ends
    of the common range are `shown` as text. Where `filled`, it begins at 0, with an area below the first curve.

    What is not finite is left out.
    """
    width, height, left, top, right = 420, 110, 62, 16, 14 if places else 8
    finite = [value for _, values in curves for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(0.0, *finite) if filled else min(finite), max(finite)
    most = max(len(values) for _, values in curves)

    def across(i: int) -> float:
        return left + (width - left - right) * (i / (most - 1) if most > 1 else 0.5)

    def place(i: int, value: float) -> str:
        part = (value - low) / (high - low) if high > low else 0.5
        return f"{across(i):.1f},{height - 8 - (height - 8 - top) * part:.1f}"

    label = _text(title or ", ".join(name for name, _ in curves))
    whole = height + 12 * bool(places)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" '
        f'role="img" aria-label="{label}" style="max-width:100%;color:inherit" font-size="10" font-family="sans-serif">'
    ]
    for value, y in ((high, top + 3), (low, height - 5)):
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end" fill="currentColor">{_text(shown(value))}</text>')
    for i, name in enumerate(places):
        at = f'x="{across(i):.1f}" y="{height + 3}" text-anchor="middle"'
        parts.append(f'<text {at} fill="currentColor" opacity="0.75">{_text(name)}</text>')
    x = left
    for n, ((name, values), color) in enumerate(zip(curves, _COLORS * (1 + len(curves) // len(_COLORS)))):
        points = [place(i, value) for i, value in enumerate(values) if math.isfinite(value)]
        if filled and points and n == 0:
            ends = points[0].split(",")[0], points[-1].split(",")[0]
            area = f"{ends[0]},{height - 8} {' '.join(points)} {ends[1]},{height - 8}"
            parts.append(f'<polygon points="{area}" fill="{color}" opacity="0.45"/>')
        if len(points) == 1:
            x0, y0 = points[0].split(",")
            parts.append(f'<circle cx="{x0}" cy="{y0}" r="2.5" fill="{color}"/>')
        else:
            parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(f'<text x="{x}" y="10" fill="{color}">{_text(name)}</text>')
        x += 12 + 6 * len(name)
    return "".join([*parts, "</svg>"])


def _cell(tag: str, text: str, right: bool) -> str:
    align = "right" if right else "left"
    weight = "font-weight:500;opacity:.75;" if tag == "th" else ""
    return f'<{tag} style="{weight}text-align:{align};{_CELL};{_RULE};background:none">{_text(text)}</{tag}>'


def _text(text: str) -> str:
    return escape(printable(text))


def _lines(text: str) -> str:
    return "\n".join(escape(printable(line)) for line in text.split("\n"))
