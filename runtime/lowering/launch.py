"""Launches: which kernels run, with which arguments, over how many tiles. Lowering makes them, every target runs them.

A launch names no machine: memory is a value or scratch, a kernel is its source, a routine of a library is its name. The
CPU encodes launches as the words that its driver reads (`cpu/tables.py`). On a GPU a launch is a grid of blocks of
threads, and a kernel finds the tiles of its block itself. Known elsewhere as kernel launches (CUDA) and thunks (XLA).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...ir import Node, Value
from ...passes.graph.views import View
from ...passes.kernels.register_tiles import RegisterTile


@dataclass(frozen=True, slots=True)
class Tile:
    """The index of the tile that the call works on."""


TILE = Tile()


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address `offset` bytes into the memory of `value`, which is no view."""

    value: Value
    offset: int = 0

    @staticmethod
    def to(view: View) -> Pointer:
        """The address of the first element of a view."""
        return Pointer(view.base, view.offset * view.base.type.dtype.itemsize)

    def plus(self, nbytes: int) -> Pointer:
        """An address so many bytes further."""
        return replace(self, offset=self.offset + nbytes)


@dataclass(frozen=True, slots=True)
class Scratch:
    """An address `offset` bytes into the arena, `worker_stride` bytes further for each worker and `tile_stride` bytes
    for each tile.
    """

    offset: int
    worker_stride: int = 0
    tile_stride: int = 0

    def plus(self, nbytes: int) -> Scratch:
        """An address so many bytes further."""
        return replace(self, offset=self.offset + nbytes)


@dataclass(frozen=True, slots=True)
class KernelAddress:
    """The address of the kernel that `source` defines, for a kernel that calls it."""

    source: str


@dataclass(frozen=True, slots=True)
class Routine:
    """The address of a routine of the target's BLAS or LAPACK by its name, such as "sgemm"."""

    name: str


@dataclass(frozen=True, slots=True)
class Ranks:
    """The address of the block by which kernels send messages to other ranks, see `rank_messages`."""


RANKS = Ranks()


@dataclass(frozen=True, slots=True)
class RankNumber:
    """The number of the rank that runs, for kernels of a GPU, which send no messages by themselves."""


RANK_NUMBER = RankNumber()

Address = Pointer | Scratch
Arg = int | Tile | Pointer | Scratch | KernelAddress | Routine | Ranks | RankNumber
"""What a kernel finds in a word of its argument block: a number, or one of these, resolved by the target."""


@dataclass(frozen=True, slots=True)
class TilesMet:
    """The register tiles that a call meets, `of` all that such products may meet; `source_with` gives its kernel with
    some tiles, `bare` is that without any.
    """

    tiles: frozenset[RegisterTile]
    of: frozenset[RegisterTile]
    source_with: Callable[[frozenset[RegisterTile]], str]
    bare: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the function `kernel` that `source` defines, with arguments in the order in which it reads them.

    The kernel of a program may have other register tiles than those `met` here, see `tiles_met`.
    """

    source: str
    args: Sequence[Arg]
    met: TilesMet | None = None

    def sources(self) -> list[str]:
        """The source of the kernel, and those of the kernels that it calls."""
        return [self.source, *(arg.source for arg in self.args if isinstance(arg, KernelAddress))]


@dataclass(slots=True)
class Launch:
    """Independent tiles, each of which makes all `calls`, one after the other.

    A launch of a unit waits for the one before it, unless it is `concurrent` with that.

    On a GPU it has one call, made by `threads` threads of each of as many blocks as there are tiles or workers,
    whichever are fewer. The kernel loops over the tiles of its block, so no argument depends on tile or worker. It may
    do what several `units` need, see `merged_launches`; else they are empty.
    """

    tiles: int
    calls: list[Call]
    concurrent: bool = False
    threads: int = 1
    units: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """A copy of `nbytes` between the memory of a GPU and pinned memory of its host, beside launches.

    It begins in its place among the units of a phase, when all phases before have ended, and after all transfers in its
    direction that began before. The phase after phase `done` waits for it. Known elsewhere as an asynchronous copy.
    """

    source: Pointer
    target: Pointer
    nbytes: int
    to_host: bool
    done: int


@dataclass(frozen=True, slots=True)
class Trap:
    """A check that ends the run: `node` found an index out of range of `size` entries, a negative exponent, or a matrix
    that it cannot factor.
    """

    node: Node
    size: int


@dataclass
class Traps:
    """All traps of a program; a kernel returns the number of the one that it ran into, counted from 1."""

    entries: list[Trap] = field(default_factory=list[Trap])

    def code(self, node: Node, size: int) -> int:
        """The code of a new trap."""
        self.entries.append(Trap(node, size))
        return len(self.entries)
