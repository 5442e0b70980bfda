"""The pictures of the guide that plans are drawn into: `pytest tests/docs --update-cases` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from gradloom import MemoryReport
from gradloom.engine.report.schema import KIND_WORDS
from gradloom.engine.report.wording import human
from gradloom.engine.step.plans import CurvePoint

COLORS = {
    "activation": "#2f6fd0",
    "recomputed": "#e08a1e",
    "temporary": "#8fb8ec",
    "gradient": "#c2352b",
    "backward": "#e79a94",
    "optimizer": "#3a8f5c",
    "result": "#6a6f78",
    "scratch": "#c9c5b8",
}
"""Of each kind of value."""

_WIDTH, _LEFT, _RIGHT, _TOP, _HEIGHT, _FOOT = 820, 78, 18, 34, 150, 26


def timeline(reports: Sequence[tuple[str, MemoryReport]]) -> str:
    """The live bytes of steps, phase by phase and kind by kind: a panel for each report, to one scale."""
    most = max(max(report.live_bytes) for _, report in reports)
    kinds = [kind for kind in COLORS if any(value.kind == kind for _, report in reports for value in report.values)]
    parts: list[str] = []
    for i, (title, report) in enumerate(reports):
        top = _TOP + i * (_HEIGHT + _TOP + _FOOT)
        parts += [_text(_LEFT, top - 10, title, weight="bold"), *_scale(top, most), *_bars(top, report, kinds, most)]
        parts.append(_text(_WIDTH - _RIGHT, top + _HEIGHT + 16, f"phase {report.phases}", "end"))
        parts.append(_text(_LEFT, top + _HEIGHT + 16, "phase 1"))
    foot = len(reports) * (_HEIGHT + _TOP + _FOOT) + 14
    for i, kind in enumerate(kinds):
        x, y = _LEFT + 250 * (i % 3), foot + 18 * (i // 3)
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLORS[kind]}"/>')
        parts.append(_text(x + 15, y, KIND_WORDS[kind]))
    return _svg(foot + 18 * (1 + (len(kinds) - 1) // 3), "Live bytes of the arena over the phases of a step", parts)


def _bars(top: float, report: MemoryReport, kinds: Iterable[str], most: int) -> Iterable[str]:
    width = (_WIDTH - _LEFT - _RIGHT) / report.phases
    below = [0.0] * report.phases
    for kind in kinds:
        found = [0] * report.phases
        for value, (first, end) in zip(report.values, report.charged):
            if value.kind == kind:
                for phase in range(first, end):
                    found[phase] += value.bytes
        upper = [base + _HEIGHT * nbytes / most for base, nbytes in zip(below, found)]
        ahead = [(i, y) for i in range(report.phases) for y in (i, i + 1)]
        points = [f"{_LEFT + x * width:.1f},{top + _HEIGHT - upper[i]:.1f}" for i, x in ahead]
        points += [f"{_LEFT + x * width:.1f},{top + _HEIGHT - below[i]:.1f}" for i, x in reversed(ahead)]
        if any(found):
            yield f'<polygon points="{" ".join(points)}" fill="{COLORS[kind]}"/>'
        below = upper


def frontier(points: Sequence[CurvePoint]) -> str:
    """Predicted time against the memory of plans."""
    height, most = 220, points[0].total_bytes
    longest = 1 + max(point.slowdown for point in points)
    parts = [*_scale_below(height, most)]
    for time in (1 + k * (longest - 1) / 4 for k in range(5)):
        y = _y(time, longest, height)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e1da"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{time:.2f} x", "end"))
    places = [(_x(point.total_bytes, most), _y(1 + point.slowdown, longest, height)) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2f6fd0" stroke-width="1.5"/>')
    for (x, y), point in zip(places, points):
        said = f"{human(point.total_bytes)}, {1 + point.slowdown:.2f} times the time"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#2f6fd0"><title>{escape(said)}</title></circle>')
    parts.append(_text(_LEFT, 20, "time of a step, predicted", weight="bold"))
    parts.append(_text(_WIDTH - _RIGHT, _TOP + height + 40, "memory of the whole step", "end", weight="bold"))
    return _svg(_TOP + height + 50, "Predicted time against memory", parts)


def _x(nbytes: float, most: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * nbytes / most


def _y(time: float, longest: float, height: int) -> float:
    return _TOP + height * (1 - (time - 1) / max(longest - 1, 1e-9))


def _scale_below(height: int, most: int) -> Iterable[str]:
    for nbytes in (k * most / 4 for k in range(5)):
        x = _x(nbytes, most)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + height}" stroke="#e3e1da"/>'
        yield _text(x, _TOP + height + 16, human(round(nbytes)), "end" if nbytes == most else "middle")


def _scale(top: float, most: int) -> Iterable[str]:
    for nbytes in (k * most / 4 for k in range(5)):
        y = top + _HEIGHT * (1 - nbytes / most)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e1da"/>'
        yield _text(_LEFT - 8, y + 4, human(round(nbytes)), "end")


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {attributes}>{escape(text)}</text>"


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{label}"'
    )
    font = 'font-family="sans-serif" font-size="12" fill="#23262b"'
    paper = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fdfcf9"/>'
    return "\n".join([f"{head} {font}>", paper, *parts, "</svg>\n"])
