"""Offsets in one arena: blocks that live at the same time share no byte."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from ..ir import Node, Value

ALIGNMENT = 64


@dataclass
class Request:
    """Bytes wanted from the phase `birth` to the phase `death`, both included; `offset` is what they get."""

    nbytes: int
    birth: int
    death: int
    values: list[Value] = field(default_factory=list[Value])
    unit: Node | None = None
    offset: int = -1


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to whole cache lines."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def assign_offsets(requests: list[Request]) -> int:
    """Offsets by the better of two classic orders; returns the size of the arena."""
    best: tuple[int, list[int]] | None = None
    for order in (_by_birth, _by_size):
        offsets = order(requests)
        if offsets is None:
            continue
        size = max((o + aligned(r.nbytes) for o, r in zip(offsets, requests)), default=0)
        if best is None or size < best[0]:
            best = (size, offsets)
    assert best is not None
    for request, offset in zip(requests, best[1]):
        request.offset = offset
    return best[0]


def _by_birth(requests: list[Request]) -> list[int]:
    """Best fit in the order of births, with a list of free gaps: near-linear."""
    offsets = [0] * len(requests)
    order = sorted(range(len(requests)), key=lambda i: (requests[i].birth, -requests[i].nbytes))
    dying: list[tuple[int, int]] = []
    free: dict[int, int] = {}  # start -> end of gaps below `top`
    top = 0
    for i in order:
        request = requests[i]
        while dying and dying[0][0] < request.birth:
            _, j = heapq.heappop(dying)
            start, end = offsets[j], offsets[j] + aligned(requests[j].nbytes)
            for gap_start, gap_end in list(free.items()):
                if gap_end == start:
                    start = gap_start
                    del free[gap_start]
                elif gap_start == end:
                    end = gap_end
                    del free[gap_start]
            free[start] = end
        size = aligned(request.nbytes)
        fitting = [(end - start, start) for start, end in free.items() if end - start >= size]
        if fitting:
            _, start = min(fitting)
            end = free.pop(start)
            if end - start > size:
                free[start + size] = end
        else:
            last = next((s for s, e in free.items() if e == top), None)
            start = top if last is None else last
            if last is not None:
                del free[last]
            top = start + size
        offsets[i] = start
        heapq.heappush(dying, (request.death, i))
    return offsets


_QUADRATIC_LIMIT = 1500


def _by_size(requests: list[Request]) -> list[int] | None:
    """Largest first, each at the lowest place that no block alive at the same time holds."""
    if len(requests) > _QUADRATIC_LIMIT:
        return None
    offsets = [0] * len(requests)
    placed: list[int] = []
    for i in sorted(range(len(requests)), key=lambda i: -requests[i].nbytes):
        request, size = requests[i], aligned(requests[i].nbytes)
        busy = sorted(
            (offsets[j], offsets[j] + aligned(requests[j].nbytes))
            for j in placed
            if requests[j].birth <= request.death and request.birth <= requests[j].death
        )
        offset = 0
        for start, end in busy:
            if start - offset >= size:
                break
            offset = max(offset, end)
        offsets[i] = offset
        placed.append(i)
    return offsets


def most_live(requests: list[Request]) -> int:
    """The most bytes that are live in one phase: no arena can be smaller for this schedule."""
    change: dict[int, int] = {}
    for r in requests:
        change[r.birth] = change.get(r.birth, 0) + r.nbytes
        change[r.death + 1] = change.get(r.death + 1, 0) - r.nbytes
    live = most = 0
    for phase in sorted(change):
        live += change[phase]
        most = max(most, live)
    return most
