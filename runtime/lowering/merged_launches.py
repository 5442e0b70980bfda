"""Several launches of a GPU as one: each costs about a microsecond, however little it does.

    merge_same(parts), merge_others(parts, in_turn)

Launches that run the same kernel become one over all of their tiles: its words are a table, in which a block finds the
row of its tile. Launches of other kernels become one over all of their tiles too, or one of a single block, which does
one after the other with barriers between them. What is computed stays the same, element by element, and so do its bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ...ir import Node
from .launch import Arg, Call, Launch

_MOST_WORDS = 480
"""Words of a merged kernel: a kernel has 511 at most."""
_MOST_KERNELS = 8
_MOST_LINES = 450
"""Kernels in one, and lines of all parts, so that it is compiled in about the time of these."""

_HEAD = "def kernel(b):"
_LOOP = re.compile(r"    for tile in range\(block_index\(\), word\(b, (\d+)\), grid_size\(\)\):")
_WORD = re.compile(r"word\(b, (\d+)\)")
_SHARED = re.compile(r"    (\w+) = shared_(\w+)\((\d+)\)")
_END = "    return i64(0)"


@dataclass(frozen=True, eq=False)
class Part:
    """A launch that may be merged, with the node of its unit, and whether that overwrites an input."""

    launch: Launch
    node: Node | None
    overwrites: bool

    @property
    def source(self) -> str:
        """Its kernel."""
        return self.launch.calls[0].source

    @property
    def waits(self) -> bool:
        """Whether its threads wait for each other, or count themselves."""
        return "barrier()" in self.source or "block_size()" in self.source

    @property
    def counts_blocks(self) -> bool:
        """Whether it asks which block runs: it has scratch for as many as it has tiles alone."""
        return self.source.count("block_index()") > 1

    @property
    def traps(self) -> bool:
        """Whether it may end the run."""
        return "trap(" in self.source

    @property
    def units(self) -> tuple[Node, ...]:
        """The units that it runs."""
        return self.launch.units or (() if self.node is None else (self.node,))


@dataclass(frozen=True)
class Kernel:
    """A kernel's source, taken apart: arrays that a block shares, what comes before its first tile, what it does with a
    tile, and the word in which the number of its tiles stands.
    """

    shared: Sequence[tuple[str, str, int]]
    before: Sequence[str]
    body: Sequence[str]
    tiles: int

    @staticmethod
    @lru_cache(256)
    def of(source: str) -> Kernel | None:
        """The parts of a source; None where it has another form."""
        lines = source.rstrip("\n").split("\n")
        loops = [i for i, line in enumerate(lines) if _LOOP.fullmatch(line)]
        if lines[0] != _HEAD or lines[-1] != _END or len(loops) != 1:
            return None
        head = lines[1 : loops[0]]
        shared = [found for line in head if (found := _SHARED.fullmatch(line))]
        before = [line for line in head if not _SHARED.fullmatch(line)]
        found = _LOOP.fullmatch(lines[loops[0]])
        assert found
        arrays = [(name, kind, int(n)) for name, kind, n in (match.groups() for match in shared)]
        return Kernel(arrays, before, lines[loops[0] + 1 : -1], int(found[1]))


def merge_same(parts: Sequence[Part]) -> Launch | None:
    """One launch over the tiles of launches that run the same kernel; None where its table would be too long."""
    kernel = Kernel.of(parts[0].source)
    rows = [part.launch.calls[0].args for part in parts]
    if kernel is None or parts[0].counts_blocks:
        return None
    own = [k for k in range(len(rows[0])) if k != kernel.tiles and any(row[k] != rows[0][k] for row in rows)]
    common = [k for k in range(len(rows[0])) if k != kernel.tiles and k not in own]
    width = 1 + len(own)
    if 1 + len(common) + width * len(parts) > _MOST_WORDS:
        return None
    args: list[Arg] = [sum(part.launch.tiles for part in parts), *(rows[0][k] for k in common)]
    words = {k: f"word(b, {1 + i})" for i, k in enumerate(common)} | {k: f"table_{k}" for k in own}
    first, table = 0, len(args)
    for part, row in zip(parts, rows):
        args += [first, *(row[k] for k in own)]
        first += part.launch.tiles

    def find(low: int, high: int, indent: str) -> Iterator[str]:
        """Lines that read the row of the tile, which is one of these."""
        begins = table + width * low
        if high - low == 1:
            yield f"{indent}table_begin = word(b, {begins})"
            yield from (f"{indent}table_{k} = word(b, {begins + 1 + i})" for i, k in enumerate(own))
            return
        middle = (low + high) // 2
        yield f"{indent}if tile < word(b, {table + width * middle}):"
        yield from find(low, middle, indent + "    ")
        yield f"{indent}else:"
        yield from find(middle, high, indent + "    ")

    lines = [
        _HEAD,
        *(f"    {name} = shared_{kind}({n})" for name, kind, n in kernel.shared),
        *kernel.before,
        "    for tile in range(block_index(), word(b, 0), grid_size()):",
        *(f"        {name} = i64(0)" for name in ("table_begin", *(f"table_{k}" for k in own))),
        *find(0, len(parts), "        "),
        "        tile = tile - table_begin",
        *(_WORD.sub(lambda found: words[int(found[1])], line) for line in kernel.body),
        _END,
        "",
    ]
    return _merged(parts, "\n".join(lines), args, parts[0].launch.threads)


def merge_others(parts: Sequence[Part], in_turn: bool) -> Launch | None:
    """One launch of launches of any kernels: over the tiles of all, or all in one block `in_turn`, each a tile. None
    where they are too many, or some threads would wait for others that are not there.
    """
    threads = max(part.launch.threads for part in parts)
    if any(part.waits and part.launch.threads < threads for part in parts):
        return None
    if not in_turn and any(part.counts_blocks for part in parts):
        return None
    kernels: dict[str, Kernel] = {}
    for part in parts:
        kernel = Kernel.of(part.source)
        if kernel is None:
            return None
        kernels[part.source] = kernel
    if len(kernels) > _MOST_KERNELS or sum(len(kernels[part.source].body) for part in parts) > _MOST_LINES:
        return None
    shared: dict[tuple[str, int], int] = {}
    functions: list[str] = []
    arrays_of: dict[str, list[str]] = {}
    for number, (source, kernel) in enumerate(kernels.items()):
        seen: dict[str, int] = {}
        arrays_of[source] = []
        for _, kind, n in kernel.shared:
            key = kind, seen.get(kind, 0)
            seen[kind] = key[1] + 1
            shared[key] = max(shared.get(key, 0), n)
            arrays_of[source].append(f"shared_{key[1]}_{kind}")
        functions += _function(f"part{number}", kernel)
    total = 1 if in_turn else sum(part.launch.tiles for part in parts)
    args: list[Arg] = [total]
    calls: list[tuple[str, list[str]]] = []
    begun = 0
    numbers = {source: number for number, source in enumerate(kernels)}
    for part in parts:
        names = list(arrays_of[part.source])
        begins = f"word(b, {len(args)})"
        args.append(begun)
        begun += part.launch.tiles
        for k in _words_of(kernels[part.source]):
            names.append(f"word(b, {len(args)})")
            args.append(part.launch.calls[0].args[k])
        tile = "tile" if in_turn else f"tile - {begins}"
        call = [f"part{numbers[part.source]}({', '.join([tile, *names])})"]
        if part.launch.threads < threads:
            call = [f"if thread_index() < {part.launch.threads}:", f"    {call[0]}"]
        calls.append((begins, call))
    if len(args) > _MOST_WORDS:
        return None
    lines = [
        *functions,
        _HEAD,
        *(f"    shared_{i}_{kind} = shared_{kind}({n})" for (kind, i), n in shared.items()),
        "    for tile in range(block_index(), word(b, 0), grid_size()):",
    ]
    if in_turn:
        for _, call in calls:
            lines += [f"        {line}" for line in (*call, "barrier()")]
    else:
        lines += _choice(calls, "        ")
        lines += ["        barrier()"] if shared else []
    return _merged(parts, "\n".join([*lines, _END, ""]), args, threads)


def _choice(calls: Sequence[tuple[str, list[str]]], indent: str) -> list[str]:
    """Lines that make the call of the tile, of calls each with the word of its first tile."""
    if len(calls) == 1:
        return [indent + line for line in calls[0][1]]
    middle = len(calls) // 2
    return [
        f"{indent}if tile < {calls[middle][0]}:",
        *_choice(calls[:middle], indent + "    "),
        f"{indent}else:",
        *_choice(calls[middle:], indent + "    "),
    ]


def _words_of(kernel: Kernel) -> list[int]:
    """The words that a kernel reads to make a tile."""
    text = "\n".join((*kernel.before, *kernel.body))
    return sorted({int(k) for k in _WORD.findall(text)})


def _function(name: str, kernel: Kernel) -> list[str]:
    """The function that makes a tile, of the tile, the arrays that are shared, and the words."""
    parameters = ["tile", *(array for array, _, _ in kernel.shared), *(f"given{k}" for k in _words_of(kernel))]
    body = [*kernel.before, *(line[4:] for line in kernel.body)]
    lines = [_WORD.sub(lambda found: f"given{found[1]}", line) for line in body]
    return [f"def {name}({', '.join(parameters)}):", *lines, _END, "", ""]


def _merged(parts: Sequence[Part], source: str, args: Sequence[Arg], threads: int) -> Launch:
    tiles = args[0]
    assert isinstance(tiles, int)
    units = tuple(dict.fromkeys(unit for part in parts for unit in part.units))
    return Launch(tiles, [Call(source, args)], False, threads, units)
