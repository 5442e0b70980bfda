"""Attention on a GPU: a block makes the scores of so many rows tile by tile, and adds up what becomes of them.

The block goes through its row of tiles, or its column of tiles for sums over rows: its *lines* are the rows or columns
that it has results for, the *steps* go along the others. A tile of scores is a product in registers, as of
`gpu_matmul`; the body computes each element where it stands; what is multiplied by a matrix then goes through shared
memory. A softmax keeps the largest score of each line so far, and scales what it has summed up whenever that grows
(Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023, "FlashAttention-2").

Tiles follow from shapes and dtype alone. So does the order of all sums: along the steps, one tile after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...ir import SHORT_NAMES, Graph, Node, Value
from ...ir.ops import creation, reduction
from ...ir.ops.attention import Attention, scores_shape
from ...passes.graph.views import View
from ...passes.kernels.score_tiles import skips_above_diagonal
from ...passes.memory.plan import Plan
from .elementwise import expression, literal, loaded
from .gpu_text import GpuText
from .launch import Launch, Pointer, Traps
from .random_element import random_lines, skip_before
from .reduction import combine
from .region_kernel import literal_cast

_ACROSS = 16
"""Threads along a side of a tile."""
_THREADS = _ACROSS**2
_STRIP = 16
"""Steps of a matrix that stand in shared memory at a time."""


def lower_gpu_attention(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the lines of all entries of the axes before."""
    return [_AttentionText(node, plan).launch()]


