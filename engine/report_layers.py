"""Bytes by layer: a report summed up over the modules of the model."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .report import MemoryReport

OUTSIDE = "(outside the layers)"
"""Stands for what none of the model's modules did: its own forward, the loss function, the update's scalars."""

_MOST_ROWS = 20


@dataclass(frozen=True)
class LayerReport:
    """The bytes of one layer, or of all its like: `blocks.*.norm` stands for `count` of them.

    `held_bytes` are parameters, buffers and optimizer state; `peak_bytes` what lives in the arena in the phase with the
    most live bytes; `most_bytes` the most that the layer has in the arena in any phase.
    """

    name: str
    count: int
    held_bytes: int
    peak_bytes: int
    most_bytes: int


def layers(report: MemoryReport, most_rows: int = _MOST_ROWS) -> list[LayerReport]:
    """The layers of a report in the order of the model, numbered ones by their numbers and others as they run: as deep
    as `most_rows` allow, numbered ones together where they would be too many.
    """
    cut = _cut(_in_order(report), most_rows)
    names = list(dict.fromkeys(cut.values()))
    held, peak = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    change: dict[str, dict[int, int]] = {name: {} for name in names}
    for array in report.held:
        held[cut[array.scope]] += array.bytes
    at = report.peak_phase
    for value, (first, end) in zip(report.values, report.charged):
        name = cut[value.scope]
        if first <= at < end:
            peak[name] += value.bytes
        change[name][first] = change[name].get(first, 0) + value.bytes
        change[name][end] = change[name].get(end, 0) - value.bytes
    counts = {name: len({_prefix(s, name) for s, n in cut.items() if n == name}) for name in names}
    return [LayerReport(name, counts[name], held[name], peak[name], _most(change[name])) for name in names]


def _in_order(report: MemoryReport) -> list[str]:
    """All scopes: numbered modules of one parent by their numbers, named ones by where their forward runs, about; what
    is outside last.
    """
    forward = sum(unit.role == "forward" for unit in report.units)
    # What only a backward tells of stands where its counterpart would.
    share = forward / max(len(report.units) - forward, 1)
    at: dict[str, float] = {}
    for role, units, step in ((True, report.units, 1.0), (False, report.units[::-1], share)):
        runs: dict[str, list[tuple[float, int]]] = {}
        for i, unit in enumerate(units):
            if (unit.role == "forward") == role:
                for prefix in _prefixes(unit.scope):
                    runs.setdefault(prefix, []).append((i * step, unit.flops))
        at = {prefix: middle(places) for prefix, places in runs.items()} | at

    def key(scope: str) -> list[tuple[int, float]]:
        names = zip(scope.split("."), _prefixes(scope))
        return [(0, int(name)) if name.isdecimal() else (1, at.get(prefix, math.inf)) for name, prefix in names]

    scopes = dict.fromkeys(item.scope for item in (*report.units, *report.values, *report.held))
    return sorted(scopes, key=lambda scope: (not scope, key(scope)))


def middle(runs: Sequence[tuple[float, int]]) -> float:
    """Of places and the operations that run there, the place by which half of them are done: a mask may be made before
    all else, and running statistics after it.
    """
    ordered = sorted(runs)
    done = list(accumulate(flops + 1 for _, flops in ordered))
    return ordered[bisect_left(done, done[-1] / 2)][0]


def _prefixes(scope: str) -> list[str]:
    parts = scope.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _most(change: dict[int, int]) -> int:
    now = most = 0
    for phase in sorted(change):
        now += change[phase]
        most = max(most, now)
    return most


def _prefix(scope: str, name: str) -> str:
    return ".".join(scope.split(".")[: name.count(".") + 1])


def _cut(scopes: Sequence[str], most_rows: int) -> dict[str, str]:
    """The row of each scope: of all ways to cut off the deeper levels, with and without numbers, the one that shows the
    most.
    """
    deepest = max((scope.count(".") + 1 for scope in scopes), default=1)
    best = dict.fromkeys(scopes, "the model")
    for stars in range(deepest + 1):
        for depth in range(1, deepest + 1):
            cut = {scope: _row(scope, depth, stars) for scope in scopes}
            if len(set(best.values())) < len(set(cut.values())) <= most_rows:
                best = cut
    return best


def _row(scope: str, depth: int, stars: int) -> str:
    """The first `depth` modules of a path, the first `stars` numbers in it as stars."""
    parts = scope.split(".")[:depth]
    for i in [i for i, part in enumerate(parts) if part.isdecimal()][:stars]:
        parts[i] = "*"
    return ".".join(parts) or OUTSIDE
