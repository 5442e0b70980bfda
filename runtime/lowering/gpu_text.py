"""A kernel of a GPU under construction: a grid of blocks, each of which loops over tiles of its own."""

from __future__ import annotations

from .kernel_text import KernelText
from .launch import Arg, Call, Launch, Scratch, Tile

WARP = 32
"""Threads that run together; a block is whole warps, or one thread."""


class GpuText(KernelText):
    """The kernel of a launch of so many `tiles`: block w does the tiles w, w + blocks and so on, by all its `threads`.

    The worker is the block. So scratch of a worker is that of `block_index()`, and `tile` is a variable of the source.
    """

    def __init__(self, tiles: int, threads: int) -> None:
        super().__init__()
        self.tiles = tiles
        self.threads = threads
        self._before: dict[str, str] = {}
        self._shared: dict[str, str] = {}

    def word(self, arg: Arg) -> str:
        """An argument in source, where those that depend on tile or worker are computed."""
        if isinstance(arg, Tile):
            return "tile"
        if not isinstance(arg, Scratch):
            return super().word(arg)
        text = super().word(Scratch(arg.offset))
        if arg.worker_stride:
            text += f" + block_index() * {super().word(arg.worker_stride)}"
        if arg.tile_stride:
            text += f" + tile * {super().word(arg.tile_stride)}"
        return text

    def shared(self, name: str, short: str, n: int) -> str:
        """An array of `n` elements under this name, which the threads of the block share."""
        self._shared[name] = f"    {name} = shared_{short}({n})"
        return name

    def begins(self, name: str, value: str) -> None:
        """A variable that goes on from tile to tile begins with a value."""
        self._before[name] = f"    {name} = {value}"

    def along(self, n: str, kind: str = "") -> str:
        """The head of a loop over columns: a thread takes every so many."""
        return f"for j in range(thread_index(), {n}, {self.threads}):"

    def stop(self, code: str) -> str:
        """A statement that ends the run after this launch: threads that others wait for may not end."""
        return f"trap({code})"

    def wait(self, indent: str) -> list[str]:
        """The barrier of the block."""
        return [f"{indent}barrier()"]

    def once(self, statement: str, indent: str) -> list[str]:
        """Lines that one thread runs."""
        return [f"{indent}if thread_index() == 0:", f"{indent}    {statement}"]

    def call(self) -> Call:
        """The call of the kernel as it stands."""
        loop = f"    for tile in range(block_index(), {super().word(self.tiles)}, grid_size()):"
        body = [f"    {line}" for line in (*self.head, *self.lines)]
        lines = ["def kernel(b):", *self._shared.values(), *self._before.values(), loop, *body, "    return i64(0)", ""]
        return Call("\n".join(lines), self.args)

    def launch(self, concurrent: bool = False) -> Launch:
        """The launch of the kernel as it stands."""
        return Launch(self.tiles, [self.call()], concurrent, self.threads)
