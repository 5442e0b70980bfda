"""Factors of matrices and linear systems on a GPU: a block a matrix, whose threads share each step of the elimination.

The methods are those of textbooks (Golub and Van Loan, "Matrix Computations", 2013): elimination by columns, with
barriers between its steps, and for eigenvalues Jacobi's rotations, half as many pairs of axes at a time as there are
axes. They are right for any size, and fast for many small matrices; a large one keeps a single block busy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Value, node_workspace
from ...ir.ops import linalg, reduction
from ...passes.graph.views import View
from ...passes.memory.plan import Plan
from .elementwise import literal
from .gpu_reductions import across_threads
from .gpu_text import GpuText
from .launch import Launch, Pointer, Scratch, Traps

THREADS = 128
"""Threads that share a matrix."""
_COLUMNS = 32
"""Columns of the right side that a block solves for, where they are apart."""
SWEEPS = 30
"""Sweeps over all pairs of axes in which Jacobi's rotations end: 6 to 10 are usual."""


def lower_gpu_linalg(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the matrices of the batch, and over some columns of the right side where they are apart."""
    x = node.inputs[0].type
    matrices, n = math.prod(x.shape[:-2]), x.shape[-1]
    if node.op is linalg.triangular_solve:
        return [_solve_triangles(node, plan, matrices)]
    text = MatrixText(node, plan, matrices if n or node.op is linalg.slogdet else 0)
    if node.op is not linalg.slogdet:
        text.number("code", traps.code(node, n))
    if node.op is linalg.cholesky:
        text.factor_of_positive_definite()
    elif node.op is linalg.eigh:
        text.eigenvalues()
    elif node.op is linalg.slogdet:
        text.determinant()
    else:
        text.solution()
    return [text.launch()]


class MatrixText(GpuText):
    """A kernel whose tile is a matrix `a` of `n` rows, with its result `o`."""

    def __init__(self, node: Node, plan: Plan, tiles: int) -> None:
        super().__init__(tiles, THREADS)
        self.node, self.plan = node, plan
        self.dtype = node.output.type.dtype
        self.short = SHORT_NAMES[self.dtype]
        self.number("n", node.inputs[0].type.shape[-1])
        self.a = self.matrix("a", node.inputs[0])
        self.target("o", math.prod(node.output.type.shape[-2 if node.op is not linalg.slogdet else -1 :]))

    def add(self, *lines: str) -> None:
        """Appends lines of a matrix."""
        self.lines += [f"    {line}" for line in lines]

    def each(self, count: str, *lines: str, begin: str = "", variable: str = "e") -> None:
        """Lines for every number below `count`, from `begin` on, shared by the threads; then a barrier."""
        first = f"{begin} + thread_index()" if begin else "thread_index()"
        self.add(f"for {variable} in range({first}, {count}, {THREADS}):", *(f"    {line}" for line in lines))
        self.add("barrier()")

    def matrix(self, name: str, value: Value) -> str:
        """The element of row `i` and column `j` of the matrix of this tile, as a format of these two."""
        view: View = self.plan.views[value]
        *batch, rows, columns = view.strides
        self.head.append(f"    {name} = array_{self.short}({self.word(Pointer.to(view))}, 0)")
        self.add(f"q, {name}_at = tile, i64(0)")
        for length, stride in zip(reversed(view.shape[:-2]), reversed(batch)):
            self.add(f"{name}_at = {name}_at + q % {self.stride(length)} * {self.stride(stride)}")
            self.add(f"q = q // {self.stride(length)}")
        return f"{name}[{name}_at + {{0}} * {self.stride(rows)} + {{1}} * {self.stride(columns)}]"

    def target(self, name: str, size: int) -> None:
        """The part of the result that belongs to this tile."""
        self.head.append(f"    all_{name} = array_{self.short}({self.word(Pointer(self.node.output))}, 0)")
        self.add(f"{name} = window(all_{name}, tile * {self.number('size', size)}, size)")

    def scratch(self, name: str, elements: int, short: str = "") -> None:
        """Memory of the block, `elements` behind the beginning of what it has."""
        begins = Scratch(self.plan.scratch.get(self.node, 0), self.plan.target.round_to_line(node_workspace(self.node)))
        at = self.word(begins.plus(elements * self.dtype.itemsize))
        self.head.append(f"    {name} = array_{short or self.short}({at}, 0)")

    # ---- kernels

    def factor_of_positive_definite(self) -> None:
        """Cholesky's factor, by columns in the place of the result."""
        zero = literal(0, self.dtype)
        self.each("n * n", "i, j = e // n, e % n", f"o[e] = {self.a.format('i', 'j')} if j <= i else {zero}")
        self.add("for k in range(n):")
        self.lines, outer = [], self.lines
        self.add(
            "pivot = o[k * n + k]",
            f"if not (pivot > {zero}):",
            "    trap(code)",
            "root = np.sqrt(pivot)",
            "barrier()",
        )
        self.each("n", "o[e * n + k] = o[e * n + k] / root if e > k else root", begin="k")
        self.add("m = n - k - 1")
        self.each(
            "m * m",
            "i, j = k + 1 + e // m, k + 1 + e % m",
            "if j <= i:",
            "    o[i * n + j] = o[i * n + j] - o[i * n + k] * o[j * n + k]",
        )
        self.lines = [*outer, *(f"    {line}" for line in self.lines)]

    def factors(self, singular: str) -> None:
        """Factors P A = L U in `lu`, by columns with the largest pivot; `pivots` are the rows that were exchanged. A
        line for a pivot of 0.
        """
        n = self.node.inputs[0].type.shape[-1]
        self.scratch("lu", 0)
        self.scratch("pivots", n * n, "i32")
        zero, index = literal(0, self.dtype), np.dtype(np.int64)
        self.each("n * n", f"lu[e] = {self.a.format('(e // n)', '(e % n)')}")
        self.add("for k in range(n):")
        self.lines, outer = [], self.lines
        self.add(
            f"best, place = {zero}, i64(n)",
            f"for i in range(k + thread_index(), n, {THREADS}):",
            "    size_of = abs(lu[i * n + k])",
            "    best = size_of if (size_of > best) | (size_of != size_of) else best",
        )
        self.lines += across_threads(self, reduction.reduce_max, self.dtype, "best", THREADS, "    ")
        self.add(
            f"for i in range(k + thread_index(), n, {THREADS}):",
            "    if (abs(lu[i * n + k]) == best) & (i < place):",
            "        place = i64(i)",
        )
        self.lines += across_threads(self, reduction.reduce_min, index, "place", THREADS, "    ")
        self.add("place = place if place < n else i64(k)", f"if best == {zero}:", f"    {singular}")
        self.add("if thread_index() == 0:", "    pivots[k] = i32(place)")
        self.each("n", "kept = lu[k * n + e]", "lu[k * n + e] = lu[place * n + e]", "lu[place * n + e] = kept")
        self.add("pivot = lu[k * n + k]")
        self.each("n", "lu[e * n + k] = lu[e * n + k] / pivot", begin="k + 1")
        self.add("m = n - k - 1")
        self.each(
            "m * m",
            "i, j = k + 1 + e // m, k + 1 + e % m",
            "lu[i * n + j] = lu[i * n + j] - lu[i * n + k] * lu[k * n + j]",
        )
        self.lines = [*outer, *(f"    {line}" for line in self.lines)]

    def determinant(self) -> None:
        """Its sign and the logarithm of its size, of the pivots."""
        one, zero = literal(1, self.dtype), literal(0, self.dtype)
        self.add("singular = i64(0)")
        self.factors("singular = i64(1)")
        self.add(
            "if thread_index() == 0:",
            f"    sign, total = {one}, {zero}",
            "    for k in range(n):",
            "        found = lu[k * n + k]",
            "        sign = -sign if i64(pivots[k]) != k else sign",
            f"        sign = -sign if found < {zero} else sign",
            f"        total = total + log_{self.short}(abs(found))",
            f"    o[0] = sign if singular == 0 else {zero}",
            f"    o[1] = total if singular == 0 else {literal(-np.inf, self.dtype)}",
            "barrier()",
        )

    def solution(self) -> None:
        """Of A X = B by the factors of A, in the place of the result."""
        self.number("columns", self.node.output.type.shape[-1])
        y = self.matrix("y", self.node.inputs[1])
        self.factors("trap(code)")
        self.add(f"for j in range(thread_index(), columns, {THREADS}):")
        self.add(
            "    for i in range(n):",
            f"        o[i * columns + j] = {y.format('i', 'j')}",
            "    for i in range(n):",
            "        other = i64(pivots[i])",
            "        kept = o[i * columns + j]",
            "        o[i * columns + j] = o[other * columns + j]",
            "        o[other * columns + j] = kept",
            "barrier()",
        )
        substitute(self, "lu", "columns", "columns", "", lower=True, unit=True)
        substitute(self, "lu", "columns", "columns", "", lower=False, unit=False)

    def eigenvalues(self) -> None:
        """By Jacobi's rotations: in a round each axis is in one pair, whose rotations are independent of each other. In
        n - 1 rounds (n if it is odd) all pairs had their turn, as in a tournament.
        """
        n = self.node.inputs[0].type.shape[-1]
        for name, elements in (("s", 0), ("v", n * n), ("cosines", 2 * n * n), ("sines", 2 * n * n + n)):
            self.scratch(name, elements)
        zero, one, two = (literal(number, self.dtype) for number in (0, 1, 2))
        eps = float(np.finfo(self.dtype).eps)
        small, worst = literal(eps * eps * n, self.dtype), literal((100 * eps * n) ** 2, self.dtype)
        lower = self.a.format("(i if i > j else j)", "(j if i > j else i)")
        self.add("even = n + n % 2", "half = even // 2", "turns = even - 1", f"off, norm = {zero}, {zero}")
        self.each("n * n", "i, j = e // n, e % n", f"s[e] = {lower}", f"v[e] = {one} if i == j else {zero}")
        self.add(f"for sweep in range({SWEEPS}):")
        self.lines, outer = [], self.lines
        self.add(
            f"off, norm = {zero}, {zero}",
            f"for e in range(thread_index(), n * n, {THREADS}):",
            "    norm = norm + s[e] * s[e]",
            f"    off = off + (s[e] * s[e] if e // n != e % n else {zero})",
        )
        for name in ("off", "norm"):
            self.lines += across_threads(self, reduction.reduce_sum, self.dtype, name, THREADS, "    ")
        self.add(f"if off <= {small} * norm:", "    break", "for turn_of in range(turns):")
        self.lines, sweep = [], self.lines
        pair = (
            "t = e // n",
            "p = turns if t == 0 else (turn_of + t) % turns",
            "q = turn_of if t == 0 else (turn_of - t + turns) % turns",
            "i = e % n",
            "cos, sin = cosines[t], sines[t]",
            "if (p < n) & (q < n):",
        )
        self.each(
            "half",
            "p = turns if e == 0 else (turn_of + e) % turns",
            "q = turn_of if e == 0 else (turn_of - e + turns) % turns",
            f"cos, sin = {one}, {zero}",
            "if (p < n) & (q < n):",
            "    between = s[p * n + q]",
            f"    if between != {zero}:",
            f"        ratio = (s[q * n + q] - s[p * n + p]) / ({two} * between)",
            f"        tangent = {one} / (abs(ratio) + np.sqrt(ratio * ratio + {one}))",
            f"        tangent = -tangent if ratio < {zero} else tangent",
            f"        cos = {one} / np.sqrt(tangent * tangent + {one})",
            "        sin = tangent * cos",
            "cosines[e] = cos",
            "sines[e] = sin",
        )
        self.each(
            "half * n",
            *pair,
            "    x, y = s[p * n + i], s[q * n + i]",
            "    s[p * n + i] = cos * x - sin * y",
            "    s[q * n + i] = sin * x + cos * y",
        )
        self.each(
            "half * n",
            *pair,
            "    x, y = s[i * n + p], s[i * n + q]",
            f"    s[i * n + p] = cos * x - sin * y if i != q else {zero}",
            f"    s[i * n + q] = sin * x + cos * y if i != p else {zero}",
            "    x, y = v[i * n + p], v[i * n + q]",
            "    v[i * n + p] = cos * x - sin * y",
            "    v[i * n + q] = sin * x + cos * y",
        )
        self.lines = [*sweep, *(f"    {line}" for line in self.lines)]
        self.lines = [*outer, *(f"    {line}" for line in self.lines)]
        self.add("found = n", f"if not (off <= {worst} * norm):", "    trap(code)", "    found = i64(0)")
        self.each(
            "found",
            "rank, mine = i64(0), s[e * n + e]",
            "for j in range(n):",
            "    if (s[j * n + j] < mine) | ((s[j * n + j] == mine) & (j < e)):",
            "        rank = rank + 1",
            "o[rank] = mine",
            "for i in range(n):",
            "    o[(i + 1) * n + rank] = v[i * n + e]",
        )


def substitute(text: MatrixText, a: str, columns: str, count: str, first: str, lower: bool, unit: bool) -> None:
    """Lines that solve for the `count` columns of `o` from `first` on: a row is done, then taken from all others."""
    text.add("for step in range(n):")
    text.lines, outer = [], text.lines
    text.add(f"i = {'step' if lower else 'n - 1 - step'}")
    plus = f"{first} + " if first else ""
    if not unit:
        text.each(count, f"o[i * {columns} + {plus}e] = o[i * {columns} + {plus}e] / {a}[i * n + i]")
    text.each(
        f"(n - 1 - step) * {count}",
        f"row = {'i + 1 + ' if lower else ''}e // {count}",
        f"j = {plus}e % {count}",
        f"o[row * {columns} + j] = o[row * {columns} + j] - {a}[row * n + i] * o[i * {columns} + j]",
    )
    text.lines = [*outer, *(f"    {line}" for line in text.lines)]


def _solve_triangles(node: Node, plan: Plan, matrices: int) -> Launch:
    """Some columns of the right side of a matrix are a tile."""
    y = node.inputs[1]
    n, columns = y.type.shape[-2:]
    across = -(-columns // _COLUMNS)
    text = _TriangleText(node, plan, matrices * across if n else 0, across)
    text.each("n * count", "i, j = e // count, first + e % count", "o[i * columns + j] = y[i * columns + j]")
    substitute(text, "a", "columns", "count", "first", lower=node.attrs["lower"], unit=False)
    return text.launch()


class _TriangleText(MatrixText):
    """A kernel whose tile is `count` columns from `first` on of the system of a matrix."""

    def __init__(self, node: Node, plan: Plan, tiles: int, across: int) -> None:
        GpuText.__init__(self, tiles, THREADS)
        a, y = node.inputs
        n, columns = y.type.shape[-2:]
        self.dtype: np.dtype[Any] = a.type.dtype
        self.short = SHORT_NAMES[self.dtype]
        for name, value in (("n", n), ("columns", columns), ("across", across)):
            self.number(name, value)
        for name, value in (("all_a", a), ("all_y", y), ("all_o", node.output)):
            self.array(name, value, Pointer.to(plan.views[value]))
        self.add(
            "matrix = tile // across",
            f"first = (tile - matrix * across) * {_COLUMNS}",
            f"count = columns - first if columns - first < {_COLUMNS} else i64({_COLUMNS})",
            "a = window(all_a, matrix * n * n, n * n)",
            *(f"{name} = window(all_{name}, matrix * n * columns, n * columns)" for name in "yo"),
        )
