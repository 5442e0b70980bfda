"""A memory report as text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from textwrap import fill

from ...ir.printable import printable
from ...passes.remat.candidates import planner_words
from ...passes.target import DEFAULT_TARGET
from ...passes.variants import variant_words
from .layers import layers
from .schema import KIND_WORDS, KINDS, LoopReport, MemoryReport, TransferReport, ValueReport
from .wording import human, human_flops, human_time, listed, numbers_out, timed_on

_LARGEST = 10
_MOST_GROUPS = 20
_TOLD = 0.999
"""So much of the peak is listed value by value, the rest in one line."""
_NAMED = 2
_LOOPS = 6
_ROUNDED = 6
_REMOVALS = 6
"""Rows of the tables of what the peak would be without, and of the critical path."""
_LEAST_CUT = 0.01
_WIDTH = 80
_NARROWEST = 8
"""Columns of a table's cells that none loses."""


def report_text(report: MemoryReport) -> str:
    """The summary; bytes by kind and by layer; the largest values; why each value of the peak is there."""
    parts = [_summary(report)]
    if report.values:
        parts += [_by_kind(report), _by_layer(report), _largest(report), _at_peak(report)]
        parts += [part for part in (_moved(report), _removals(report), _critical_path(report)) if part]
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
    if report.target is not None and report.target.device_bytes is not None:
        card = report.target.device_bytes
        share = f"{report.total_bytes / card:.1%}" if 1000 * report.total_bytes >= card else "less than 0.1%"
        lines.append(f"card             {human(card):>10}   {share} of it used")
    lines += _host_memory(report)
    if report.messages:
        hidden = max(report.message_nanoseconds - report.waiting_nanoseconds, 0.0) / report.message_nanoseconds
        takes = f"{human_time(report.message_nanoseconds)}, of which {hidden:.0%} beside units"
        nbytes = human(report.sent_bytes)
        lines.append(f"sent             {nbytes:>10}   a step, in {report.messages} messages: {takes}")
    saved = report.no_recompute_arena_bytes - report.arena_bytes
    if saved > 0:
        serialized = any(loop.in_turn for loop in report.loops)
        ways = (
            ("recomputing", report.recompute_flops),
            ("serialized iterations", serialized),
            ("host memory", report.host_bytes),
            ("smaller tiles", report.other_bits),
        )
        used = [way for way, is_used in ways if is_used]
        how = " and ".join([*([", ".join(used[:-1])] if used[1:] else []), *used[-1:]])
        whole = human(report.no_recompute_arena_bytes)
        lines.append(f"saved            {human(saved):>10}   of an arena of {whole}" + (f", by {how}" if how else ""))
    if report.precision != "fp32":
        parts = [f"{dtype} {human(n)}" for dtype, n in report.bytes_by_dtype.items()]
        lines.append(f"precision        {report.precision:>10}   at the peak {', '.join(parts)}")
    slower = f", {report.slowdown:.1%} more time" if report.slowdown else ""
    recomputed = human_flops(report.recompute_flops)
    lines.append(f"work             {human_flops(report.flops):>10}   of which recompute {recomputed}{slower}")
    lines.append(f"runs in {report.phases} phases on {workers_of(report)}")
    lines.append(wrapped(f"planner: {planner_words(report.planner)}"))
    lines.append(wrapped(f"variant: {variant_words(report.variant)}"))
    lines += map(wrapped, _loops(report))
    if report.other_bits:
        lines.append(wrapped(f"other bits: it {report.other_bits}"))
    if report.rounded:
        lines.append(wrapped(f"rounded: {_rounded(report)}"))
    return "\n".join(lines)


def _rounded(report: MemoryReport) -> str:
    """The values that a budget rounds, and the bytes that each of them takes less."""
    told = [f"{v.name}{f' of {v.scope}' if v.scope else ''} {human(v.bytes)}" for v in report.rounded[:_ROUNDED]]
    more = len(report.rounded) - len(told)
    whole = human(sum(v.bytes for v in report.rounded))
    return f"{', '.join(told)}{f' and {more} more' if more else ''}: {whole} less"


def _host_memory(report: MemoryReport) -> list[str]:
    """The bytes in host memory and over the link to it, where there are any."""
    if not report.transfers:
        return []
    state = sum(array.bytes for array in report.held if array.on_host)
    nbytes, count = sum(one.bytes for one in report.transfers), len(report.transfers)
    waits = human_time(report.exposed_nanoseconds) if report.exposed_nanoseconds else "no time"
    return [
        f"host memory      {human(report.host_bytes):>10}   {human(state)} of it optimizer state between its updates",
        f"link             {human(nbytes):>10}   a step, in {count} transfers; units wait {waits} for them",
    ]


