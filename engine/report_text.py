"""A memory report as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .report import KIND_WORDS, KINDS, MemoryReport, ValueReport, human, human_flops
from .report_layers import layers

_LARGEST = 10
_MOST_GROUPS = 20
_NAMED = 2
_LOOPS = 6


def report_text(report: MemoryReport) -> str:
    """The summary; bytes by kind and by layer; the largest values; why each value of the peak is there."""
    parts = [_summary(report)]
    if report.values:
        parts += [_by_kind(report), _by_layer(report), _largest(report), _at_peak(report)]
    return "\n\n".join(parts)


def _summary(report: MemoryReport) -> str:
    lines = [
        f"parameters       {human(report.parameter_bytes):>10}",
        f"optimizer state  {human(report.state_bytes):>10}",
        f"constants        {human(report.constant_bytes):>10}",
        f"arena            {human(report.arena_bytes):>10}   (at least {human(report.lower_bound_bytes)} live at once)",
        f"total            {human(report.total_bytes):>10}   {report.total_bytes:,} bytes, allocated exactly",
    ]
    if report.budget_bytes is not None:
        share = report.total_bytes / report.budget_bytes
        lines.append(f"budget           {human(report.budget_bytes):>10}   {share:.0%} of it used")
    if report.no_recompute_arena_bytes > report.arena_bytes:
        lines.append(
            f"recomputing saves{human(report.no_recompute_arena_bytes - report.arena_bytes):>10}   of an arena of "
            f"{human(report.no_recompute_arena_bytes)}"
        )
    if report.other_bits:
        lines.append(f"other bits: it {report.other_bits}")
    slower = f", {report.slowdown:.1%} more time" if report.slowdown else ""
    again = human_flops(report.recompute_flops)
    return "\n".join(
        [
            *lines,
            f"work             {human_flops(report.flops):>10}   of which recompute {again}{slower}",
            f"runs in {report.phases} phases on {report.threads} thread{'s' if report.threads != 1 else ''}",
            *(
                f"phases {loop.first}-{loop.end - 1} are one turn of a loop of {loop.length}"
                + (f", {loop.lanes} of them side by side" if loop.lanes > 1 else "")
                for loop in report.loops[:_LOOPS]
            ),
        ]
    )


def _table(title: str, rows: Sequence[Sequence[str]], right: frozenset[int]) -> str:
    """Rows with the columns `right` set to the right, under a title; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _by_kind(report: MemoryReport) -> str:
    live = report.live(report.peak_phase)
    rows = [["at the peak", "values", "in the whole step", "values", ""]]
    for kind in KINDS:
        at_peak = [v.bytes for v in live if v.kind == kind]
        made = [v.bytes for v in report.values if v.kind == kind]
        if made:
            rows.append([human(sum(at_peak)), str(len(at_peak)), human(sum(made)), str(len(made)), KIND_WORDS[kind]])
    return _table("by kind, in the arena:", rows, frozenset({0, 1, 2, 3}))


def _by_layer(report: MemoryReport) -> str:
    rows = [["held", "at the peak", "at most", ""]]
    for layer in layers(report):
        times = f"  ×{layer.count}" if layer.count > 1 and "*" in layer.name else ""
        sizes = [human(n) for n in (layer.held_bytes, layer.peak_bytes, layer.most_bytes)]
        rows.append([*sizes, layer.name + times])
    return _table("by layer (held: parameters and state; then the arena):", rows, frozenset({0, 1, 2}))


def _largest(report: MemoryReport) -> str:
    rows = [["bytes", "value", "type", "layer", "phases", "line"]]
    for v in sorted(report.values, key=lambda v: -v.bytes)[:_LARGEST]:
        rows.append([human(v.bytes), v.name, v.type, v.scope, f"{v.birth}-{v.death}", v.source])
    return _table("largest values in the arena:", rows, frozenset({0}))


def _at_peak(report: MemoryReport) -> str:
    peak = report.peak_phase
    running = [unit for unit in report.units if unit.phase == peak]
    what = ", ".join(f"{u.name} of {u.scope or 'the step'} ({u.role})" for u in running[:2])
    more = f" and {len(running) - 2} more" if len(running) > 2 else ""
    title = f"the peak is phase {peak}, which runs {what}{more}; live then, and why:"
    return live_at_peak(report, title, _MOST_GROUPS)


def live_at_peak(report: MemoryReport, title: str, most: int, reasons: bool = True) -> str:
    """A table of what is live in the phase with the most live bytes, `most` rows of it, with `reasons` if so."""
    groups = _alike(report.live(report.peak_phase))
    rows = [["bytes", "value", "layer", "line", "why"]]
    for group in groups[:most]:
        first, times = group[0], f" ×{len(group)}" if len(group) > 1 else ""
        where = first.scope if not times else _starred(v.scope for v in group)
        rows.append([human(sum(v.bytes for v in group)), first.name + times, where, first.source, first.why])
    text = _table(title, rows if reasons else [row[:-1] for row in rows], frozenset({0}))
    if len(groups) > most:
        rest = [v for group in groups[most:] for v in group]
        text += f"\n  and {len(rest)} smaller values, {human(sum(v.bytes for v in rest))} together"
    return text


def _numbers_out(text: str) -> str:
    return re.sub(r"\d+", "*", text)


def _starred(scopes: Iterable[str]) -> str:
    different = list(dict.fromkeys(scopes))
    return ", ".join(different) if len(different) <= _NAMED else _numbers_out(different[0])


def _alike(values: Iterable[ValueReport]) -> list[list[ValueReport]]:
    """Values that are there for the same reason in layers of the same kind, together; most bytes first."""
    groups: dict[tuple[str, ...], list[ValueReport]] = {}
    for v in values:
        groups.setdefault((_numbers_out(v.scope), v.name, v.kind, v.source, _numbers_out(v.why)), []).append(v)
    return sorted(groups.values(), key=lambda group: -sum(v.bytes for v in group))
