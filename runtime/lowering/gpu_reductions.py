"""Reductions by the threads of a block, in an order that the length of a row and the rows of a tile fix.

A thread reduces its elements of a row one after the other, the lanes of a row what its threads found: a warp by a
butterfly, and then each thread what the warps found, in their order. All lanes have the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Op
from ...ir.ops import reduction
from .gpu_text import WARP, GpuText
from .launch import Address, Launch
from .reduction import REDUCTIONS, combine, identity
from .region_reductions import Reductions
from .row_threads import RowThreads


class GpuReductions(Reductions):
    """The reductions of a nest. What a thread has found of a row, or of a tile, is in a variable of its own."""

    text: GpuText
    threads: RowThreads
    """How threads share the rows."""

    def begin(self, node: Node, indent: str) -> None:
        """Lines before the first element of a row, or of a tile."""
        dtype = node.inputs[0].type.dtype
        self.text.lines.append(f"{indent}{self.part(node)} = {_start(self.reduced(node), dtype)}")

    def take(self, node: Node, element: str) -> str:
        """A statement that adds an element."""
        dtype = node.inputs[0].type.dtype
        held = _held(dtype)
        element = element if held == dtype else f"{SHORT_NAMES[held]}({element})"
        return f"{self.part(node)} = {combine(self.reduced(node), held, self.part(node), element)}"

    def end(self, node: Node, lanes: int, name: str, indent: str) -> None:
        """Lines after which all of so many lanes have the result under this name."""
        dtype = node.inputs[0].type.dtype
        held, part = _held(dtype), self.part(node)
        self.text.lines += [
            *across_threads(self.text, self.reduced(node), held, part, lanes, indent),
            f"{indent}{name} = {_result(part, dtype)}",
        ]

    def reduced(self, node: Node) -> Op:
        """The op by which two parts become one: that of the extreme, where its place is looked for."""
        if node.op in REDUCTIONS:
            return node.op
        return reduction.reduce_max if node.op is reduction.argmax else reduction.reduce_min

    def part(self, node: Node) -> str:
        """The variable of what a thread has found."""
        return f"part{self.nest.body.nodes.index(node)}"

    def place_of_extreme(self, node: Node, name: str, elements: list[tuple[str, str, str]], indent: str) -> None:
        """Lines that find the first element that is the extreme: among `elements`, each with its condition and column,
        or along the row.
        """
        dtype = node.inputs[0].type.dtype
        self.end(node, self.threads.lanes, "best", indent)
        self.text.lines.append(f"{indent}{name} = i64(n)")
        inner = indent
        if not elements:
            self.text.lines += [
                f"{indent}for j in range(lane, n, {self.threads.lanes}):",
                f"{indent}    e = {self.row_source(node.inputs[0])}[j]",
            ]
            elements, inner = [("True", "j", "e")], f"{indent}    "
        for guard, column, e in elements:
            nan = f" | (({e} != {e}) & (best != best))" if dtype.kind == "f" else ""
            self.text.lines += [
                f"{inner}if ({guard}) & ({column} < {name}):",
                f"{inner}    if ({e} == best){nan}:",
                f"{inner}        {name} = i64({column})",
            ]
        index = np.dtype(np.int64)
        self.text.lines += across_threads(self.text, reduction.reduce_min, index, name, self.threads.lanes, indent)


def _held(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which threads hand on an element."""
    return np.dtype(np.int32) if dtype.itemsize == 1 else dtype


def _start(op: Op, dtype: np.dtype[Any]) -> str:
    """What a reduction starts from, as threads hand it on."""
    start = identity(op, dtype)
    if dtype.kind == "b":
        return f"i32({int(start == 'True')})"
    return start if dtype.itemsize > 1 else f"i32({start})"


def _result(found: str, dtype: np.dtype[Any]) -> str:
    """What threads have handed on, as an element."""
    if dtype.kind == "b":
        return f"{found} != 0"
    return found if dtype.itemsize > 1 else f"{SHORT_NAMES[dtype]}({found})"