class _AttentionText:
    """The kernel of a node under construction."""

    def __init__(self, node: Node, plan: Plan) -> None:
        self.node = node
        self.body: Graph = node.attrs["body"]
        self.softmax: bool = node.attrs["softmax"]
        self.by_rows = node.attrs["over"] == "columns"
        """Whether lines are rows of scores."""
        self.shape = scores_shape([v.type for v in node.inputs], node.attrs)
        self.lines, self.steps = self.shape[-2:] if self.by_rows else self.shape[:-3:-1]
        self.dtype = self.body.outputs[0].type.dtype
        self.short = SHORT_NAMES[self.dtype]
        self.side = _side(max(self.lines, self.steps), self.dtype.itemsize)
        self.each = range(self.side // _ACROSS)
        self.pitch = self.side + 1
        """Distance of rows in shared memory: one more than they are long, so that neighbours are in other banks."""
        self.blocks = -(-self.lines // self.side)
        self.batches = math.prod(self.shape[:-2])
        self.text = GpuText(self.batches * self.blocks, _THREADS)
        self.parts = Attention.of([plan.views[v] for v in node.inputs], node.attrs)
        self.places: dict[Value, int] = {v: i for i, v in enumerate(self.body.inputs)}
        self.operands = dict(zip(self.body.inputs[len(self.parts.products) :], self.parts.operands))
        self.summed: tuple[int, ...] = node.attrs["sums"]
        self.plain: tuple[int, ...] = node.attrs["plain"]
        self.widths = [matrix.shape[-1] for matrix in self.parts.matrices]
        self.columns = [range(-(-width // _ACROSS)) for width in self.widths]

    def launch(self) -> Launch:
        """The launch of the whole kernel."""
        depth = max(self.depth(x) for x, _ in self.parts.products)
        self.text.shared("scores", self.short, max(self.side, 2 * depth) * self.pitch)
        if self.widths:
            self.text.shared("strip", self.short, _STRIP * max(len(c) * _ACROSS for c in self.columns))
        self.heads()
        self.begin()
        self.add(f"for left in range(first, stop, {self.side}):")
        for number, (x, y) in enumerate(self.parts.products):
            self.product(number, x, y)
        self.indices()
        if self.softmax:
            self.elements(self.body.outputs[:1])
            self.rescale()
        results = dict.fromkeys(self.body.outputs[i] for i in (*self.summed, *self.plain))
        self.elements(list(results))
        for number, matrix in enumerate(self.parts.matrices):
            self.multiply(number, matrix)
        for number, result in enumerate(self.plain):
            for u, v in self.pairs():
                self.add(f"    plain{number}_{u} = plain{number}_{u} + {self.inside(self.body.outputs[result], u, v)}")
        self.end()
        return self.text.launch()

    def add(self, *lines: str) -> None:
        """Append lines to what is done for a tile."""
        self.text.lines += [f"    {line}" for line in lines]

    def pairs(self) -> list[tuple[int, int]]:
        """The elements of a tile that a thread has."""
        return [(u, v) for u in self.each for v in self.each]

    # ---- before the steps

    def heads(self) -> None:
        """The arrays, and the lengths."""
        text = self.text
        for name, value in (("lines", self.lines), ("steps", self.steps), ("blocks", self.blocks)):
            text.number(name, value)
        for name, view in self.arrays():
            text.head.append(
                f"    {name} = array_{SHORT_NAMES[view.base.type.dtype]}({text.word(Pointer.to(view))}, 0)"
            )
        for number, output in enumerate(self.node.outputs):
            text.array(f"z{number}", output, Pointer(output))

    def arrays(self) -> list[tuple[str, View]]:
        """What is read, by its names."""
        found: list[tuple[str, View]] = []
        for number, pair in enumerate(self.parts.products):
            found += zip((f"x{number}", f"y{number}"), pair)
        found += ((self.array_of(v), view) for v, view in self.operands.items())
        return [*found, *((f"c{number}", matrix) for number, matrix in enumerate(self.parts.matrices))]

    def array_of(self, value: Value) -> str:
        """The array of an operand of the body."""
        return f"e{self.places[value]}"

    def begin(self) -> None:
        """Lines that find the place of the tile, and begin all sums."""
        self.add("batch = tile // blocks", f"top = (tile - batch * blocks) * {self.side}", "q = batch")
        self.add(f"row, column = thread_index() // {_ACROSS}, thread_index() % {_ACROSS}")
        arrays = [(name, view) for name, view in self.arrays() if len(view.shape) == len(self.shape)]
        self.add(*(f"of_{name} = i64(0)" for name, _ in arrays))
        for axis in reversed(range(len(self.shape) - 2)):
            length = self.text.stride(self.shape[axis])
            self.add(f"q{axis} = q % {length}", f"q = q // {length}")
            for name, view in arrays:
                if view.strides[axis] and view.shape[axis] > 1:
                    self.add(f"of_{name} = of_{name} + q{axis} * {self.text.stride(view.strides[axis])}")
        zero = literal(0, self.dtype)
        for u in self.each:
            self.add(f"l{u} = top + row * {len(self.each)} + {u}", f"i{u} = l{u} if l{u} < lines else lines - 1")
            if self.softmax:
                self.add(f"largest{u}, total{u} = {literal(-np.inf, self.dtype)}, {zero}")
            self.add(*(f"plain{number}_{u} = {zero}" for number in range(len(self.plain))))
            self.add(*(f"{name} = {zero}" for number in range(len(self.widths)) for name in self.sums(number, u)))
        for value, view in self.operands.items():
            name, (of_line, of_step) = self.array_of(value), self.strides(view)
            if not view.shape:
                self.add(f"{name}_0 = {self.load(value, '0')}")
            elif not of_step:
                places = (f"of_{name} + i{u} * {self.text.stride(of_line)}" for u in self.each)
                self.add(*(f"{name}_{u} = {self.load(value, place)}" for u, place in enumerate(places)))
        first, stop = "i64(0)", "steps"
        if skips_above_diagonal(self.node):
            if self.by_rows:
                stop = f"steps if steps < top + {self.side} else top + {self.side}"
            else:
                first = "top"
        self.add(f"first, stop = {first}, {stop}")

    def sums(self, number: int, u: int) -> list[str]:
        """The sums of a line for a matrix, of which a thread has every so many."""
        return [f"sum{number}_{u}_{w}" for w in self.columns[number]]

    def strides(self, view: View) -> tuple[int, int]:
        """Along lines and along steps."""
        if len(view.shape) < 2:
            return 0, 0
        found = [0 if n == 1 else s for n, s in zip(view.shape[-2:], view.strides[-2:])]
        return (found[0], found[1]) if self.by_rows else (found[1], found[0])

    # ---- the scores of a tile

    def product(self, number: int, x: View, y: View) -> None:
        """Lines that multiply two operands."""
        depth, terms = self.depth(x), self.text.stride(x.shape[-1])
        (rows, along_x), (along_y, columns) = x.strides[-2:], y.strides[-2:]
        of_lines, of_steps = ((f"x{number}", rows, along_x), (f"y{number}", columns, along_y))
        if not self.by_rows:
            of_lines, of_steps = of_steps, of_lines
        zero = literal(0, self.dtype)
        self.add(*(f"    s{number}_{u}{v} = {zero}" for u, v in self.pairs()))
        self.add(f"    for begin in range(0, {terms}, {depth}):")
        strip = [
            *self.read_strip(x, *of_lines, depth, terms, "top", "lines", 0),
            *self.read_strip(x, *of_steps, depth, terms, "left", "steps", depth * self.pitch),
            "barrier()",
            f"for term in range({depth}):",
        ]
        for u in self.each:
            strip.append(f"    a{u} = scores[term * {self.pitch} + row * {len(self.each)} + {u}]")
            strip.append(f"    b{u} = scores[({depth} + term) * {self.pitch} + column + {u * _ACROSS}]")
        strip += [f"    s{number}_{u}{v} = {self.fma(u, v, f's{number}_{u}{v}')}" for u, v in self.pairs()]
        self.add(*(f"        {line}" for line in (*strip, "barrier()")))

    def depth(self, x: View) -> int:
        """Terms of a product that stand in shared memory at a time."""
        return next(n for n in (8, 16, 32) if n >= min(x.shape[-1], self.side // 2))

    def fma(self, a: int, b: int, total: str) -> str:
        """A sum with one more product of factors in registers, rounded once."""
        return f"fma_{self.short}(a{a}, b{b}, {total})"

    def read_strip(
        self, x: View, name: str, stride: int, of_terms: int, depth: int, terms: str, origin: str, length: str, at: int
    ) -> list[str]:
        """Lines that copy some terms of an operand to shared memory, with zeros around it."""
        if of_terms == 1:
            term, place = f"i % {depth}", f"i // {depth}"
        else:
            term, place = f"i // {self.side}", f"i % {self.side}"
        along = f"(begin + term) * {self.text.stride(of_terms)} + ({origin} + place) * {self.text.stride(stride)}"
        element = loaded(f"{name}[of_{name} + {along}]", x.base.type.dtype)
        return [
            f"for i in range(thread_index(), {self.side * depth}, {_THREADS}):",
            f"    term, place = {term}, {place}",
            f"    element = {literal(0, self.dtype)}",
            f"    if (begin + term < {terms}) & ({origin} + place < {length}):",
            f"        element = {element}",
            f"    scores[{at} + term * {self.pitch} + place] = element",
        ]

    def indices(self) -> None:
        """Lines that find the steps of a thread's elements. What lies behind the last is computed as the last is, and
        left out of all sums.
        """
        for v in self.each:
            self.add(f"    t{v} = left + column + {v * _ACROSS}", f"    j{v} = t{v} if t{v} < steps else steps - 1")
        for value, view in self.operands.items():
            name, (of_line, of_step) = self.array_of(value), self.strides(view)
            if of_step and not of_line:
                places = (f"of_{name} + j{v} * {self.text.stride(of_step)}" for v in self.each)
                self.add(*(f"    {name}_{v} = {self.load(value, place)}" for v, place in enumerate(places)))

    def load(self, value: Value, place: str) -> str:
        """An element of the array of an operand."""
        return loaded(f"{self.array_of(value)}[{place}]", value.type.dtype)

    def elements(self, results: Sequence[Value]) -> None:
        """Lines that compute results of the body for all elements of a thread."""
        wanted: set[Value] = set(results)
        nodes: list[Node] = []
        for node in reversed(self.body.nodes):
            if not wanted.isdisjoint(node.outputs):
                nodes.insert(0, node)
                wanted.update(node.inputs)
        for u, v in self.pairs():
            names: dict[Value, str] = {}
            for value in self.body.inputs:
                if value in wanted:
                    names[value] = self.given(value, u, v)
            for node in nodes:
                names[node.output] = self.compute(node, [names[x] for x in node.inputs], u, v)

    def name(self, value: Value, u: int, v: int) -> str:
        """The variable of an element of what a node of the body makes."""
        if value not in self.places:
            self.places[value] = len(self.places)
        return f"v{self.places[value]}_{u}{v}"

    def given(self, value: Value, u: int, v: int) -> str:
        """An element of an input of the body."""
        place = self.places[value]
        if place < len(self.parts.products):
            return f"s{place}_{u}{v}"
        if value not in self.operands:
            return f"weight_{u}{v}"
        view, name = self.operands[value], self.array_of(value)
        of_line, of_step = self.strides(view)
        if not view.shape:
            return f"{name}_0"
        if not of_step:
            return f"{name}_{u}"
        if not of_line:
            return f"{name}_{v}"
        index = f"i{u} * {self.text.stride(of_line)} + j{v} * {self.text.stride(of_step)}"
        self.add(f"    {name}_{u}{v} = {self.load(value, f'of_{name} + {index}')}")
        return f"{name}_{u}{v}"

    def compute(self, node: Node, names: list[str], u: int, v: int) -> str:
        """The name of an element of a node, after lines that compute it."""
        name, dtype = self.name(node.output, u, v), node.output.type.dtype
        rank = len(self.shape)
        row, column = (f"i{u}", f"j{v}") if self.by_rows else (f"j{v}", f"i{u}")
        if node.op is creation.full:
            return literal(node.attrs["value"], dtype)
        if node.op is creation.iota:
            axis = node.attrs["axis"]
            index = row if axis == rank - 2 else column if axis == rank - 1 else f"q{axis}"
            self.add(f"    {name} = {literal_cast(index, dtype)}")
        elif node.op is creation.random_bits:
            rows, columns = (self.text.stride(n) for n in self.shape[-2:])
            index = f"(batch * {rows} + {row}) * {columns} + {column}"
            if node.attrs.get("run", 0):
                index += f" + {skip_before(self.text, node, index)}"
            start = f"({names[1]}) + " if len(names) > 1 else ""
            self.text.lines += random_lines(self.text, node, name, names[0], start + index, "        ")
        else:
            self.add(f"    {name} = {expression(node, names)}")
        return name

    def inside(self, value: Value, u: int, v: int, outside: float = 0) -> str:
        """An element of a result; `outside` behind the last step."""
        node = value.node
        if node is None:
            text = self.given(value, u, v)
        elif node.op is creation.full:
            text = literal(node.attrs["value"], value.type.dtype)
        else:
            text = self.name(value, u, v)
        return f"({text} if t{v} < steps else {literal(outside, self.dtype)})"

    # ---- sums

    def rescale(self) -> None:
        """Lines that take in the largest scores of a tile, scale all sums to the new ones, and compute weights."""
        lowest, zero = literal(-np.inf, self.dtype), literal(0, self.dtype)
        scores, exp = self.body.outputs[0], f"exp_{self.short}"
        for u in self.each:
            new = f"new{u}"
            self.add(f"    {new} = {self.inside(scores, u, 0, -math.inf)}")
            for v in self.each[1:]:
                self.add(f"    other = {self.inside(scores, u, v, -math.inf)}")
                self.add(f"    {new} = {combine(reduction.reduce_max, self.dtype, new, 'other')}")
            for mask in (8, 4, 2, 1):
                self.add(f"    other = shuffle_xor_{self.short}({new}, {mask})")
                self.add(f"    {new} = {combine(reduction.reduce_max, self.dtype, new, 'other')}")
            self.add(
                f"    {new} = {combine(reduction.reduce_max, self.dtype, f'largest{u}', new)}",
                # Of a line whose scores are all -inf so far nothing is summed up, and no exponential is NaN.
                f"    shift{u} = {zero} if {new} == {lowest} else {new}",
                f"    scale = {zero} if largest{u} == {lowest} else {exp}(largest{u} - shift{u})",
                f"    largest{u} = {new}",
                f"    total{u} = total{u} * scale",
            )
            self.add(*(f"    {s} = {s} * scale" for n in range(len(self.widths)) for s in self.sums(n, u)))
            for v in self.each:
                self.add(
                    f"    weight_{u}{v} = {self.inside(scores, u, v, -math.inf)}",
                    f"    weight_{u}{v} = {exp}(weight_{u}{v} - shift{u})",
                    f"    total{u} = total{u} + weight_{u}{v}",
                )

    def multiply(self, number: int, matrix: View) -> None:
        """Lines that multiply a result of the body by a matrix."""
        result, wide = self.body.outputs[self.summed[number]], len(self.columns[number]) * _ACROSS
        of_steps, of_columns = matrix.strides[-2:]
        for u, v in self.pairs():
            place = f"(row * {len(self.each)} + {u}) * {self.pitch} + column + {v * _ACROSS}"
            self.add(f"    scores[{place}] = {self.inside(result, u, v)}")
        if of_columns == 1:
            term, place = f"i // {wide}", f"i % {wide}"
        else:
            term, place = f"i % {_STRIP}", f"i // {_STRIP}"
        at = f"(left + begin + term) * {self.text.stride(of_steps)} + place * {self.text.stride(of_columns)}"
        element = loaded(f"c{number}[of_c{number} + {at}]", matrix.base.type.dtype)
        strip = [
            f"for i in range(thread_index(), {_STRIP * wide}, {_THREADS}):",
            f"    term, place = {term}, {place}",
            f"    element = {literal(0, self.dtype)}",
            f"    if (left + begin + term < steps) & (place < {self.text.stride(self.widths[number])}):",
            f"        element = {element}",
            f"    strip[term * {wide} + place] = element",
            "barrier()",
            f"for term in range({_STRIP}):",
            *(f"    b{w} = strip[term * {wide} + column + {w * _ACROSS}]" for w in self.columns[number]),
        ]
        for u in self.each:
            strip.append(f"    a{u} = scores[(row * {len(self.each)} + {u}) * {self.pitch} + begin + term]")
            strip += [f"    {s} = {self.fma(u, w, s)}" for w, s in enumerate(self.sums(number, u))]
        self.add(f"    for begin in range(0, {self.side}, {_STRIP}):")
        self.add(*(f"        {line}" for line in (*strip, "barrier()")))

    # ---- behind the steps

    def end(self) -> None:
        """Lines that store all results."""
        single = [f"plain{number}_{{}}" for number in range(len(self.plain))]
        for name in (["total{}"] if self.softmax else []) + single:
            for u in self.each:
                for mask in (8, 4, 2, 1):
                    one = name.format(u)
                    self.add(f"other = shuffle_xor_{self.short}({one}, {mask})", f"{one} = {one} + other")
        of_lines = (["largest{}", "total{}"] if self.softmax else []), single
        first_plain = len(of_lines[0]) + len(self.widths)
        stored = [*enumerate(of_lines[0]), *enumerate(of_lines[1], first_plain)]
        for u in self.each:
            self.add(f"if (l{u} < lines) & (column == 0):") if stored else None
            self.add(*(f"    z{number}[batch * lines + l{u}] = {name.format(u)}" for number, name in stored))
            for number, width in enumerate(self.widths):
                output, columns = len(of_lines[0]) + number, self.text.stride(width)
                for w, name in enumerate(self.sums(number, u)):
                    place = f"column + {w * _ACROSS}"
                    self.add(
                        f"if (l{u} < lines) & ({place} < {columns}):",
                        f"    z{output}[(batch * lines + l{u}) * {columns} + {place}] = {name}",
                    )


def _side(longest: int, itemsize: int) -> int:
    """Lines and steps of a tile: a thread has 16 elements of one of float32, a quarter of that of float64."""
    most = 64 if itemsize <= 4 else 32
    return next((side for side in (16, 32, 64) if side >= min(longest, most)), most)
