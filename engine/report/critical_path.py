"""What bounds the time and the memory of a step: its longest chain of units, and the values that its peak is made of.

Both are computed from the units and values of a report, by algorithms of networkx, which is imported when they are
asked for. Times are those that the planners predict, on one core or on a whole GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .schema import MemoryReport, UnitReport, ValueReport
from .wording import numbers_out


@dataclass(frozen=True)
class CriticalPath:
    """The chain of units that takes longest, each of which reads what the one before it makes: with any number of
    threads a step that runs whole units takes no less.

    `units` are numbers of the report's units, in their order; after a loop follow those of the chain in its iterations,
    which run one after the other (`lanes` of them at a time). `nanoseconds` is what they take together, and
    `all_nanoseconds` what all units do.
    """

    units: tuple[int, ...] = ()
    nanoseconds: float = 0.0
    all_nanoseconds: float = 0.0


@dataclass(frozen=True)
class Removal:
    """What the step would be without some values that are live at its peak: those of layers of one kind, made by the
    same line for the same reason.

    `values` are numbers of the report's values, and `bytes` what they take together at the peak. `peak_bytes` are the
    most live bytes there would be. `recompute_nanoseconds` is the time to compute them once more from what else is live
    at the peak, and from the arguments of the step; `None` for scratch, which nothing computes.
    """

    values: tuple[int, ...]
    bytes: int
    peak_bytes: int
    recompute_nanoseconds: float | None


def critical_path(report: MemoryReport) -> CriticalPath:
    """The critical path of a report; an empty one where it says nothing of time, as reports of before do not."""
    units = report.units
    total = sum(unit.nanoseconds for unit in units if unit.loop is None)
    if not total:
        return CriticalPath()
    inside: dict[int | None, list[int]] = {}
    for i, unit in enumerate(units):
        inside.setdefault(unit.loop, []).append(i)
    takes = [unit.nanoseconds for unit in units]
    chains: dict[int, list[int]] = {}
    # A loop's unit stands before those in it: so loops in loops come first here.
    for k, loop in sorted(enumerate(report.loops), key=lambda pair: -1 if pair[1].unit is None else -pair[1].unit):
        if loop.unit is not None:
            chains[loop.unit] = _longest(units, inside.get(k, []), takes)
            takes[loop.unit] = sum(takes[i] for i in chains[loop.unit]) / max(loop.lanes, 1)
    path = _longest(units, inside.get(None, []), takes)
    opened: list[int] = []
    stack = path[::-1]
    while stack:
        opened.append(stack.pop())
        stack += chains.get(opened[-1], [])[::-1]
    return CriticalPath(tuple(opened), sum(takes[i] for i in path), total)


def _longest(units: Sequence[UnitReport], numbers: Sequence[int], takes: Sequence[float]) -> list[int]:
    """The longest chain of some units, none of which reads what a unit outside of them makes."""
    from networkx import DiGraph, dag_longest_path

    graph: Any = DiGraph()
    start = -1
    # A unit's time stands on the edges to it: each chain begins at the start.
    graph.add_weighted_edges_from((start, i, takes[i]) for i in numbers)
    graph.add_weighted_edges_from((j, i, takes[i]) for i in numbers for j in units[i].reads)
    return dag_longest_path(graph)[1:]


def removals(report: MemoryReport) -> list[Removal]:
    """The groups of values without which the peak would be lower, those first without which it would be lowest.

    Results of the step are not among them: nothing can do without.
    """
    live = np.array(report.live_bytes, np.int64)
    if not live.size:
        return []
    peak, whole = report.peak_phase, int(live.max())
    at_peak = [i for i, (first, end) in enumerate(report.charged) if first <= peak < end]
    found: list[Removal] = []
    for group in _alike(report.values, at_peak):
        without = live.copy()
        for i in group:
            first, end = report.charged[i]
            without[first:end] -= report.values[i].bytes
        if int(without.max()) < whole:
            nbytes = sum(report.values[i].bytes for i in group)
            found.append(Removal(tuple(group), nbytes, int(without.max()), _again(report, at_peak, group)))
    return sorted(found, key=lambda removal: removal.peak_bytes)


def _alike(values: Sequence[ValueReport], numbers: Iterable[int]) -> list[list[int]]:
    """Values that are there for the same reason in layers of the same kind, together."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in numbers:
        v = values[i]
        if v.kind != "result":
            groups.setdefault(v.likeness, []).append(i)
    return list(groups.values())


def _again(report: MemoryReport, at_peak: Sequence[int], group: Sequence[int]) -> float | None:
    """The nanoseconds of the units that would run again for `group`: what makes it, and all before that whose values
    are not live at the peak.
    """
    if report.values[group[0]].kind == "scratch":
        return None
    from networkx import DiGraph, ancestors

    there = set(at_peak) - set(group)
    makers = {report.values[i].made_by for i in group}
    graph: Any = DiGraph()
    graph.add_nodes_from(makers)
    missing = ((v.made_by, u) for i, v in enumerate(report.values) if i not in there for u in v.read_by)
    graph.add_edges_from((of, to) for of, to in missing if of != to)
    needed = makers.union(*(ancestors(graph, maker) for maker in makers))
    units = report.units
    # What runs in a loop that runs again as a whole is in the loop's time.
    whole = {number for number, loop in enumerate(report.loops) if loop.unit in needed}
    return sum(units[i].nanoseconds for i in needed if units[i].loop not in whole)


def longest_units(report: MemoryReport) -> list[tuple[list[UnitReport], float]]:
    """The units of the critical path that are no loops, those of layers of one kind together, longest first: with the
    part of the path's time that they take.
    """
    loops = {loop.unit for loop in report.loops}
    groups: dict[tuple[str, ...], tuple[list[UnitReport], float]] = {}
    for i in report.critical_path.units:
        unit = report.units[i]
        if i in loops:
            continue
        key = (numbers_out(unit.scope), unit.name, unit.role, unit.source)
        units, time = groups.get(key, ([], 0.0))
        groups[key] = [*units, unit], time + unit.nanoseconds / _lanes(report, unit)
    return sorted(groups.values(), key=lambda group: -group[1])


def _lanes(report: MemoryReport, unit: UnitReport) -> int:
    """How many runs of a unit there are at a time."""
    lanes = 1
    while unit.loop is not None:
        loop = report.loops[unit.loop]
        lanes *= max(loop.lanes, 1)
        if loop.unit is None:
            break
        unit = report.units[loop.unit]
    return lanes
