"""How the threads of a block share the rows of a tile, and the columns of each."""

from __future__ import annotations

from dataclasses import dataclass

from ...passes.kernels.loop_nest import LoopNest, reduction_form
from .gpu_text import WARP

_MOST_THREADS = 256
_MOST_ELEMENTS = 4
"""Elements of a row that a thread has at a time: their loads overlap, and they fit the registers."""


@dataclass(frozen=True, slots=True)
class RowThreads:
    """So many `lanes`, neighbouring threads and a power of two of them, share a row: lane k has the columns k,
    k + lanes and so on, `elements` of them at a time. The `groups` of lanes of a block have a row each.

    Rows that are `held` have no more elements than that: each stays in registers. Nothing here follows from anything
    but the length of a row and the rows of a tile, since it fixes the order of sums.
    """

    lanes: int
    groups: int
    elements: int
    held: bool

    @property
    def threads(self) -> int:
        """Threads of a block: whole warps."""
        return self.lanes * self.groups

    @staticmethod
    def of(nest: LoopNest) -> RowThreads:
        """Those of a nest. The rows of a sum over a middle axis come one after the other.

        One long axis has the same threads whatever its length, so that the kernels for all lengths are one.
        """
        if nest.chunked and nest.size == 1:
            return RowThreads(WARP, 1, 1, True)
        columns = max(nest.chunk if nest.chunked and nest.size > 1 else nest.columns, 1)
        lanes = min(_MOST_THREADS, max(min(_power(columns), WARP), _power(-(-columns // _MOST_ELEMENTS))))
        elements = min(_MOST_ELEMENTS, -(-columns // lanes))
        if any(reduction_form(node)[0] == "middle" for node in nest.crossings):
            return RowThreads(max(WARP, lanes), 1, elements, False)
        groups = max(min(_MOST_THREADS // lanes, _power(nest.cut.step)), WARP // lanes, 1)
        return RowThreads(lanes, groups, elements, columns <= _MOST_ELEMENTS * lanes)


def _power(n: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(n - 1, 0).bit_length()
