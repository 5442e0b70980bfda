"""Bytes by layer: a report summed up over the modules of the model."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .schema import MemoryReport

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
    cut = _cut(scopes_in_order(report), most_rows)
    names = list(dict.fromkeys(cut.values()))
    held, peak = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    change: dict[str, dict[int, int]] = {name: {} for name in names}
    for array in (array for array in report.held if not array.on_host):
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


def scopes_in_order(report: MemoryReport) -> list[str]:
    """All scopes: numbered modules of one parent by their numbers, named ones by where their forward runs, about; what
    is outside last.
    """
    units, forward = report.units, sum(unit.role == "forward" for unit in report.units)
    # What only a backward tells of stands where its counterpart would.
    share = forward / max(len(units) - forward, 1)
    places = [float(i) if u.role == "forward" else (len(units) - 1 - i) * share for i, u in enumerate(units)]
    at: dict[str, float] = {}
    for role in ("forward", "recompute", "backward"):
        at = _places((u.scope, place, u.flops) for u, place in zip(units, places) if u.role == role) | at
        # A layer that runs within the loop of another stands behind it.
        at = _places((v.scope, places[v.made_by] + 0.5, 0) for v in report.values if units[v.made_by].role == role) | at
    # What is only held stands behind what was declared before it.
    before: dict[str, float] = {}
    for array in report.held:
        for prefix in _prefixes(array.scope):
            parent = prefix.rpartition(".")[0]
            before[parent] = at.setdefault(prefix, before.get(parent, -1.0) + 0.25)

    def key(scope: str) -> list[tuple[int, float, str]]:
        names = zip(scope.split("."), _prefixes(scope))
        return [(0, int(n), "") if n.isdecimal() else (1, at.get(prefix, math.inf), n) for n, prefix in names]

    scopes = dict.fromkeys(item.scope for item in (*units, *report.values, *report.held))
    return sorted(scopes, key=lambda scope: (not scope, key(scope)))


def _places(runs: Iterable[tuple[str, float, int]]) -> dict[str, float]:
    """The middle of each module and of those around it, of (scope, place, operations)."""
    found: dict[str, list[tuple[float, int]]] = {}
    for scope, place, flops in runs:
        for prefix in _prefixes(scope):
            found.setdefault(prefix, []).append((place, flops))
    return {prefix: middle(places) for prefix, places in found.items()}


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
