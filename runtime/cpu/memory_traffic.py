"""The bytes that each launch of a program moves between the last cache and memory: a model, and no measurement."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from .unit_tables import UnitTables

_PAGE = 1 << 14
"""Bytes that come into the cache, and leave it, as one."""


class LastCache:
    """A cache of so many bytes which keeps what was used last. What is read and not there comes from memory; what was
    written goes there when it leaves.
    """

    def __init__(self, nbytes: int) -> None:
        self._most = max(1, nbytes // _PAGE)
        self._pages: OrderedDict[tuple[int, int], int] = OrderedDict()
        self.moved = 0
        """Bytes that have come from memory, or gone there."""

    def use(self, base: int, offset: int, nbytes: int, written: bool) -> None:
        """Read or write bytes of a base."""
        for page in range(offset // _PAGE, -(-(offset + nbytes) // _PAGE)):
            within = min(offset + nbytes, (page + 1) * _PAGE) - max(offset, page * _PAGE)
            known = self._pages.pop((base, page), None)
            if known is None and not written:
                self.moved += within
            dirty = known or 0
            self._pages[base, page] = min(dirty + within, _PAGE) if written else dirty
            if len(self._pages) > self._most:
                _, left = self._pages.popitem(last=False)
                self.moved += left


def memory_traffic(tables: UnitTables, cache_bytes: int) -> Sequence[int]:
    """Bytes of each launch of a program that is run again and again, its launches in their order. What flags decide on
    counts as if each stretch ran once.
    """
    cache = LastCache(cache_bytes)
    moved: list[int] = []
    for _ in range(2):  # the second run begins with what the first has left in the cache
        moved = []
        for tiles, _, first, count, iteration, inner in tables.stretches.launches.tolist():
            before = cache.moved
            ranges = [each for unit in tables.units_of(first, count) for each in unit.ranges]
            concurrent = any(each.start.parallel_stride for each in ranges)
            for tile in range(tiles if concurrent else 1):
                for each in ranges:
                    if each.table_bytes > cache_bytes:  # its rows are others in each run
                        cache.moved += each.nbytes
                    else:
                        cache.use(*each.at(tile, iteration, inner), each.nbytes, each.written)
            moved.append(cache.moved - before)
    return moved
