"""The report as one page for a browser: its data, style and scripts in a single file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from ....ir.printable import printable
from ....passes.remat.candidates import planner_words
from ....passes.variants import variant_words
from ..layers import scopes_in_order
from ..schema import KIND_WORDS, KINDS, MemoryReport
from ..wording import timed_on

_FOLDER = Path(__file__).parent
_SCRIPTS = (
    "data.js",
    "layers.js",
    "canvas.js",
    "memory.js",
    "arena.js",
    "graph.js",
    "critical.js",
    "curve.js",
    "page.js",
)


def page(report: MemoryReport, title: str = "", curve: Sequence[Mapping[str, Any]] = ()) -> str:
    """The text of the page; see `MemoryReport.to_html`."""
    data = json.dumps(_data(report, curve), separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": escape(printable(title or "The memory of a training step")),
        "STYLE": (_FOLDER / "page.css").read_text("utf-8"),
        "DATA": data,
        "SCRIPT": "\n".join((_FOLDER / name).read_text("utf-8") for name in _SCRIPTS),
    }
    # In one go, so that nothing is looked for in what was put in.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], (_FOLDER / "page.html").read_text("utf-8"))


def _data(report: MemoryReport, curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report column by column, with each text once: a page of 10,000 nodes stays small."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    units, values = report.units, report.values
    columns: dict[str, Any] = {
        "figures": {
            name: getattr(report, name)
            for name in (
                "parameter_bytes",
                "state_bytes",
                "constant_bytes",
                "arena_bytes",
                "lower_bound_bytes",
                "no_recompute_arena_bytes",
                "total_bytes",
                "budget_bytes",
                "slowdown",
                "other_bits",
                "flops",
                "recompute_flops",
                "phases",
                "threads",
                "peak_phase",
                "host_bytes",
                "exposed_nanoseconds",
                "messages",
                "sent_bytes",
                "message_nanoseconds",
                "waiting_nanoseconds",
            )
        },
        "kinds": [[kind, KIND_WORDS[kind]] for kind in KINDS],
        "units": {
            **{name: [number(getattr(u, name)) for u in units] for name in ("name", "scope", "source", "role", "ops")},
            **{name: [getattr(u, name) for u in units] for name in ("phase", "flops", "nanoseconds")},
        },
        "values": {
            **{name: [number(getattr(v, name)) for v in values] for name in ("name", "scope", "source", "why", "type")},
            **{
                name: [getattr(v, name) for v in values]
                for name in ("bytes", "birth", "death", "offset", "made_by", "read_by")
            },
            "kind": [KINDS.index(v.kind) for v in values],
            "first": [first for first, _ in report.charged],
            "end": [end for _, end in report.charged],
        },
        "loops": [
            [loop.first, loop.end, loop.length, loop.lanes, report.turns(loop)]
            for loop in report.loops
            if loop.kind == "scan"
        ],
        "critical": asdict(report.critical_path),
        "removals": [asdict(removal) for removal in report.removals],
        "curve": [dict(point) for point in curve],
    }
    columns["figures"] |= {"planner": planner_words(report.planner), "variant": variant_words(report.variant)}
    columns["figures"] |= {"timed_on": timed_on(report.target)}
    columns["figures"] |= {"moved_bytes": sum(one.bytes for one in report.transfers)}
    columns["order"] = [number(scope) for scope in scopes_in_order(report)]
    columns["texts"] = list(texts)
    return columns