def workers_of(report: MemoryReport) -> str:
    """What a step runs on: threads of a CPU, multiprocessors of a GPU."""
    if report.target is not None and report.target.multiprocessors is not None:
        counted = f"{report.target.multiprocessors} SMs"
    else:
        counted = f"{report.threads} thread{'s' if report.threads != 1 else ''}"
    if report.target is None:
        return counted
    cut = f", cut for {report.target.cores} cores" if report.target.cores != DEFAULT_TARGET.cores else ""
    return f"{counted} of {printable(str(report.target))}{cut}"


def _loops(report: MemoryReport) -> list[str]:
    """What each loop is, those of layers of the same kind together."""
    groups: dict[tuple[object, ...], list[LoopReport]] = {}
    for loop in report.loops:
        kind = (loop.kind, loop.length, loop.lanes, loop.in_turn, loop.end - loop.first, numbers_out(loop.scope))
        groups.setdefault(kind, []).append(loop)
    lines: list[str] = []
    for loops in list(groups.values())[:_LOOPS]:
        one = loops[0]
        phases = listed((_span(loop.first, loop.end) for loop in loops), _NAMED)
        what = _turns(report, one)
        where = f" in {_starred(loop.scope for loop in loops)}" if one.scope else ""
        how = f", {one.lanes} of them concurrently" if one.lanes > 1 else ""
        how += ", one after the other to save memory" if one.in_turn else ""
        each = "are each" if len(loops) > 1 else "are" if one.end - one.first > 1 else "is"
        lines.append(f"phase{'s' if each != 'is' else ''} {phases} {each} one {what}{where}{how}")
    more = len(groups) - len(lines)
    return [*lines, f"and {more} more kinds of loops"] if more > 0 else lines


def _turns(report: MemoryReport, loop: LoopReport) -> str:
    if loop.kind == "while_loop":
        return "iteration of a loop that ends as its values say"
    if loop.kind == "cond":
        return "of two branches, of which one runs"
    over = report.turns(loop)
    return f"iteration of a loop {f'of {loop.length}' if over == 'iterations' else f'over {loop.length} {over}'}"


def _span(first: int, end: int) -> str:
    return f"{first}-{end - 1}" if end - first > 1 else str(first)


def wrapped(text: str, indent: str = "", width: int = _WIDTH) -> str:
    """Text in lines of at most `width` columns."""
    return fill(text, width, initial_indent=indent, subsequent_indent=indent or "  ", break_long_words=False)


