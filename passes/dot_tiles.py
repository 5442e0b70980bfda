"""How a contraction is cut into tiles that threads share."""

from __future__ import annotations

from dataclasses import dataclass

# Below this many multiply-adds a tile costs more to hand out and to pack than it saves.
_LEAST_WORK = 1 << 20
_MOST_TILES = 16


@dataclass(frozen=True, slots=True)
class DotTiles:
    """Tiles of `rows` x `columns` of each of the `batches` results of m x n; the last of a row or column may be
    smaller.
    """

    rows: int
    columns: int
    down: int
    across: int
    batches: int

    @property
    def tiles(self) -> int:
        """All tiles."""
        return self.batches * self.down * self.across


def dot_tiles(batches: int, m: int, n: int, k: int, copies: int = 1) -> DotTiles:
    """Tiles for `batches` products (m, k) x (k, n), from these numbers alone: never from the number of threads.
    So many `copies` of it may run side by side.

    A tile packs its rows of one operand and its columns of the other, which costs as much as 12 more rows and columns
    of work (measured: a tile of r rows runs at r / (r + 12) of full speed); so tiles are as square as they can be,
    and few.
    """
    work = batches * m * n * k
    wanted = min(_MOST_TILES, work // _LEAST_WORK) // max(batches, 1)
    best = (1, 1)
    for down in (1, 2, 4, 8, 16):
        for across in (1, 2, 4, 8, 16):
            if down * across > wanted or (m // down < 32 and down > 1) or (n // across < 32 and across > 1):
                continue
            best = max(best, (down, across), key=lambda cut: _merit(m, n, *cut, -(-4 // copies)))
    rows, columns = _even(m, best[0]), _even(n, best[1])
    return DotTiles(rows, columns, -(-m // rows), -(-n // columns), batches)


def _merit(m: int, n: int, down: int, across: int, enough: int) -> tuple[float, int]:
    """More tiles balance better among threads, as long as packing does not eat it up: `enough` are enough."""
    tiles = min(down * across, enough)
    return tiles / (1 + 12 * down / max(m, 1) + 12 * across / max(n, 1)), -down * across


def _even(length: int, parts: int) -> int:
    """Length of equal parts, in whole vectors of 16."""
    part = -(-max(length, 1) // parts)
    return part if parts == 1 else -(-part // 16) * 16
