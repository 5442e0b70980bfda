"""The largest batch with which a step fits so many bytes, found by planning it for few lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

LONGEST_BATCH = 1 << 20
"""No longer batch is looked for."""

_GROWTH = 32
"""A length that is looked at is at most so many times the one before."""
_PATIENCE = 4
"""Among so many lengths that are looked at one halves what is open, where sizes do not grow in line."""
_CAUTION = 0.9
"""Where no other smallest plan may be looked for, so much of the way to the length that is likely to fit is gone."""


class Needed(NamedTuple):
    """The bytes of a step: of its smallest plan, which was looked for, or of one that fits without recomputing; and
    those that it takes without a bound.
    """

    nbytes: int
    is_smallest: bool
    unbounded: int


@dataclass
class BatchSearch:
    """The search for the lengths whose step, of `needed` bytes and `held` of them at any length, fits `limit`.

    `needed` says None for a length that is too short for the model, such as one image for batch norm. Multiples of
    `round_length` run in tiles as it does, where it is more than 1; which tiles another length has depends on its
    divisors. No more than `looks` smallest plans are looked for.

    `run` leaves in `fits` the longest batch that is known to fit, 0 if none is, and in `fails` a longer one that does
    not, or is more than `LONGEST_BATCH`: the next one, unless `looks` ended the search.
    """

    limit: int
    held: int
    needed: Callable[[int], Needed | None]
    round_length: int = 1
    looks: float = math.inf
    fits: int = 0
    fails: int = LONGEST_BATCH + 1
    _too_short: int = 0
    _sizes: dict[int, Needed] = field(default_factory=dict[int, Needed])

    @property
    def largest(self) -> int:
        """The longest batch that is known to fit and that the model takes, 0 if there is none."""
        return self.fits if self.fits > self._too_short else 0

    def run(self, first: int) -> None:
        """Look at `first`, and at others until the answer is known."""
        n, tries = first, 0
        while True:
            tries += 1
            self._look(n)
            if self.fails - self.fits == 1 or self.looks <= 0:
                return
            n = max(self.fits + 1, min(self._next(n, tries), self.fails - 1))

    def _look(self, n: int) -> None:
        needed = self.needed(n)
        if needed is None:
            self._too_short = max(self._too_short, n)
        else:
            self._sizes[n] = needed
            self.looks -= needed.is_smallest
        if needed is None or needed.nbytes <= self.limit:
            self.fits = n
        else:
            self.fails = n

    def _next(self, n: int, tries: int) -> int:
        """The length to look at after `n`, which was the one of number `tries`."""
        if not self.fits:
            return 1  # Soon planned, it fits or ends the search, and has the bytes that no batch changes.
        known = self.fails <= LONGEST_BATCH
        guess = self._crossing()
        if guess is None or (known and tries % _PATIENCE == 0):
            guess = (self.fits + self.fails) // 2 if known else _GROWTH * n
        guess = min(guess, _GROWTH * n)
        if self.looks <= 1:
            guess = self.fits + int(_CAUTION * (guess - self.fits))
        if self.round_length > 1 and known:
            # Next to a round length that fits few others do.
            return self.fits + 1 if tries > _PATIENCE and tries % 2 else self._rounded(guess)
        return guess

    def _rounded(self, n: int) -> int:
        """A length like `n` with divisors."""
        return n // self.round_length * self.round_length or 1 << max(n.bit_length() - 1, 0)

    def _crossing(self) -> int | None:
        """The length up to which the step fits, if sizes between those that are known lie on a line. None where that
        does not tell.
        """
        searched = sorted(n for n, needed in self._sizes.items() if needed.is_smallest)
        if self.fails in self._sizes:
            a, b = self.fits if self.fits in self._sizes else 0, self.fails
        elif searched and searched[-1] == self.fits:
            a, b = ([0, *searched])[-2:]
        else:
            # What fits without recomputing says little of the smallest plans of longer batches.
            return None
        most, low = self._sizes[b], self._sizes.get(a)
        least = self.held if low is None else low.nbytes
        if low is not None and not low.is_smallest and most.unbounded > self.held:
            # Its smallest plan saves as much as that of the other.
            least = self.held + (least - self.held) * (most.nbytes - self.held) // (most.unbounded - self.held)
        slope = (most.nbytes - least) / (b - a)
        return int(a + (self.limit - least) / slope) if slope > 0 else None