def across_threads(text: GpuText, op: Op, dtype: np.dtype[Any], name: str, lanes: int, indent: str) -> list[str]:
    """Lines after which variable `name` of each of so many neighbouring threads is the reduction of those of all.

    Warps hand on what they found in two halves of shared memory by turns. Who writes to a half has passed a barrier
    after which nobody reads it any more, so one barrier is enough.
    """
    short = SHORT_NAMES[dtype]
    other = f"other_{short}"
    lines: list[str] = []
    mask = min(lanes, WARP) // 2
    while mask:
        lines.append(f"{indent}{other} = shuffle_xor_{short}({name}, {mask})")
        lines.append(f"{indent}{name} = {combine(op, dtype, name, other)}")
        mask //= 2
    if lanes <= WARP:
        return lines
    warps, all_warps = lanes // WARP, text.threads // WARP
    shared = text.shared(f"warps_{short}", short, 2 * all_warps)
    text.begins("turn", "i64(0)")
    first = "turn" if warps == all_warps else f"turn + thread_index() // {lanes} * {warps}"
    lines += [
        f"{indent}if thread_index() % {WARP} == 0:",
        f"{indent}    {shared}[turn + thread_index() // {WARP}] = {name}",
        f"{indent}barrier()",
        f"{indent}at = {first}",
        f"{indent}{name} = {shared}[at]",
    ]
    for warp in range(1, warps):
        lines.append(f"{indent}{name} = {combine(op, dtype, name, f'{shared}[at + {warp}]')}")
    return [*lines, f"{indent}turn = {all_warps} - turn"]


_THREADS = 512
_FEW_ELEMENTS, _FEW_PARTS = 128, 512
"""Elements and parts that one block reduces: then what follows may be done by the same block."""


def combine_parts(op: Op, dtype: np.dtype[Any], parts: Address, result: Address, count: int, size: int) -> Launch:
    """The reduction of `count` parts of `size` elements each. A block takes 32 elements, or all of few. Each of its
    threads reduces every so many parts of an element, in their order; what they found is reduced by halves.
    """
    few = size <= _FEW_ELEMENTS and count <= _FEW_PARTS
    lanes = min(_FEW_ELEMENTS if few else WARP, 1 << max(size - 1, 0).bit_length())
    down = min(_THREADS // lanes, max(WARP // lanes, 1 << max(-(-count // 4) - 1, 0).bit_length()))
    text = GpuText(-(-size // lanes), lanes * down)
    held = _held(dtype)
    short, kept = SHORT_NAMES[dtype], SHORT_NAMES[held]
    text.head += [
        f"    parts, o = array_{short}({text.word(parts)}, 0), array_{short}({text.word(result)}, 0)",
        f"    count, n = {text.word(count)}, {text.word(size)}",
    ]
    taken = "parts[t * n + j]" if held == dtype else f"{kept}(parts[t * n + j])"
    text.lines += [
        f"    lane, down = thread_index() % {lanes}, thread_index() // {lanes}",
        f"    j = tile * {lanes} + lane",
        f"    total = {_start(op, dtype)}",
        "    if j < n:",
        f"        for t in range(down, count, {down}):",
        f"            total = {combine(op, held, 'total', taken)}",
    ]
    if down > 1:
        found = text.shared("found", kept, lanes * down)
        text.lines += [f"    {found}[thread_index()] = total", "    barrier()"]
        half = down // 2
        while half:
            text.lines += [
                f"    if down < {half}:",
                f"        total = {combine(op, held, 'total', f'{found}[thread_index() + {half * lanes}]')}",
                f"        {found}[thread_index()] = total",
                "    barrier()",
            ]
            half //= 2
    text.lines += ["    if (down == 0) & (j < n):", f"        o[j] = {_result('total', dtype)}"]
    return text.launch()
