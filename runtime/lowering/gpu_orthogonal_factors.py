"""Factors of matrices of any sides on a GPU: a block a matrix, whose threads share each step.

The methods are those of textbooks (Golub and Van Loan, "Matrix Computations", 2013): for Q and R the reflections of
Householder, with LAPACK's signs.
"""

from __future__ import annotations

import math

from ...ir import Node
from ...ir.ops import reduction
from ...passes.memory.plan import Plan
from .elementwise import literal
from .gpu_linalg import THREADS, MatrixText
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
