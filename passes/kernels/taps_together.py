"""Neighbouring taps of a kernel that a register tile of a weight gradient takes together, with the outputs of each.

All taps of a tile must meet all outputs that it sums over. Near the ends of a line some taps meet padding, so a line of
outputs is cut where a tap begins or ends to meet elements of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .polyphase import TapOutputs


@dataclass(frozen=True, slots=True)
class TapsTogether:
    """`taps` neighbouring taps from `first_tap` on, and the outputs `first + t * stride`, for t below `count`, that
    each of them meets. The first tap is at `input_first + t * input_stride`, the next `apart` elements behind it.
    `stride` and `input_stride` are those of all taps along the axis.
    """

    first_tap: int
    taps: int
    first: int
    count: int
    input_first: int
    apart: int


def taps_together(of_taps: Sequence[TapOutputs], begin: int, end: int, sizes: Sequence[int]) -> list[TapsTogether]:
    """What the taps from `begin` to `end` meet, in the order of the outputs. `sizes` are the numbers of taps that there
    are tiles for, 1 among them.
    """
    met = [of_taps[k] for k in range(begin, end)]
    ends = sorted({o for m in met if m.count for o in (m.first, m.first + m.count * m.stride)})
    result: list[TapsTogether] = []
    for start, stop in pairwise(ends):
        there = [m.count > 0 and m.first <= start and stop <= m.first + m.count * m.stride for m in met]
        k = 0
        while k < len(met):
            if not there[k]:
                k += 1
                continue
            found = 1
            while k + found < len(met) and there[k + found] and _meet_alike(met[k], met[k + found]):
                found += 1
            size = max(n for n in sizes if n <= found)
            piece = _piece(begin + k, size, met[k], met[k + size - 1], start, stop)
            if piece.count:
                result.append(piece)
            k += size
    return result


def _meet_alike(a: TapOutputs, b: TapOutputs) -> bool:
    """Whether two taps meet outputs whose numbers leave the same remainder by their stride."""
    return (a.first - b.first) % a.stride == 0


def _piece(tap: int, taps: int, m: TapOutputs, last: TapOutputs, start: int, stop: int) -> TapsTogether:
    """The outputs of a tap from `start` up to `stop`, with those behind it."""
    skipped = -(-(start - m.first) // m.stride)
    count = -(-(stop - m.first) // m.stride) - skipped
    # Where a tap would be at the first output of another, in elements of the input.
    away = last.input_first - m.input_first - (last.first - m.first) // m.stride * m.input_stride
    apart = away // (taps - 1) if taps > 1 else 0
    return TapsTogether(tap, taps, m.first + skipped * m.stride, count, m.input_first + skipped * m.input_stride, apart)
