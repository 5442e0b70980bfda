"""A memory report in a notebook: bytes of each kind, live bytes over time, and what is largest at the peak."""

from __future__ import annotations

from ...ir.html import block, folded, line_chart, table
from .schema import MemoryReport
from .wording import human, human_flops

_LARGEST = 8
_MOST_PHASES = 2000


def report_line(report: MemoryReport) -> str:
    """The report in a line."""
    return (
        f"{human(report.total_bytes)}: parameters {human(report.parameter_bytes)}, optimizer state "
        f"{human(report.state_bytes)}, arena {human(report.arena_bytes)}"
    )


def report_html(report: MemoryReport, title: str = "Memory of a step") -> str:
    """The report as HTML; `report.to_html(path)` writes the whole page."""
    rows = [
        ("parameters", human(report.parameter_bytes)),
        ("optimizer state", human(report.state_bytes)),
        ("constants", human(report.constant_bytes)),
        ("arena", human(report.arena_bytes)),
        ("total", human(report.total_bytes)),
        *([] if report.budget_bytes is None else [("budget", human(report.budget_bytes))]),
        ("work", human_flops(report.flops)),
        *([("of it recomputed", human_flops(report.recompute_flops))] if report.recompute_flops else []),
    ]
    live = report.live_bytes
    every = max(1, -(-len(live) // _MOST_PHASES))
    peaks = [max(live[i : i + every]) for i in range(0, len(live), every)]
    largest = [
        (human(value.bytes), value.name, value.type, value.scope, value.source)
        for value in report.live(report.peak_phase)[:_LARGEST]
    ]
    return block(
        title,
        table(rows, right={1}),
        line_chart([("live bytes of the arena, by phase", peaks)], filled=True, shown=human) if live else "",
        table(largest, ("bytes", "live at the peak", "type", "layer", "line"), {0}) if largest else "",
        folded("the whole report", str(report)),
    )
