"""Which bytes launches read and write, and whether launches that may run concurrently touch the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np


@dataclass
class Accesses:
    """Intervals of addresses, as pairs of the first byte and the byte behind the last."""

    reads: list[Any] = field(default_factory=list)
    writes: list[Any] = field(default_factory=list)

    def add(self, others: Iterable[Accesses]) -> None:
        """Adds those of others."""
        for other in others:
            self.reads += other.reads
            self.writes += other.writes


def conflict(concurrent: Sequence[Accesses]) -> tuple[int, int, int] | None:
    """Two of these of which the first writes what the second reads or writes, and the address of such a byte."""
    merged = [(merge(each.writes), merge([*each.reads, *each.writes])) for each in concurrent]
    for a, b in combinations(range(len(merged)), 2):
        for one, other in ((a, b), (b, a)):
            place = first_common(merged[one][0], merged[other][1])
            if place is not None:
                return one, other, place
    return None


def merge(intervals: Sequence[Any]) -> Any:
    """The same bytes as disjoint intervals, in order."""
    if not intervals:
        return np.zeros((0, 2), np.int64)
    pairs = np.concatenate(intervals)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    ends = np.maximum.accumulate(pairs[:, 1])
    first = np.ones(len(pairs), bool)
    first[1:] = pairs[1:, 0] > ends[:-1]
    last = np.append(first[1:], True) if len(pairs) else first
    return np.stack([pairs[first, 0], ends[last]], axis=1)


def first_common(one: Any, other: Any) -> int | None:
    """The address of a byte in both of two lists of disjoint intervals in order, or None."""
    if not len(one) or not len(other) or one[-1, 1] <= other[0, 0] or other[-1, 1] <= one[0, 0]:
        return None
    behind = np.searchsorted(one[:, 1], other[:, 0], side="right")  # the first of `one` that ends behind the beginning
    inside = behind < len(one)
    begins = np.maximum(one[np.minimum(behind, len(one) - 1), 0], other[:, 0])
    meets = np.flatnonzero(inside & (begins < other[:, 1]))
    return int(begins[meets[0]]) if len(meets) else None
