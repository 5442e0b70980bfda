"""What changed between two memory reports, by layer and by kind."""

from __future__ import annotations

import re

from ..engine.report.layers import layers
from ..engine.report.schema import KIND_WORDS, KINDS, MemoryReport
from ..engine.report.wording import human

_MANY = 10
"""From so many times as much on a change is given in times, not in per cent."""
_MOST_LAYERS = 20
_ALL_LAYERS = 1000
_NAMED = 4


def diff_text(before: MemoryReport, after: MemoryReport, before_name: str, after_name: str) -> str:
    """The figures that changed from one report to the other, then the layers, most changed first."""
    lines = [f"from {before_name} to {after_name}:"]
    for word, name in (
        ("parameters", "parameter_bytes"),
        ("optimizer state", "state_bytes"),
        ("constants", "constant_bytes"),
        ("arena", "arena_bytes"),
        ("total", "total_bytes"),
        *([("host memory", "host_bytes")] if before.host_bytes or after.host_bytes else []),
    ):
        lines.append(_row(word, getattr(before, name), getattr(after, name)))
    kinds = [(KIND_WORDS[kind], _at_peak(before, kind), _at_peak(after, kind)) for kind in KINDS]
    layer_rows = _layers(before, after)
    for title, rows, most in (
        ("at the peak, by kind:", [row for row in kinds if row[1] != row[2]], len(KINDS)),
        ("by layer (parameters, state, and the arena at the peak):", layer_rows, _MOST_LAYERS),
    ):
        if rows:
            lines.append(title)
            lines += [_row(*row) for row in rows[:most]]
        if len(rows) > most:
            rest = sum(row[2] - row[1] for row in rows[most:])
            lines.append(f"  and {len(rows) - most} more, {_signed(rest)} together")
    if not layer_rows and before.total_bytes == after.total_bytes:
        lines.append("nothing changed")
    return "\n".join(lines)


def _row(word: str, before: int, after: int) -> str:
    change = _signed(after - before) if after != before else "the same"
    share = ""
    if before and after != before:
        share = f" ({(after - before) / before:+.1%})" if after < _MANY * before else f" ({after / before:,.0f} times)"
    return f"  {human(before):>10} -> {human(after):>10}  {change:>11}{share:<10}  {word}"


def _signed(nbytes: int) -> str:
    return ("+" if nbytes >= 0 else "-") + human(abs(nbytes))


def _at_peak(report: MemoryReport, kind: str) -> int:
    return sum(value.bytes for value in report.live(report.peak_phase) if value.kind == kind)


def _layers(before: MemoryReport, after: MemoryReport) -> list[tuple[str, int, int]]:
    """Name, bytes before and bytes after of the layers that changed: those of one kind that changed alike together."""
    sizes = [
        {layer.name: layer.held_bytes + layer.peak_bytes for layer in layers(report, _ALL_LAYERS)}
        for report in (before, after)
    ]
    alike: dict[tuple[str, int, int], list[str]] = {}
    for name in dict.fromkeys([*sizes[0], *sizes[1]]):
        change = sizes[0].get(name, 0), sizes[1].get(name, 0)
        if change[0] != change[1]:
            alike.setdefault((_kind(name), *change), []).append(name)
    rows = [
        (", ".join(names) if len(names) <= _NAMED else f"{kind} ×{len(names)}", len(names) * was, len(names) * now)
        for (kind, was, now), names in alike.items()
    ]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))


def _kind(name: str) -> str:
    """The path of a layer with a star for its first number, by which those of one list differ."""
    return re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name, count=1)
