"""Register tiles: blocks of rows by vectors of columns whose sums stay in vector registers.

A length is cut into as few blocks or strips as can be, as equal as they can be, so that few sizes of tile occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..target import Target

RegisterTile = tuple[int, int, bool]
"""Rows, vectors, and whether the last vector is only partly there."""


@dataclass(frozen=True, slots=True)
class Strips:
    """Channels of a group in strips of `width` vectors, the last ones a vector narrower: `wide` have full width."""

    vectors: int
    count: int
    width: int
    wide: int

    def widths(self) -> set[int]:
        """The widths that occur."""
        return {self.width, *({self.width - 1} if self.wide < self.count else ())}

    def kinds(self) -> set[tuple[int, bool]]:
        """The widths that occur, each with whether a strip of it is the last one."""
        widths = [self.width] * self.wide + [self.width - 1] * (self.count - self.wide)
        return {(width, i == self.count - 1) for i, width in enumerate(widths)}


def strips(channels: int, itemsize: int, most: int, target: Target) -> Strips:
    """As few strips of at most `most` vectors as can be, as equal as they can be."""
    vectors = -(-channels * itemsize // target.vector_bytes)
    count = -(-vectors // most)
    width = -(-vectors // count)
    return Strips(vectors, count, width, vectors - count * (width - 1))


@dataclass(frozen=True, slots=True)
class Rows:
    """A length cut into `blocks` of `most` rows or, after the first `long` ones, one less."""

    blocks: int
    most: int
    long: int

    @staticmethod
    def of(length: int, most: int) -> Rows:
        """As few blocks of at most `most` rows as can be, as equal as they can be."""
        blocks = -(-length // most)
        longest = -(-length // blocks) if blocks else 0
        return Rows(blocks, longest, length - blocks * (longest - 1))

    def sizes(self) -> set[int]:
        """The block lengths that occur."""
        return {self.most, *({self.most - 1} if self.long < self.blocks else ())} if self.blocks else set()


def rows(length: int, vectors: int, target: Target) -> Rows:
    """Blocks for register tiles of `vectors` vectors."""
    return Rows.of(length, target.tile_rows(vectors))


def tile_shapes(blocks: Sequence[Rows], widths: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs of rows and vectors that register tiles take."""
    return sorted({(size, width) for block in blocks for size in block.sizes() for width in widths})
