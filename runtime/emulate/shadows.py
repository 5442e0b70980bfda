"""What the checking mode remembers of the arrays given to a launch: who accessed each granule of them last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import state as at
from .accesses import Accesses


class Shadows:
    """Shadow words of arrays given, by the addresses of their first bytes and their bytes; those that overlap share
    them. A granule has as many bytes as the smallest element that the kernel accesses.
    """

    def __init__(self, extents: Sequence[tuple[int, int]], granule: int) -> None:
        self.bits = granule.bit_length() - 1
        self.words: Any = np.zeros((len(extents), at.EXTENT_WORDS), np.int64)
        """Those of the launch, a row an array."""
        ranges: list[list[int]] = []
        homes = [0] * len(extents)
        for k in sorted(range(len(extents)), key=lambda k: extents[k]):
            first, last = extents[k][0], sum(extents[k])
            if not ranges or first >> self.bits > ranges[-1][1] >> self.bits:
                ranges.append([first, last])
            ranges[-1][1] = max(ranges[-1][1], last)
            homes[k] = len(ranges) - 1
        # Zeros that the system gives page by page: what is not accessed takes no memory.
        self._starts = [first >> self.bits for first, _ in ranges]
        self._shadows = [
            np.zeros(((last >> self.bits) + 1 - start, at.SHADOW_WORDS), np.int64)
            for start, (_, last) in zip(self._starts, ranges)
        ]
        self._homes = homes
        for words, (first, nbytes), home in zip(self.words, extents, homes):
            shadows = self._shadows[home].ctypes.data - self._starts[home] * at.SHADOW_BYTES
            words[:] = first, first + nbytes, shadows, first + nbytes, first

    def note(self, noted: Accesses) -> None:
        """Adds what was read and written."""
        for words, home in zip(self.words, self._homes):
            low, high = int(words[at.LOW]) >> self.bits, int(words[at.HIGH] - 1) >> self.bits
            start = self._starts[home]
            touched = self._shadows[home][low - start : high + 1 - start]
            noted.reads.append(self._intervals(touched[:, at.READ] != 0, low))
            noted.writes.append(self._intervals(touched[:, at.WRITTEN] != 0, low))

    def _intervals(self, flags: Any, start: int) -> Any:
        """Addresses of the granules from number `start` on that are flagged, as intervals."""
        edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
        return (edges.reshape(-1, 2) + start) << self.bits
