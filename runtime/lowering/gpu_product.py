"""The kernel of products on a GPU: a block makes a tile of a result, whose factors it reads through shared memory.

A strip of both factors stands in shared memory at a time, while the next one is on its way to registers. A thread has a
small tile of sums in registers, each a chain of fused multiply-adds over a section, which is then added to the sections
before. At the end the sums go through shared memory to neighbouring threads, which finish neighbouring elements.

What the factors are is said by a `Factor` of each side: elements of a matrix, or of images under a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...ir import SHORT_NAMES
from ...ir.types import is_float
from ...passes.kernels.block_tiles import BlockTiles
from ...passes.kernels.matmul_tiles import DEPTH
from ...passes.kernels.matrix_products import BatchAxis
from .elementwise import CAST, literal, loaded
from .gpu_copies import ElementText
from .gpu_text import GpuText
from .kernel_text import KernelText
from .launch import Launch, Scratch

_VECTOR, _VECTOR_BYTES = 4, 16
"""Neighbours that a thread has side by side, and what it reads of shared memory together."""


class Factor(Protocol):
    """One side of a product: where the element of a place (a row of the left side, a column of the right one) and a
    term is. Lines are those of a tile, where `batch` and `of_left` or `of_right` are known.
    """

    @property
    def terms_first(self) -> bool:
        """Whether neighbouring threads read neighbouring terms: else neighbouring places."""
        ...

    def begin(self, text: KernelText) -> None:
        """Arguments of the kernel, in its head."""
        ...

    def at_place(self, text: KernelText, name: str, place: str) -> list[str]:
        """Lines that keep under names with `name` what all terms of a place have in common."""
        ...

    def at_term(self, text: KernelText, name: str, term: str) -> list[str]:
        """Lines that keep under names with `name` what all places of a term have in common."""
        ...

    def element(self, text: KernelText, place: str, term: str) -> tuple[str, str]:
        """A condition, or nothing, and the element where it holds, in expressions of names of a place and a term; it
        is zero elsewhere.
        """
        ...


@dataclass(frozen=True)
class Result:
    """Where `batches` (m, n) products go: element (r, c) of one to `r * row_stride + c * column_stride` behind its
    place of the batch. Where columns are in groups of `grouped`, they are `column_stride` apart within one, and groups
    `group_stride`.
    """

    m: int
    n: int
    batch: Sequence[BatchAxis]
    row_stride: int
    column_stride: int
    grouped: int = 0
    group_stride: int = 0

    @property
    def batches(self) -> int:
        """All products."""
        return int(np.prod([axis.length for axis in self.batch], dtype=np.int64))

    def place(self, text: KernelText) -> str:
        """Where element (r, c) goes, as an expression."""
        row, column = f"of_result + r * {text.stride(self.row_stride)}", text.stride(self.column_stride)
        if not self.grouped:
            return f"{row} + c * {column}"
        grouped = text.stride(self.grouped)
        return f"{row} + c // {grouped} * {text.stride(self.group_stride)} + c % {grouped} * {column}"


class Finish(Protocol):
    """What becomes of the sums."""

    def begin(self, text: KernelText) -> None:
        """Arguments of the kernel, in its head."""
        ...

    def lines(self, text: KernelText) -> list[str]:
        """Lines for element `place`, whose sum is `total`."""
        ...


def held_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of factors and sums in a kernel."""
    if is_float(dtype):
        return np.dtype(np.float32) if dtype.itemsize < 4 else dtype
    return np.dtype(np.int32) if dtype.itemsize == 1 else dtype


def held(element: str, dtype: np.dtype[Any]) -> str:
    """An element in memory as a factor."""
    wide = held_dtype(dtype)
    return loaded(element, dtype) if is_float(dtype) or wide == dtype else f"{CAST[wide]}({element})"