def _table(title: str, rows: Sequence[Sequence[str]], right: frozenset[int], cut: Sequence[int] = ()) -> str:
    """Rows with the columns `right` set to the right, under a title; the first row is the head.

    Where they take more than `_WIDTH` columns, the longest of the columns `cut` keep only their ends: those of paths
    tell the most.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    while cut and sum(widths) + 2 * len(widths) > _WIDTH and max(widths[i] for i in cut) > _NARROWEST:
        widths[max(cut, key=lambda i: widths[i])] -= 1
    lines = [
        "  " + "  ".join(_cell(cell, w, i in right) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows
    ]
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _cell(text: str, width: int, right: bool) -> str:
    if len(text) > width:
        text = "…" + text[len(text) - width + 1 :]
    return text.rjust(width) if right else text.ljust(width)


def _by_kind(report: MemoryReport) -> str:
    live = report.live(report.peak_phase)
    rows = [["at the peak", "values", "in all", "values", ""]]
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
    return _table("by layer (held: parameters and state; then the arena):", rows, frozenset({0, 1, 2}), (3,))


def _largest(report: MemoryReport) -> str:
    rows = [["bytes", "value", "type", "layer", "phases", "line"]]
    largest = sorted(zip(report.values, report.charged), key=lambda pair: -pair[0].bytes)[:_LARGEST]
    for v, span in largest:
        rows.append([human(v.bytes), v.name, v.type, v.scope, _span(*span), v.source])
    return _table("largest values in the arena:", rows, frozenset({0}), (3, 5))


def _at_peak(report: MemoryReport) -> str:
    peak = report.peak_phase
    running = [unit for unit in report.units if unit.phase == peak]
    what = ", ".join(f"{u.name} of {u.scope or 'the step'} ({u.role})" for u in running[:2])
    more = f" and {len(running) - 2} more" if len(running) > 2 else ""
    title = f"the peak is phase {peak}, which runs {what}{more}; live then, and why:"
    return live_at_peak(report, wrapped(title), _MOST_GROUPS)


def live_at_peak(report: MemoryReport, title: str, most: int) -> str:
    """A table of what is live in the phase with the most live bytes: at most `most` rows, the reason below each."""
    groups = _alike(report.live(report.peak_phase))
    sizes = [sum(v.bytes for v in group) for group in groups]
    count = min(most, 1 + bisect_left(list(accumulate(sizes)), _TOLD * sum(sizes)))
    rows = [["bytes", "value", "layer", "line"]]
    for group, size in zip(groups[:count], sizes):
        first, times = group[0], f" ×{len(group)}" if len(group) > 1 else ""
        where = first.scope if not times else _starred(v.scope for v in group)
        rows.append([human(size), first.name + times, where, first.source])
    head, *lines = _table(title, rows, frozenset({0}), (2, 3)).rsplit("\n", len(rows) - 1)
    indent = " " * (max(len(row[0]) for row in rows) + 4)
    for line, group in zip(lines, groups):
        head += f"\n{line}\n{wrapped(group[0].why, indent)}"
    if len(groups) > count:
        left = sum(len(group) for group in groups[count:])
        head += f"\n  and {left} smaller values, {human(sum(sizes[count:]))} together"
    return head


def _starred(scopes: Iterable[str]) -> str:
    different = list(dict.fromkeys(scopes))
    return ", ".join(different) if len(different) <= _NAMED else numbers_out(different[0])


def _alike(values: Iterable[ValueReport]) -> list[list[ValueReport]]:
    """Values that are there for the same reason in layers of the same kind, together; most bytes first."""
    groups: dict[tuple[str, ...], list[ValueReport]] = {}
    for v in values:
        groups.setdefault(v.likeness, []).append(v)
    return sorted(groups.values(), key=lambda group: -sum(v.bytes for v in group))


def _moved(report: MemoryReport) -> str:
    """What lies in host memory for a while."""
    groups: dict[tuple[str, ...], list[TransferReport]] = {}
    for one in report.transfers:
        if one.to_host:
            groups.setdefault((numbers_out(one.name), numbers_out(one.scope), one.source), []).append(one)
    rows = [["bytes", "value", "layer", "line"]]
    for group in sorted(groups.values(), key=lambda group: -sum(one.bytes for one in group))[:_LARGEST]:
        times = f" ×{len(group)}" if len(group) > 1 else ""
        name = numbers_out(group[0].name) if times else group[0].name
        nbytes = human(sum(one.bytes for one in group))
        rows.append([nbytes, name + times, _starred(one.scope for one in group), group[0].source])
    return _table("what lies in host memory for a while:", rows, frozenset({0}), (1, 2, 3)) if groups else ""


def _removals(report: MemoryReport) -> str:
    """Without which values the peak would be lower."""
    rows = [["peak", "less", "again", "value", "layer", "line"]]
    peak = max(report.live_bytes, default=0)
    telling = [r for r in report.removals if (peak - r.peak_bytes) > _LEAST_CUT * peak]
    for removal in (telling or report.removals)[:_REMOVALS]:
        values = [report.values[i] for i in removal.values]
        times = f" ×{len(values)}" if len(values) > 1 else ""
        again = removal.recompute_nanoseconds
        cells = [
            human(removal.peak_bytes),
            human(peak - removal.peak_bytes),
            "" if again is None else human_time(again),
        ]
        rows.append([*cells, values[0].name + times, _starred(v.scope for v in values), values[0].source])
    if len(rows) == 1:
        return ""
    title = f"the peak of {human(peak)} would be lower without one of these; and the time to compute them again:"
    return _table(wrapped(title), rows, frozenset({0, 1, 2}), (4, 5))


def _critical_path(report: MemoryReport) -> str:
    """The longest chain of units, and what of it takes longest."""
    from .critical_path import longest_units

    path = report.critical_path
    if not path.units:
        return ""
    rows = [["time", "share", "unit", "layer", "line"]]
    for units, time in longest_units(report)[:_REMOVALS]:
        times = f" ×{len(units)}" if len(units) > 1 else ""
        place = [f"{units[0].name}{times} ({units[0].role})", _starred(u.scope for u in units), units[0].source]
        rows.append([human_time(time), f"{time / path.nanoseconds:.0%}", *place])
    title = (
        f"the critical path is {human_time(path.nanoseconds)} of {human_time(path.all_nanoseconds)} predicted on "
        f"{timed_on(report.target)}, in {len(path.units)} of {len(report.units)} units; most of it:"
    )
    return _table(wrapped(title), rows, frozenset({0, 1}), (3, 4))
