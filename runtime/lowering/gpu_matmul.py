"""Contractions on a GPU: a block makes a square of a product, whose operands it reads through shared memory.

A thread has a small square of sums in registers. A sum of many terms is made in sections of `DEPTH`, each added up by
itself and then to the sections before, so that rounding errors grow with the length of a section and the number of
sections. The order is the same wherever an element lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node
from ...passes.graph.views import View
from ...passes.kernels.matmul_tiles import DEPTH
from ...passes.memory.plan import Plan
from .elementwise import CAST, literal
from .gpu_copies import begin_accumulators
from .gpu_text import GpuText
from .launch import Launch, Pointer, Traps

_STRIP = 16
"""Terms that stand in shared memory at a time."""


@dataclass(frozen=True, slots=True)
class _Square:
    """A block makes `side` rows and columns, a thread `each` of both."""

    side: int
    each: int

    @property
    def across(self) -> int:
        """Threads along a side."""
        return self.side // self.each

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.across**2


_SQUARES = (_Square(64, 4), _Square(16, 2))


def lower_gpu_matmul(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over squares of all products of the batch, after the copy of what is added to, if any."""
    x, y, *added = (plan.views[v] for v in node.inputs)
    dtype = x.base.type.dtype
    m, k = x.shape[-2:]
    n = y.shape[-1]
    square = next((s for s in _SQUARES if min(m, n) >= s.side), _SQUARES[-1])
    down, across = -(-m // square.side), -(-n // square.side)
    batches = int(np.prod(x.shape[:-2], dtype=np.int64))
    text = GpuText(batches * down * across if node.output.type.size else 0, square.threads)
    short = SHORT_NAMES[dtype]
    for name, view in (("x", x), ("y", y), ("z", plan.views[node.output])):
        text.head.append(f"    {name} = array_{short}({text.word(Pointer.to(view))}, 0)")
    for name, value in (("m", m), ("n", n), ("k", k), ("across", across), ("down", down)):
        text.number(name, value)
    _places(text, x, y, square)
    text.lines += _sums(square, dtype)
    strip = (
        *_read(text, square, "x", "left", x.strides[-2:], dtype, rows=True),
        *_read(text, square, "y", "right", y.strides[-2:], dtype, rows=False),
        "barrier()",
        *_multiply(square, dtype),
        "barrier()",
    )
    text.lines += [
        f"    for section in range(0, k, {DEPTH}):",
        f"        end = k if k < section + {DEPTH} else section + {DEPTH}",
        f"        for begin in range(section, end, {_STRIP}):",
        *(f"            {line}" for line in strip),
        *(f"        {line}" for line in _section_ends(square, dtype)),
        *(f"    {line}" for line in _store(square, dtype, bool(added))),
    ]
    return [*begin_accumulators(node, plan), text.launch()]


def _places(text: GpuText, x: View, y: View, square: _Square) -> None:
    """Lines that find the square of a tile, its entry of the batch, and the thread's place in it."""
    text.lines += [
        "    batch = tile // (down * across)",
        "    t = tile - batch * down * across",
        f"    top, left_column = t // across * {square.side}, t % across * {square.side}",
        "    of_x, of_y = i64(0), i64(0)",
        "    q = batch",
    ]
    for axis in reversed(range(len(x.shape) - 2)):
        length = text.stride(x.shape[axis])
        text.lines += [
            f"    of_x = of_x + q % {length} * {text.stride(x.strides[axis])}",
            f"    of_y = of_y + q % {length} * {text.stride(y.strides[axis])}",
            f"    q = q // {length}",
        ]
    text.lines += [
        f"    row, column = thread_index() // {square.across}, thread_index() % {square.across}",
    ]


def _each(square: _Square) -> list[tuple[int, int]]:
    return [(i, j) for i in range(square.each) for j in range(square.each)]


def _sums(square: _Square, dtype: np.dtype[Any]) -> list[str]:
    zero = literal(0, dtype)
    return [f"    s{i}{j}, total{i}{j} = {zero}, {zero}" for i, j in _each(square)]


def _held(dtype: np.dtype[Any]) -> str:
    """The type of elements in shared memory."""
    return "i32" if dtype.itemsize == 1 else SHORT_NAMES[dtype]


def _read(
    text: GpuText,
    square: _Square,
    name: str,
    shared: str,
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
    rows: bool,
) -> list[str]:
    """Lines that copy a strip of an operand to shared memory, with zeros around it: `_STRIP` terms of so many `rows` of
    the left operand, or of columns of the right one. Neighbouring threads read neighbours, along whichever axis those
    lie.
    """
    text.shared(shared, _held(dtype), square.side * _STRIP)
    by_row, by_column = (text.stride(s) for s in strides)
    of_terms, of_side = (by_column, by_row) if rows else (by_row, by_column)
    terms_first = of_terms == "1"
    term, place = (f"i % {_STRIP}", f"i // {_STRIP}") if terms_first else (f"i // {square.side}", f"i % {square.side}")
    origin, length = ("top", "m") if rows else ("left_column", "n")
    zero = literal(0, np.dtype(np.int32) if dtype.itemsize == 1 else dtype)
    at = f"{name}[of_{name} + (begin + term) * {of_terms} + ({origin} + place) * {of_side}]"
    at = f"i32({at})" if dtype.itemsize == 1 else at
    return [
        f"for i in range(thread_index(), {square.side * _STRIP}, {square.threads}):",
        f"    term, place = {term}, {place}",
        f"    element = {zero}",
        f"    if (begin + term < end) & ({origin} + place < {length}):",
        f"        element = {at}",
        f"    {shared}[term * {square.side} + place] = element",
    ]


def _multiply(square: _Square, dtype: np.dtype[Any]) -> list[str]:
    """Lines that multiply the strips."""
    cast = (lambda e: e) if dtype.kind == "f" else (lambda e: f"{CAST[dtype]}({e})")
    lines = [f"for term in range({_STRIP}):"]
    for i in range(square.each):
        lines.append(f"    a{i} = left[term * {square.side} + row * {square.each} + {i}]")
        lines.append(f"    b{i} = right[term * {square.side} + column + {i * square.across}]")
    lines += [f"    s{i}{j} = {cast(f's{i}{j} + a{i} * b{j}')}" for i, j in _each(square)]
    return lines


def _section_ends(square: _Square, dtype: np.dtype[Any]) -> list[str]:
    """Lines that add the sums of a section to those before."""
    cast = (lambda e: e) if dtype.kind == "f" else (lambda e: f"{CAST[dtype]}({e})")
    lines: list[str] = []
    for i, j in _each(square):
        lines += [f"total{i}{j} = {cast(f'total{i}{j} + s{i}{j}')}", f"s{i}{j} = {literal(0, dtype)}"]
    return lines


def _store(square: _Square, dtype: np.dtype[Any], added: bool) -> list[str]:
    """Lines that store the sums of a thread."""
    lines: list[str] = []
    for i, j in _each(square):
        r, c = f"top + row * {square.each} + {i}", f"left_column + column + {j * square.across}"
        place = f"(batch * m + {r}) * n + {c}"
        value = f"z[{place}] + total{i}{j}" if added else f"total{i}{j}"
        value = value if dtype.kind == "f" else f"{CAST[dtype]}({value})"
        lines += [f"if ({r} < m) & ({c} < n):", f"    z[{place}] = {value}"]
    return lines
