"""Kernel source for a region: the loops of its nest, written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Value, is_float
from ...ir.ops import creation
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half
from ...passes.kernels.loop_nest import (
    LoopNest,
    by_columns,
    is_free,
    reduction_form,
)
from .elementwise import CAST, expression, literal, loaded, stored
from .kernel_text import KernelText
from .launch import TILE, Address, Call, Scratch, Traps
from .random_element import random_lines, skip_before
from .reduction import combine
from .region_indices import Indices
from .region_reductions import Reductions

_LANES = 16
_LONG_ROW = 1024


@dataclass(frozen=True)
class Operands:
    """Where the loops of a nest find what they work on: the memory of the arrays, this worker's row buffers, the parts
    of reductions over all rows, and the traps of the program.
    """

    inputs: Sequence[Address]
    outputs: Sequence[Address]
    buffers: Scratch
    parts: Scratch
    traps: Traps


def call_loops(nest: LoopNest, in_place: Mapping[int, int], operands: Operands) -> Call:
    """The call of the kernel of a nest; `in_place[o] = i`: output `o` is written over input `i`."""
    return RegionWriter(nest, in_place, operands, KernelText(), Reductions).call()


class RegionWriter:
    """The kernel of a region, written line by line: a loop over the rows of a tile, and in it the sweeps over a row.

    A sweep is one loop over the elements of the row, which computes all its values for an element at a time: what it
    reads is read once, what it makes stays in registers. Between sweeps stand the values that a row has once, such as
    its sum. What a later sweep needs of an earlier one is computed again where that is free, else it is in row buffers.
    """

    def __init__(
        self,
        nest: LoopNest,
        in_place: Mapping[int, int],
        operands: Operands,
        text: KernelText,
        reductions: type[Reductions],
    ) -> None:
        self.nest = nest
        self.in_place = in_place
        self.operands = operands
        self.traps = 0
        self.text = text
        self.guard = ""
        """What must hold for an element to be there, where others are computed too."""
        self.names: dict[Value, str] = {}
        self.arrays: dict[Value, str] = {}
        self.windows_of: dict[Value, str] = {}
        self.held: dict[Value, str] = {}
        self.skipped: dict[Node, str] = {}
        self.indices = Indices(nest, self.text)
        self.reductions = reductions(nest, self.text, self.arrays, self.windows_of, self.held)
        self.outputs = {v: i for i, v in enumerate(nest.body.outputs)}
        self.users = nest.body.users()

    def constant(self, node: Node) -> str:
        """A constant in source. A real number that is only added and multiplied is a word, so that kernels for other
        lengths of a batch, or other rates of an optimizer, are the same.
        """
        value, dtype = node.attrs["value"], node.output.type.dtype
        uses = {user.op for user in self.users[node.output]}
        if is_half(dtype):
            value, dtype = float(dtype.type(value)), FLOAT32
        if dtype.kind != "f" or not uses <= {ew.add, ew.sub, ew.mul} or abs(value) in (0, 1) or not np.isfinite(value):
            return literal(value, dtype)
        return self.text.real(value, dtype)

    # ---- the whole

    def call(self) -> Call:
        """The call of the whole kernel."""
        self.write()
        return self.text.call()

    def sizes(self) -> None:
        """The tile, and how long everything is."""
        self.text.head.append(f"    tile = {self.text.word(TILE)}")
        self.text.number("step", self.nest.cut.step)
        self.text.number("total", self.nest.rows)
        self.text.number("columns", self.nest.columns)

    def write(self) -> None:
        """All lines of the kernel."""
        nest = self.nest
        self.sizes()
        alone = nest.chunked and nest.size == 1
        if nest.chunked and not alone:
            self.text.number("size", nest.size)
        self.rows_of_tile()
        self.declare_arrays()
        self.scalars()
        self.repeated_rows()
        self.reductions.crossing_starts()
        if nest.lines:
            self.text.lines += self.text.wait("    ")
        if nest.together > 1:
            self.text.lines.append("    for i in range(0, rows, accumulators):")
        else:
            # Loops that are known to run once go away before LLVM vectorizes them.
            self.text.lines.append(f"    for i in range({'1' if alone else 'rows'}):")
        self.text.lines.append("        r = first + i")
        if nest.together > 1:
            self.text.lines.append("        n = (rows - i if rows - i < accumulators else accumulators) * columns")
        elif alone:
            self.text.lines.append("        n = 1")
        elif nest.chunked:
            left = f"size - r * {nest.chunk}"
            self.text.lines.append(f"        n = {left} if {left} < {nest.chunk} else {nest.chunk}")
        else:
            self.text.lines.append("        n = columns")
        self.sweeps_of_row()
        self.reductions.crossing_ends()

    def sweeps_of_row(self) -> None:
        """What is computed of a row: sweep after sweep, and before each, and at last, what a row has once."""
        nest = self.nest
        self.indices.row_indices()
        self.skips()
        self.windows()
        for s in range(len(nest.sweeps)):
            for node in nest.row_nodes[s]:
                self.row_node(node)
            self.sweep(s)
        for node in nest.row_nodes[len(nest.sweeps)]:
            self.row_node(node)

    def rows_of_tile(self) -> None:
        """The first row of the tile, and how many it has."""
        cut = self.nest.cut
        if cut.parts == 1:
            self.text.head += ["    first = tile * step", "    rows = total - first if total - first < step else step"]
        else:
            self.text.number("parts", cut.parts)
            self.text.number("whole", cut.whole)
            self.text.head += [
                "    first = tile % parts * step",
                "    rows = whole - first if whole - first < step else step",
                "    first += tile // parts * whole",
            ]
        if self.nest.accumulators > 1:
            self.text.number("accumulators", self.nest.accumulators)

    def declare_arrays(self) -> None:
        """The arrays of inputs and outputs, row buffers, lines of the worker, parts of reductions."""
        nest = self.nest
        for i, value in enumerate(nest.body.inputs):
            offset = nest.accesses[value].offset * value.type.dtype.itemsize
            self.arrays[value] = self.text.array(f"x{i}", value, self.operands.inputs[i].plus(offset))
        for o, value in enumerate(nest.body.outputs):
            if nest.kinds[value] == "crossing" and value.node is not None and nest.partial(value.node):
                continue
            if o in self.in_place:
                self.arrays[value] = self.arrays[nest.body.inputs[self.in_place[o]]]
            elif value not in self.arrays:
                part = nest.parts.get(value)
                index, start = (o, 0) if part is None else (part.output, part.view.offset)
                target = self.operands.outputs[index].plus(start * value.type.dtype.itemsize)
                self.arrays[value] = self.text.array(f"o{o}", value, target)
        self.declare_buffers()
        offset = nest.lines_at
        for k, value in enumerate(nest.lines):
            self.held[value] = self.text.array(f"line{k}", value, self.operands.buffers.plus(offset))
            offset += nest.line_bytes([value])
        offset = 0
        for value in (n.output for n in nest.crossings):
            if value.node is not None and nest.partial(value.node):
                self.arrays[value] = self.text.array(f"p{len(self.arrays)}", value, self.operands.parts.plus(offset))
                offset += nest.target.round_to_line(nest.tiles * value.type.nbytes)

    def declare_buffers(self) -> None:
        """The row buffers of this worker."""
        offset = 0
        for k, value in enumerate(self.nest.buffers):
            self.text.array(f"buffer{k}", value, self.operands.buffers.plus(offset))
            offset += self.nest.target.round_to_line(self.nest.columns * value.type.dtype.itemsize)

    def scalars(self) -> None:
        """What is the same for all elements: read once, or written as a constant."""
        for value in self.nest.body.inputs:
            if self.nest.kinds[value] == "scalar":
                self.names[value] = f"s{len(self.names)}"
                number = loaded(f"{self.arrays[value]}[0]", value.type.dtype)
                self.text.lines.append(f"    {self.names[value]} = {number}")
        for node in self.nest.body.nodes:
            if self.nest.kinds[node.outputs[0]] == "scalar":
                self.names[node.output] = self.constant(node)

    def repeated_rows(self) -> None:
        """Rows of what differs by column alone, repeated as often as a column has accumulators: then one loop can run
        over as many rows of the nest at a time.
        """
        for value, line in self.held.items():
            if value.node is None:
                at = self.indices.column_index(value)
                self.text.lines += [
                    "    for i in range(accumulators):",
                    f"        part = window({line}, i * columns, columns)",
                    f"        {self.text.along('columns')}",
                    f"            part[j] = {self.arrays[value]}[{at}]",
                ]

    def windows(self) -> None:
        """The start of this row in every array that is walked along the row; row values are read here."""
        nest = self.nest
        for value in (*nest.body.inputs, *nest.body.outputs):
            kind = nest.kinds[value]
            if value not in nest.accesses or kind == "scalar" or value not in self.arrays:
                continue
            offset = self.indices.row_offset(value)
            if kind == "row":
                if value.node is None:
                    name = f"r{len(self.names)}"
                    self.names[value] = name
                    element = loaded(f"{self.arrays[value]}[{offset or 0}]", value.type.dtype)
                    self.text.lines.append(f"        {name} = {element}")
                continue
            name = f"w{len(self.windows_of)}"
            if value in self.windows_of:
                continue
            self.windows_of[value] = name
            if value.node is None and value in self.held:
                self.text.lines.append(f"        {name} = window({self.held[value]}, 0, n)")
                continue
            source = self.arrays[value]
            self.text.lines.append(f"        {name} = window({source}, {offset or 0}, n)")

    # ---- one sweep along a row

    @property
    def has_short_rows(self) -> bool:
        """Whether the remainder of a row would take a good part of the time that the row takes. It is then computed in
        a vector under a mask. What is written under masks cannot be read again at once, so not for rows of less than a
        vector, nor where sums go on.
        """
        nest = self.nest
        short = not nest.chunked and nest.together == 1 and _LANES < nest.columns < _LONG_ROW
        return short and nest.columns % _LANES != 0 and nest.target.masked

    def sweep(self, s: int) -> None:
        """One loop over a row. No element of it depends on another, which lets LLVM vectorize it without tests of
        whether arrays overlap.
        """
        nest = self.nest
        nodes = nest.sweeps[s]
        stores = [v for v in nest.buffers if nest.sweep_of[v] == s and (v.node is None or v.node in nodes)]
        sums = [n for n in nest.crossings if by_columns(nest, n) and nest.sweep_of[n.inputs[0]] == s]
        outs = [n for n in nodes if n.output in self.outputs]
        if not (stores or sums or outs):
            return
        wanted: dict[Value, None] = {}

        def want(value: Value) -> None:
            if value in wanted or nest.kinds[value] != "full":
                return
            wanted[value] = None
            if value.node is not None and (nest.sweep_of[value] == s or is_free(value)):
                for source in value.node.inputs:
                    want(source)

        for value in (*stores, *(n.inputs[0] for n in sums), *(n.output for n in outs)):
            want(value)
        for value in wanted:
            if value.node is None and not any(nest.accesses[value].column_strides):
                number = loaded(f"{self.windows_of[value]}[0]", value.type.dtype)
                self.text.lines.append(f"        c_{self.windows_of[value]} = {number}")
        for node in sums:
            self.reductions.column_sum_row(node)
        masked = self.has_short_rows and not sums and any(n.op.is_transcendental for n in nodes)
        self.text.lines.append(f"        {self.text.along('n', 'masked_' if masked else 'parallel_')}")
        local: dict[Value, str] = {}
        for value in self.nest.body.inputs:
            if value in wanted:
                local[value] = self.load(value, local)
        for node in nest.body.nodes:
            value = node.outputs[0]
            if value not in wanted:
                continue
            if value.node is not None and (nest.sweep_of[value] == s or is_free(value)):
                local[value] = self.element(node, local)
            else:
                local[value] = self.load(value, local)
        for value in stores:
            element = stored(local[value], value.type.dtype)
            self.text.lines.append(f"            buffer{nest.buffers.index(value)}[j] = {element}")
        for node in outs:
            element = stored(local[node.output], node.output.type.dtype)
            self.text.lines.append(f"            {self.windows_of[node.output]}[j] = {element}")
        for node in sums:
            place = f"{self.reductions.accumulator(node)}[j]"
            text = combine(node.op, node.output.type.dtype, place, local[node.inputs[0]])
            self.text.lines.append(f"            {place} = {text}")
        for node in sums:
            if reduction_form(node)[0] == "middle":
                self.reductions.middle_row_end(node)

    def load(self, value: Value, local: dict[Value, str]) -> str:
        """The name of an element that is read: from its array, or from a row buffer."""
        nest = self.nest
        name = f"v{len(local)}"
        if value in self.windows_of:
            window = self.windows_of[value]
            strides = nest.accesses[value].column_strides
            if not any(strides):
                return f"c_{window}"
            index = "j" if value.node is None and value in self.held else self.indices.column_index(value)
            place = f"{window}[{index}]"
        else:
            place = f"buffer{nest.buffers.index(value)}[j]"
        self.text.lines.append(f"            {name} = {loaded(place, value.type.dtype)}")
        return name

    def element(self, node: Node, local: dict[Value, str]) -> str:
        """The name of an element that is computed."""
        name = f"v{len(local)}"
        names = [local[v] if v in local else self.names[v] for v in node.inputs]
        self.compute(node, name, names, "            ", full=True)
        return name

    def compute(self, node: Node, name: str, names: list[str], indent: str, full: bool) -> None:
        """Lines that compute one element of a node."""
        op, dtype, attrs = node.op, node.output.type.dtype, node.attrs
        if op.fusion == "reshaping":
            text = names[0]
        elif op is creation.full:
            text = self.constant(node)
        elif op is creation.iota:
            text = literal_cast(self.indices.axis_index(node, full), dtype)
        elif op is creation.random_bits:
            width = self.nest.chunk if self.nest.chunked else "columns"
            index = f"r * {width} + {self.indices.column}" if full else "r"
            if node in self.skipped:
                index += f" + {self.skipped[node]}"
            elif attrs.get("run", 0):
                index += f" + {skip_before(self.text, node, index)}"
            start = f"({names[1]}) + " if len(names) > 1 else ""
            self.text.lines += random_lines(self.text, node, name, names[0], start + index, indent)
            return
        elif op.is_check:
            code, x = self.trap(node), names[0]
            above = f" | ({x} >= {self.text.stride(attrs['size'])})" if "size" in attrs else ""
            fails = f"({x} - {x} != 0)" if is_float(dtype) else f"({x} < 0){above}"  # inf - inf is NaN
            self.text.lines.append(f"{indent}if {self.guard if full else ''}{fails}:")
            self.text.lines.append(f"{indent}    {self.text.stop(code)}")
            text = names[0]
        else:
            text = expression(node, names)
        self.text.lines.append(f"{indent}{name} = {text}")

    def trap(self, node: Node) -> str:
        """The code to return where the check of a node fails."""
        name = f"trap{self.traps}"
        self.traps += 1
        return self.text.number(name, self.operands.traps.code(node, node.attrs.get("size", 0)))

    def skips(self) -> None:
        """The same for all of a row that lies in one run: no division for each element."""
        nest = self.nest
        width = nest.chunk if nest.chunked else nest.columns
        for node in nest.body.nodes:
            run: int = node.attrs.get("run", 0)
            if run and nest.kinds[node.outputs[0]] == "full" and run % width == 0:
                self.skipped[node] = f"skip{len(self.skipped)}"
                before = skip_before(self.text, node, f"r * {self.text.stride(width)}")
                self.text.lines.append(f"        {self.skipped[node]} = {before}")

    # ---- values of a row

    def row_node(self, node: Node) -> None:
        nest = self.nest
        value = node.outputs[0]
        if nest.kinds[value] == "crossing":
            self.reductions.crossing_row(node)
            return
        name = f"r{len(self.names)}"
        self.names[value] = name
        if node.op.is_reduction:
            self.row_reduction(node, name)
        else:
            self.compute(node, name, [self.names[v] for v in node.inputs], "        ", full=False)
        if value in self.outputs:
            offset = self.indices.row_offset(value) if value in nest.accesses else "r"
            element = stored(name, value.type.dtype)
            self.store_of_row(f"{self.arrays[value]}[{offset or 0}] = {element}")

    def row_reduction(self, node: Node, name: str) -> None:
        """Lines that reduce a row."""
        self.reductions.row_reduction(node, name)

    def store_of_row(self, statement: str) -> None:
        """Lines that store what a row has once."""
        self.text.lines.append(f"        {statement}")


def literal_cast(text: str, dtype: np.dtype[Any]) -> str:
    """An integer expression as an element of `dtype`."""
    if is_half(dtype):
        return f"rounded_{SHORT_NAMES[dtype]}(f32({text}))"
    return f"({text}) != 0" if dtype.kind == "b" else f"{CAST[dtype]}({text})"