class ProductKernel(GpuText):
    """The kernel of one launch; its tiles are those of all parts of all products."""

    def __init__(
        self, left: Factor, right: Factor, result: Result, k: int, dtype: np.dtype[Any], cut: BlockTiles
    ) -> None:
        tile = cut.tile
        tiles = cut.parts * result.batches * tile.tiles(result.m, result.n)
        super().__init__(tiles, tile.threads)
        self.tile, self.cut, self.result, self.dtype = tile, cut, result, held_dtype(dtype)
        self.sides = {"left": left, "right": right}
        self.k = k

    def write(self, finish: Finish, parts: Scratch | None) -> None:
        """All lines; parts of sums go where `parts` says, whole ones to what finishes them."""
        for side in self.sides.values():
            side.begin(self)
        if parts is None:
            finish.begin(self)
        else:
            self.head.append(f"    parts = array_{SHORT_NAMES[self.dtype]}({self.word(parts)}, 0)")
        for name, value in (("m", self.result.m), ("n", self.result.n), ("k", self.k)):
            self.number(name, value)
        self._find_tile()
        shared = self._share()
        for name, side in self.sides.items():
            self._places(name, side)
        zero = literal(0, self.dtype)
        self.lines += [f"    s{i}_{j}, total{i}_{j} = {zero}, {zero}" for i, j in self._each()]
        self.lines += [f"    {line}" for name in self.sides for line in self._read(name, "first")]
        strip = [
            "barrier()",
            *(line for name in self.sides for line in self._put(name)),
            "barrier()",
            f"after = begin + {self.tile.strip}",
            *(line for name in self.sides for line in self._read(name, "after")),
            *self._multiply(),
            f"if (after % {DEPTH} == 0) | (after >= last):",
            *(f"    {line}" for line in self._section_ends()),
        ]
        self.lines.append(f"    for begin in range(first, last, {self.tile.strip}):")
        self.lines += [*(f"        {line}" for line in strip), "    barrier()"]
        self.lines += [
            f"    {shared}[(row * {self.tile.down} + {i}) * {self.tile.columns} + {self._column(j)}] = total{i}_{j}"
            for i, j in self._each()
        ]
        self.lines += [
            "    barrier()",
            f"    for e in range(thread_index(), {self.tile.rows * self.tile.columns}, {self.threads}):",
            f"        r, c = top + e // {self.tile.columns}, left_column + e % {self.tile.columns}",
            "        if (r < m) & (c < n):",
            f"            total = {shared}[e]",
        ]
        if parts is not None:
            self.number("batches", self.result.batches)
            self.lines += ["            parts[((part * batches + batch) * m + r) * n + c] = total"]
            return
        self.lines += [
            f"            place = {self.result.place(self)}",
            *(f"            {line}" for line in finish.lines(self)),
        ]

    # ---- where a block and its threads are

    def _find_tile(self) -> None:
        tile, result = self.tile, self.result
        down, across = -(-result.m // tile.rows), -(-result.n // tile.columns)
        for name, value in (("down", down), ("across", across)):
            self.number(name, value)
        self.lines += ["    q = tile"]
        if self.cut.parts > 1:
            self.number("each", down * across * result.batches)
            terms = self.number("terms", self.cut.terms)
            self.lines += ["    part = q // each", "    q = q - part * each", f"    first = part * {terms}"]
            self.lines += [f"    last = k if k < first + {terms} else first + {terms}"]
        else:
            self.lines += ["    first, last = i64(0), k"]
        self.lines += [
            "    batch = q // (down * across)",
            "    q = q - batch * (down * across)",
            f"    top, left_column = q // across * {tile.rows}, q % across * {tile.columns}",
            *(f"    {line}" for line in batch_offsets(self, result.batch)),
        ]
        threads_across = tile.columns // tile.across
        self.lines += [f"    row, column = thread_index() // {threads_across}, thread_index() % {threads_across}"]

    def _share(self) -> str:
        """The shared memory: strips of both sides, and then the sums of the tile."""
        size = max(sum(self.tile.strip * self._pitch(name) for name in self.sides), self.tile.rows * self.tile.columns)
        shared = self.shared("held", SHORT_NAMES[self.dtype], size)
        at = 0
        for name in self.sides:
            size = self.tile.strip * self._pitch(name)
            self.lines.append(f"    {name} = window({shared}, {at}, {size})")
            at += size
        return shared

    def _side(self, name: str) -> int:
        return self.tile.rows if name == "left" else self.tile.columns

    def _pitch(self, name: str) -> int:
        """Elements from one term to the next in shared memory: a vector more than places, so that those who write
        terms side by side meet other banks.
        """
        return self._side(name) + _VECTOR

    def _each(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.tile.down) for j in range(self.tile.across)]

    def _column(self, j: int) -> str:
        """Column `j` of a thread in the tile. Threads have vectors of neighbours, each side by side."""
        width = min(_VECTOR, self.tile.across)
        whole = j // width * width * (self.tile.columns // self.tile.across)
        return f"column * {width} + {whole + j % width}"

    # ---- strips

    def _loads(self, name: str) -> list[tuple[str, str, str, str]]:
        """For each element of a strip that a thread reads: its name, its term and place in the strip, and the name of
        what is known of its place, or of its term, which all of them share.
        """
        side, count = self._side(name), self._side(name) * self.tile.strip // self.threads
        if self.sides[name].terms_first:
            apart = self.threads // self.tile.strip
            term, place = f"thread_index() % {self.tile.strip}", f"thread_index() // {self.tile.strip}"
            return [(f"{name}{i}", term, f"{place} + {i * apart}", f"{name}{i}") for i in range(count)]
        apart = self.threads // side
        term, place = f"thread_index() // {side}", f"thread_index() % {side}"
        return [(f"{name}{i}", f"{term} + {i * apart}", place, f"{name}0") for i in range(count)]

    def _places(self, name: str, side: Factor) -> None:
        """Lines before the first strip: where the places are that a thread reads. One behind the end is the last, which
        nobody asks for.
        """
        begin, length = ("top", "m") if name == "left" else ("left_column", "n")
        known: set[str] = set()
        for element, _, place, at in self._loads(name):
            if at not in known:
                known.add(at)
                self.lines += [
                    f"    p = {begin} + {place}",
                    f"    p = p if p < {length} else {length} - 1",
                    *(f"    {line}" for line in side.at_place(self, at, "p")),
                ]
            self.lines.append(f"    {element} = {literal(0, self.dtype)}")

    def _read(self, name: str, begin: str) -> list[str]:
        """Lines that read the elements of the strip that begins at a term; behind the last term there are zeros."""
        side = self.sides[name]
        lines: list[str] = []
        zero = literal(0, self.dtype)
        groups: dict[str, list[tuple[str, str]]] = {}
        for element, term, _, at in self._loads(name):
            groups.setdefault(term, []).append((element, at))
        for term, elements in groups.items():
            zeros = (f"{element} = {zero}" for element, _ in elements)
            lines += [f"term = {begin} + {term}", *zeros, "if term < last:"]
            lines += [f"    {line}" for line in side.at_term(self, f"{name}_term", "term")]
            for element, at in elements:
                condition, read = side.element(self, at, f"{name}_term")
                if condition:
                    lines += [f"    if {condition}:", f"        {element} = {read}"]
                else:
                    lines.append(f"    {element} = {read}")
        return lines

    def _put(self, name: str) -> list[str]:
        """Lines that put what was read into shared memory."""
        return [
            f"{name}[({term}) * {self._pitch(name)} + {place}] = {element}"
            for element, term, place, _ in self._loads(name)
        ]

    def _multiply(self) -> list[str]:
        rows = [f"row * {self.tile.down} + {i}" for i in range(self.tile.down)]
        columns = [self._column(j) for j in range(self.tile.across)]
        short, lines = SHORT_NAMES[self.dtype], [f"for t in range({self.tile.strip}):"]
        for letter, name, places in (("a", "left", rows), ("b", "right", columns)):
            for i, place in enumerate(places):
                element = f"{name}[t * {self._pitch(name)} + {place}]"
                if i % (_VECTOR_BYTES // self.dtype.itemsize) == 0 and len(places) >= _VECTOR:
                    element = f"aligned_{short}({name}, t * {self._pitch(name)} + {place})"
                lines.append(f"    {letter}{i} = {element}")
        for i, j in self._each():
            lines.append(f"    s{i}_{j} = {self._added(f's{i}_{j}', f'a{i}', f'b{j}')}")
        return lines

    def _added(self, total: str, a: str, b: str) -> str:
        if self.dtype.kind == "f":
            return f"fma_{SHORT_NAMES[self.dtype]}({a}, {b}, {total})"
        return f"{CAST[self.dtype]}({total} + {a} * {b})"

    def _section_ends(self) -> list[str]:
        """Lines that add the sums of a section to those before."""
        lines: list[str] = []
        for i, j in self._each():
            total = f"total{i}_{j} + s{i}_{j}"
            total = total if self.dtype.kind == "f" else f"{CAST[self.dtype]}({total})"
            lines += [f"total{i}_{j} = {total}", f"s{i}_{j} = {literal(0, self.dtype)}"]
        return lines


def batch_offsets(text: KernelText, batch: Sequence[BatchAxis]) -> list[str]:
    """Lines that find where place `batch` begins in both factors and the result."""
    lines = ["of_left, of_right, of_result, q = i64(0), i64(0), i64(0), batch"]
    for axis in reversed(batch):
        for name, stride in (("left", axis.left), ("right", axis.right), ("result", axis.result)):
            lines.append(f"of_{name} = of_{name} + q % {text.stride(axis.length)} * {text.stride(stride)}")
        lines.append(f"q = q // {text.stride(axis.length)}")
    return lines


def product_launches(
    left: Factor, right: Factor, result: Result, k: int, dtype: np.dtype[Any], cut: BlockTiles, finish: Finish,
    parts: Scratch,
) -> list[Launch]:  # fmt: skip
    """One launch over tiles, and where sums are made in `parts`, one that adds these up."""
    kernel = ProductKernel(left, right, result, k, dtype, cut)
    kernel.write(finish, parts if cut.parts > 1 else None)
    return [kernel.launch(), *([_combine(result, dtype, cut, finish, parts)] if cut.parts > 1 else [])]


def _combine(result: Result, dtype: np.dtype[Any], cut: BlockTiles, finish: Finish, parts: Scratch) -> Launch:
    """The sums of the parts in their order, a thread an element."""
    text = ElementText(result.batches * result.m * result.n)
    text.head.append(f"    parts = array_{SHORT_NAMES[held_dtype(dtype)]}({text.word(parts)}, 0)")
    finish.begin(text)
    m, n = text.number("m", result.m), text.number("n", result.n)
    text.number("of_parts", cut.parts)
    text.element(
        "total = parts[e]",
        "for part in range(1, of_parts):",
        "    total = total + parts[part * count + e]",
        f"batch = e // ({m} * {n})",
        f"r = e // {n} - batch * {m}",
        f"c = e % {n}",
        *batch_offsets(text, result.batch),
        f"place = {result.place(text)}",
        *finish.lines(text),
    )
    return text.launch()
