"""Factors of matrices of any sides on a GPU: a block a matrix, whose threads share each step.

The methods are those of textbooks (Golub and Van Loan, "Matrix Computations", 2013): for Q and R the reflections of
Householder, with LAPACK's signs, and for singular values the rotations of Hestenes, half as many pairs of columns at a
time as there are columns.
"""

from __future__ import annotations

import math

import numpy as np

from ...ir import Node
from ...ir.ops import reduction
from ...passes.memory.plan import Plan
from .elementwise import literal
from .gpu_linalg import SWEEPS, THREADS, MatrixText
from .gpu_reductions import across_threads
from .launch import Launch, Traps


def lower_gpu_qr(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    *batch, rows, _ = node.output.type.shape
    text = _QrText(node, plan, math.prod(batch) if rows else 0)
    text.reflections()
    text.factors()
    return [text.launch()]


class _QrText(MatrixText):
    """A kernel whose tile is a matrix `a` of `m` rows and `n` columns; row by row `h` is R above the reflections."""

    def __init__(self, node: Node, plan: Plan, tiles: int) -> None:
        super().__init__(node, plan, tiles)
        m, n = node.inputs[0].type.shape[-2:]
        self.number("m", m)
        self.number("k", min(m, n))
        self.number("rows", node.output.type.shape[-2])
        self.scratch("h", 0)
        self.scratch("scales", m * n)

    def reflections(self) -> None:
        """Column by column the reflection that makes it one of R, and its work on the columns behind."""
        zero, one = literal(0, self.dtype), literal(1, self.dtype)
        self.each("m * n", f"h[e] = {self.a.format('(e // n)', '(e % n)')}")
        self.add("for s in range(k):")
        self.lines, outer = [], self.lines
        self.add(
            f"square = {zero}",
            f"for i in range(s + 1 + thread_index(), m, {THREADS}):",
            "    square = square + h[i * n + s] * h[i * n + s]",
        )
        self.lines += across_threads(self, reduction.reduce_sum, self.dtype, "square", THREADS, "    ")
        self.add(
            "first = h[s * n + s]",
            "length = np.sqrt(first * first + square)",
            f"turned = first if square == {zero} else (length if first < {zero} else -length)",
            f"scale = {zero} if square == {zero} else (turned - first) / turned",
            f"divisor = {one} if square == {zero} else first - turned",
            "barrier()",
        )
        self.each("m", "h[e * n + s] = h[e * n + s] / divisor", begin="s + 1")
        self.add("if thread_index() == 0:", "    h[s * n + s] = turned", "    scales[s] = scale")
        self.each(
            "n",
            "along = h[s * n + e]",
            "for i in range(s + 1, m):",
            "    along = along + h[i * n + s] * h[i * n + e]",
            "along = along * scale",
            "h[s * n + e] = h[s * n + e] - along",
            "for i in range(s + 1, m):",
            "    h[i * n + e] = h[i * n + e] - along * h[i * n + s]",
            begin="s + 1",
        )
        self.lines = [*outer, *(f"    {line}" for line in self.lines)]

    def factors(self) -> None:
        """A thread makes a row of Qᵀ of a unit vector, by the reflections from the last to the first."""
        zero, one = literal(0, self.dtype), literal(1, self.dtype)
        self.each(
            "rows",
            "at = e * (m + n)",
            "for i in range(m):",
            f"    o[at + i] = {one} if i == e else {zero}",
            "for back in range(k):",
            "    s = k - 1 - back",
            "    along = o[at + s]",
            "    for i in range(s + 1, m):",
            "        along = along + h[i * n + s] * o[at + i]",
            "    along = along * scales[s]",
            "    o[at + s] = o[at + s] - along",
            "    for i in range(s + 1, m):",
            "        o[at + i] = o[at + i] - along * h[i * n + s]",
            "for j in range(n):",
            f"    o[at + m + j] = h[e * n + j] if e <= j else {zero}",
        )


def lower_gpu_svd(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch."""
    *batch, k, _ = node.output.type.shape
    text = _SvdText(node, plan, math.prod(batch) if k else 0)
    text.number("code", traps.code(node, k))
    text.rotations()
    text.factors()
    text.completion()
    return [text.launch()]


class _SvdText(MatrixText):
    """A kernel whose tile has `k` columns of length `p`: those of the matrix, or its rows if these are fewer. Column
    by column, `w` is what rotations `v` of columns make of it.
    """

    def __init__(self, node: Node, plan: Plan, tiles: int) -> None:
        super().__init__(node, plan, tiles)
        m, n = node.inputs[0].type.shape[-2:]
        k, p = min(m, n), max(m, n)
        places = {"m": m, "k": k, "p": p, "long_at": 0 if m >= n else m + 1, "short_at": m + 1 if m >= n else 0}
        for name, number in places.items():
            self.number(name, number)
        self.scratch("w", 0)
        self.scratch("v", k * p)
        self.scratch("squares", k * p + k * k)
        self.element = self.a.format("i", "c") if m >= n else self.a.format("c", "i")
        self.eps = float(np.finfo(self.dtype).eps)
        self.nothing = literal((self.eps * p) ** 2, self.dtype)

    def rotations(self) -> None:
        """A thread makes the columns of a pair orthogonal; what is nothing beside the matrix stays as it is."""
        zero, one, two = (literal(number, self.dtype) for number in (0, 1, 2))
        p = max(self.node.inputs[0].type.shape[-2:])
        small, worst = literal(self.eps * max(4, p**0.5), self.dtype), literal(100 * self.eps * p, self.dtype)
        self.add("even = k + k % 2", "half = even // 2", "turns = even - 1", f"off, whole = {zero}, {zero}")
        self.each(
            "k * p", "c, i = e // p, e % p", f"found = {self.element}", "w[e] = found", "whole = whole + found * found"
        )
        self.lines += across_threads(self, reduction.reduce_sum, self.dtype, "whole", THREADS, "    ")
        self.each("k * k", f"v[e] = {one} if e // k == e % k else {zero}")
        self.add(f"least = {self.nothing} * whole", f"for sweep in range({SWEEPS}):")
        self.lines, outer = [], self.lines
        self.add(f"off = {zero}", "for turn_of in range(turns):")
        self.lines, sweep = [], self.lines
        self.each(
            "half",
            "x = turns if e == 0 else (turn_of + e) % turns",
            "y = turn_of if e == 0 else (turn_of - e + turns) % turns",
            "if (x < k) & (y < k):",
            f"    one, other, both = {zero}, {zero}, {zero}",
            "    for i in range(p):",
            "        one = one + w[x * p + i] * w[x * p + i]",
            "        other = other + w[y * p + i] * w[y * p + i]",
            "        both = both + w[x * p + i] * w[y * p + i]",
            "    size_of = abs(both) / np.sqrt(one * other)",
            "    if not ((one <= least) | (other <= least)):",
            "        off = size_of if (size_of > off) | (size_of != size_of) else off",
            f"        if size_of > {literal(self.eps, self.dtype)}:",
            f"            ratio = (other - one) / ({two} * both)",
            f"            tangent = {one} / (abs(ratio) + np.sqrt(ratio * ratio + {one}))",
            f"            tangent = -tangent if ratio < {zero} else tangent",
            f"            cos = {one} / np.sqrt(tangent * tangent + {one})",
            "            sin = tangent * cos",
            "            for i in range(p):",
            "                first, second = w[x * p + i], w[y * p + i]",
            "                w[x * p + i] = cos * first - sin * second",
            "                w[y * p + i] = sin * first + cos * second",
            "            for i in range(k):",
            "                first, second = v[x * k + i], v[y * k + i]",
            "                v[x * k + i] = cos * first - sin * second",
            "                v[y * k + i] = sin * first + cos * second",
        )
        self.lines = [*sweep, *(f"    {line}" for line in self.lines)]
        self.lines += across_threads(self, reduction.reduce_max, self.dtype, "off", THREADS, "    ")
        self.add(f"if off <= {small}:", "    break")
        self.lines = [*outer, *(f"    {line}" for line in self.lines)]
        self.add(
            "columns = k", f"if not ((off <= {worst}) & (whole == whole)):", "    trap(code)", "    columns = i64(0)"
        )

    def factors(self) -> None:
        """The columns by their length: a thread each."""
        zero = literal(0, self.dtype)
        self.each(
            "columns",
            f"square = {zero}",
            "for i in range(p):",
            "    square = square + w[e * p + i] * w[e * p + i]",
            "squares[e] = square",
        )
        self.each(
            "columns",
            "rank, mine = i64(0), squares[e]",
            "for c in range(k):",
            "    if (squares[c] > mine) | ((squares[c] == mine) & (c < e)):",
            "        rank = rank + 1",
            "at, length = rank * (m + 1 + n), np.sqrt(mine)",
            "o[at + m] = length",
            "for i in range(p):",
            f"    o[at + long_at + i] = w[e * p + i] / length if mine > least else {zero}",
            "for i in range(k):",
            "    o[at + short_at + i] = v[e * k + i]",
        )

    def completion(self) -> None:
        """In place of columns that are nothing others that are orthogonal to all before: one thread, as it is rare."""
        zero, one = literal(0, self.dtype), literal(1, self.dtype)
        self.add(
            "if thread_index() == 0:",
            "    for r in range(columns):",
            "        at = r * (m + 1 + n)",
            "        if o[at + m] * o[at + m] <= least:",
            f"            best, place = -{one}, i64(0)",
            "            for i in range(p):",
            f"                free = {one}",
            "                for c in range(r):",
            "                    found = o[c * (m + 1 + n) + long_at + i]",
            "                    free = free - found * found",
            "                if free > best:",
            "                    best, place = free, i64(i)",
            "            for i in range(p):",
            f"                o[at + long_at + i] = {one} if i == place else {zero}",
            "            for again in range(2):",
            "                for c in range(r):",
            f"                    along = {zero}",
            "                    for i in range(p):",
            "                        along = along + o[c * (m + 1 + n) + long_at + i] * o[at + long_at + i]",
            "                    for i in range(p):",
            "                        found = o[c * (m + 1 + n) + long_at + i]",
            "                        o[at + long_at + i] = o[at + long_at + i] - along * found",
            f"            square = {zero}",
            "            for i in range(p):",
            "                square = square + o[at + long_at + i] * o[at + long_at + i]",
            "            length = np.sqrt(square)",
            "            for i in range(p):",
            "                o[at + long_at + i] = o[at + long_at + i] / length",
            "barrier()",
        )
