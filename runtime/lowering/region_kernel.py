"""Kernel source for a region: the loops of its nest, written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Value
from ...ir.ops import creation, reduction
from ...ir.ops import elementwise as ew
from ...ir.ops.creation import GOLDEN, mix
from ...passes.kernels.loop_nest import (
    CHUNK,
    LEAST_BLOCK,
    LoopNest,
    block_rows,
    by_columns,
    is_free,
    reduction_form,
    squeezed,
)
from ...passes.kernels.matmul_tiles import has_wide_registers
from .elementwise import CAST, expression, literal
from .launch import TILE, Address, Arg, Call, Scratch, Traps
from .reduction import REDUCTIONS, combine, identity
from .row_reductions import LONG

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
    return _Writer(nest, in_place, operands).call()


class _Writer:
    def __init__(self, nest: LoopNest, in_place: Mapping[int, int], operands: Operands) -> None:
        self.nest = nest
        self.in_place = in_place
        self.operands = operands
        self.args: list[Arg] = []
        self.traps = 0
        self.head: list[str] = []
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.arrays: dict[Value, str] = {}
        self.numbers: dict[int, str] = {}
        self.reals: dict[tuple[np.dtype[Any], int], str] = {}
        self.windows_of: dict[Value, str] = {}
        self.held: dict[Value, str] = {}
        self.skipped: dict[Node, str] = {}
        self.outputs = {v: i for i, v in enumerate(nest.body.outputs)}
        self.users = nest.body.users()
        self.decomposed = len(nest.row_axes) > 1

    # ---- the argument block

    def word(self, arg: Arg) -> str:
        self.args.append(arg)
        return f"word(b, {len(self.args) - 1})"

    def number(self, name: str, value: int) -> str:
        self.head.append(f"    {name} = {self.word(value)}")
        return name

    def stride(self, value: int) -> str:
        """A stride or length in source; equal ones share a word."""
        if value in (0, 1):
            return str(value)
        if value not in self.numbers:
            self.numbers[value] = self.number(f"k{len(self.numbers)}", value)
        return self.numbers[value]

    def constant(self, node: Node) -> str:
        """A constant in source. A real number that is only added and multiplied is a word, so that kernels for other
        lengths of a batch, or other rates of an optimizer, are the same.
        """
        value, dtype = node.attrs["value"], node.output.type.dtype
        uses = {user.op for user in self.users[node.output]}
        if dtype.kind != "f" or not uses <= {ew.add, ew.sub, ew.mul} or abs(value) in (0, 1) or not np.isfinite(value):
            return literal(value, dtype)
        bits = int(dtype.type(value).view(f"i{dtype.itemsize}"))
        if (dtype, bits) not in self.reals:
            name = self.reals[dtype, bits] = f"real{len(self.reals)}"
            self.head.append(f"    {name} = real_{SHORT_NAMES[dtype]}({self.word(bits)})")
        return self.reals[dtype, bits]

    def array(self, name: str, value: Value, address: Address) -> str:
        self.head.append(f"    {name} = array_{SHORT_NAMES[value.type.dtype]}({self.word(address)}, 0)")
        return name

    # ---- the whole

    def call(self) -> Call:
        nest = self.nest
        self.head.append(f"    tile = {self.word(TILE)}")
        self.number("step", nest.cut.step)
        self.number("total", nest.rows)
        self.number("columns", nest.columns)
        alone = nest.chunked and nest.size == 1
        if nest.chunked and not alone:
            self.number("size", nest.size)
        self.rows_of_tile()
        self.declare_arrays()
        self.scalars()
        self.repeats()
        self.crossing_starts()
        if nest.together > 1:
            self.lines.append("    for i in range(0, rows, lanes):")
        else:
            # Loops that are known to run once go away before LLVM vectorizes them.
            self.lines.append(f"    for i in range({'1' if alone else 'rows'}):")
        self.lines.append("        r = first + i")
        if nest.together > 1:
            self.lines.append("        n = (rows - i if rows - i < lanes else lanes) * columns")
        elif alone:
            self.lines.append("        n = 1")
        elif nest.chunked:
            self.lines.append(f"        n = size - r * {CHUNK} if size - r * {CHUNK} < {CHUNK} else {CHUNK}")
        else:
            self.lines.append("        n = columns")
        self.row_indices()
        self.skips()
        self.windows()
        for s in range(len(nest.sweeps)):
            for node in nest.row_nodes[s]:
                self.row_node(node)
            self.sweep(s)
        for node in nest.row_nodes[len(nest.sweeps)]:
            self.row_node(node)
        self.crossing_ends()
        text = "\n".join(["def kernel(b):", *self.head, *self.lines, "    return i64(0)", ""])
        return Call(text, self.args)

    def rows_of_tile(self) -> None:
        """The first row of the tile, and how many it has."""
        cut = self.nest.cut
        if cut.parts == 1:
            self.head += ["    first = tile * step", "    rows = total - first if total - first < step else step"]
        else:
            self.number("parts", cut.parts)
            self.number("whole", cut.whole)
            self.head += [
                "    first = tile % parts * step",
                "    rows = whole - first if whole - first < step else step",
                "    first += tile // parts * whole",
            ]
        if self.nest.lanes > 1:
            self.number("lanes", self.nest.lanes)

    def declare_arrays(self) -> None:
        nest = self.nest
        for i, value in enumerate(nest.body.inputs):
            offset = nest.accesses[value].offset * value.type.dtype.itemsize
            self.arrays[value] = self.array(f"x{i}", value, self.operands.inputs[i].plus(offset))
        for o, value in enumerate(nest.body.outputs):
            if nest.kinds[value] == "crossing" and value.node is not None and nest.partial(value.node):
                continue
            if o in self.in_place:
                self.arrays[value] = self.arrays[nest.body.inputs[self.in_place[o]]]
            elif value not in self.arrays:
                part = nest.parts.get(value)
                index, start = (o, 0) if part is None else (part.output, part.view.offset)
                target = self.operands.outputs[index].plus(start * value.type.dtype.itemsize)
                self.arrays[value] = self.array(f"o{o}", value, target)
        offset = 0
        for k, value in enumerate(nest.buffers):
            self.array(f"buffer{k}", value, self.operands.buffers.plus(offset))
            offset += -(-nest.columns * value.type.dtype.itemsize // 64) * 64
        offset = nest.lines_at
        for k, value in enumerate(nest.lines):
            self.held[value] = self.array(f"line{k}", value, self.operands.buffers.plus(offset))
            offset += nest.line_bytes([value])
        offset = 0
        for value in (n.output for n in nest.crossings):
            if value.node is not None and nest.partial(value.node):
                self.arrays[value] = self.array(f"p{len(self.arrays)}", value, self.operands.parts.plus(offset))
                offset += -(-nest.tiles * value.type.nbytes // 64) * 64

    def scalars(self) -> None:
        for value in self.nest.body.inputs:
            if self.nest.kinds[value] == "scalar":
                self.names[value] = f"s{len(self.names)}"
                self.lines.append(f"    {self.names[value]} = {self.arrays[value]}[0]")
        for node in self.nest.body.nodes:
            if self.nest.kinds[node.outputs[0]] == "scalar":
                self.names[node.output] = self.constant(node)

    def repeats(self) -> None:
        """Lines of what differs by column alone."""
        for value, line in self.held.items():
            if value.node is None:
                at = self.column_index(value)
                self.lines += [
                    "    for i in range(lanes):",
                    f"        part = window({line}, i * columns, columns)",
                    "        for j in range(columns):",
                    f"            part[j] = {self.arrays[value]}[{at}]",
                ]

    def row_indices(self) -> None:
        axes = self.nest.row_axes
        if not self.decomposed:
            if axes:
                self.lines.append("        i0 = r")
            return
        self.lines.append("        q = r")
        for axis in range(len(axes) - 1, 0, -1):
            length = self.stride(axes[axis])
            self.lines.append(f"        i{axis} = q % {length}")
            self.lines.append(f"        q = q // {length}")
        self.lines.append("        i0 = q")

    def row_offset(self, value: Value) -> str:
        access = self.nest.accesses[value]
        terms: list[str] = []
        for axis, stride in enumerate(access.row_strides):
            if stride:
                text = self.stride(stride)
                terms.append(f"i{axis}" if text == "1" else f"i{axis} * {text}")
        if self.nest.chunked and self.nest.kinds[value] == "full" and any(access.column_strides):
            stride = self.stride(access.column_strides[0])
            terms.append(f"r * {CHUNK}" + ("" if stride == "1" else f" * {stride}"))
        return " + ".join(terms)

    def windows(self) -> None:
        """The start of this row in every array that is walked along the row; row values are read here."""
        nest = self.nest
        for value in (*nest.body.inputs, *nest.body.outputs):
            kind = nest.kinds[value]
            if value not in nest.accesses or kind == "scalar" or value not in self.arrays:
                continue
            offset = self.row_offset(value)
            if kind == "row":
                if value.node is None:
                    name = f"r{len(self.names)}"
                    self.names[value] = name
                    self.lines.append(f"        {name} = {self.arrays[value]}[{offset or 0}]")
                continue
            name = f"w{len(self.windows_of)}"
            if value in self.windows_of:
                continue
            self.windows_of[value] = name
            if value.node is None and value in self.held:
                self.lines.append(f"        {name} = window({self.held[value]}, 0, n)")
                continue
            source = self.arrays[value]
            self.lines.append(f"        {name} = window({source}, {offset or 0}, n)")

    # ---- one sweep along a row

    @property
    def has_short_rows(self) -> bool:
        """Whether the remainder of a row would take a good part of the time that the row takes. But what is written
        under masks cannot be read again at once: not for rows of less than a vector, nor where sums are carried on.
        """
        nest = self.nest
        short = not nest.chunked and nest.together == 1 and _LANES < nest.columns < _LONG_ROW
        return short and nest.columns % _LANES != 0 and has_wide_registers()

    def sweep(self, s: int) -> None:
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
                self.lines.append(f"        c_{self.windows_of[value]} = {self.windows_of[value]}[0]")
        for node in sums:
            self.column_sum_row(node)
        masked = self.has_short_rows and not sums and any(n.op.is_transcendental for n in nodes)
        self.lines.append(f"        for j in {'masked' if masked else 'parallel'}_range(n):")
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
            self.lines.append(f"            buffer{nest.buffers.index(value)}[j] = {local[value]}")
        for node in outs:
            self.lines.append(f"            {self.windows_of[node.output]}[j] = {local[node.output]}")
        for node in sums:
            place = f"{self.accumulator(node)}[j]"
            text = combine(node.op.name, node.output.type.dtype, place, local[node.inputs[0]])
            self.lines.append(f"            {place} = {text}")
        for node in sums:
            if reduction_form(node)[0] == "middle":
                self.middle_row_end(node)

    def load(self, value: Value, local: dict[Value, str]) -> str:
        nest = self.nest
        name = f"v{len(local)}"
        if value in self.windows_of:
            window = self.windows_of[value]
            strides = nest.accesses[value].column_strides
            if not any(strides):
                return f"c_{window}"
            index = "j" if value.node is None and value in self.held else self.column_index(value)
            self.lines.append(f"            {name} = {window}[{index}]")
        else:
            self.lines.append(f"            {name} = buffer{nest.buffers.index(value)}[j]")
        return name

    def column_index(self, value: Value) -> str:
        """The element of column `j`, from where a row begins."""
        strides = self.nest.accesses[value].column_strides
        if len(strides) == 1:
            text = self.stride(strides[0])
            return "j" if text == "1" else f"j * {text}"
        return " + ".join(f"{self.column_axis(k)} * {self.stride(s)}" for k, s in enumerate(strides) if s)

    def column_axis(self, k: int) -> str:
        """The index along column axis `k` of column `j`."""
        axes = self.nest.column_axes
        if len(axes) == 1:
            return "j"
        inner = int(np.prod(axes[k + 1 :], dtype=np.int64))
        text = "j" if inner == 1 else f"(j // {self.stride(inner)})"
        return text if k == 0 else f"({text} % {self.stride(axes[k])})"

    def element(self, node: Node, local: dict[Value, str]) -> str:
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
            text = literal_cast(self.axis_index(node, full), dtype)
        elif op is creation.random_bits:
            index = ("r * " + (str(CHUNK) if self.nest.chunked else "columns") + " + j") if full else "r"
            if node in self.skipped:
                index += f" + {self.skipped[node]}"
            elif attrs.get("run", 0):
                index += f" + {self.skip(node, index)}"
            start = f"({names[1]}) + " if len(names) > 1 else ""
            self.random(node, name, names[0], start + index, indent)
            return
        elif op.is_check:
            code = self.trap(node)
            above = f" | ({names[0]} >= {self.stride(attrs['size'])})" if "size" in attrs else ""
            self.lines.append(f"{indent}if ({names[0]} < 0){above}:")
            self.lines.append(f"{indent}    return {code}")
            text = names[0]
        else:
            text = expression(node, names)
        self.lines.append(f"{indent}{name} = {text}")

    def trap(self, node: Node) -> str:
        """The code to return where the check of a node fails."""
        name = f"site{self.traps}"
        self.traps += 1
        return self.number(name, self.operands.traps.code(node, node.attrs.get("size", 0)))

    def axis_index(self, node: Node, full: bool) -> str:
        shape, axis = node.output.type.shape, node.attrs["axis"]
        if shape[axis] == 1:
            return "0"
        if self.nest.chunked:
            return f"(r * {CHUNK} + j)"
        place = len(squeezed(shape[:axis]))
        rows = len(self.nest.row_axes)
        return f"i{place}" if place < rows else self.column_axis(place - rows)

    def skip(self, node: Node, index: str) -> str:
        """Outputs of the generator that lie between runs of random bits before the element at `index`."""
        run: int = node.attrs["run"]
        return f"({index}) // {self.stride(run)} * {self.stride(node.attrs['apart'] - run)}"

    def skips(self) -> None:
        """The same for all of a row that lies in one run: no division for each element."""
        nest = self.nest
        width = CHUNK if nest.chunked else nest.columns
        for node in nest.body.nodes:
            run: int = node.attrs.get("run", 0)
            if run and nest.kinds[node.outputs[0]] == "full" and run % width == 0:
                self.skipped[node] = f"skip{len(self.skipped)}"
                self.lines.append(f"        {self.skipped[node]} = {self.skip(node, f'r * {self.stride(width)}')}")

    def random(self, node: Node, name: str, key: str, index: str, indent: str) -> None:
        stream = int(mix(np.array([node.attrs["stream"]], np.uint64) * np.uint64(GOLDEN))[0])
        word = self.number(f"stream{len(self.args)}", stream - (1 << 64) if stream >> 63 else stream)
        z = f"{name}z"
        self.lines += [
            f"{indent}{z} = mix64(mix64(u64({key}) ^ u64({word})) + u64({index} + 1) * u64({GOLDEN}))",
            f"{indent}{name} = " + (f"i32({z} >> u64(32))" if node.output.type.dtype.itemsize == 4 else f"i64({z})"),
        ]

    # ---- values of a row

    def row_node(self, node: Node) -> None:
        nest = self.nest
        value = node.outputs[0]
        if nest.kinds[value] == "crossing":
            self.crossing_row(node)
            return
        name = f"r{len(self.names)}"
        self.names[value] = name
        if node.op.is_reduction:
            self.row_reduction(node, name)
        else:
            self.compute(node, name, [self.names[v] for v in node.inputs], "        ", full=False)
        if value in self.outputs:
            offset = self.row_offset(value) if value in nest.accesses else "r"
            self.lines.append(f"        {self.arrays[value]}[{offset or 0}] = {name}")

    def row_source(self, value: Value) -> str:
        """Where a row of a full value stands densely."""
        if value in self.nest.buffers:
            return f"buffer{self.nest.buffers.index(value)}"
        return self.windows_of[value]

    def of_row(self, op: str, dtype: np.dtype[Any]) -> str:
        """The function that reduces a row."""
        long = op == "reduce_sum" and dtype.kind == "f" and self.nest.columns > LONG
        return f"row_{'long_' * long}{REDUCTIONS[op]}_{SHORT_NAMES[dtype]}"

    def row_reduction(self, node: Node, name: str) -> None:
        source = self.row_source(node.inputs[0])
        dtype = node.inputs[0].type.dtype
        if node.op.name in REDUCTIONS:
            self.lines.append(f"        {name} = {self.of_row(node.op.name, dtype)}({source}, n)")
            return
        part = "max" if node.op is reduction.argmax else "min"
        nan = " | ((e != e) & (best != best))" if dtype.kind == "f" else ""
        self.lines += [
            f"        best = row_{part}_{SHORT_NAMES[dtype]}({source}, n)",
            f"        {name} = i64(0)",
            "        for j in range(n):",
            f"            e = {source}[j]",
            f"            if (e == best){nan}:",
            f"                {name} = i64(j)",
            "                break",
        ]

    # ---- crossing reductions

    def accumulator(self, node: Node) -> str:
        return f"a{self.nest.crossings.index(node)}"

    def crossing_starts(self) -> None:
        """Accumulators of sums over all rows of the tile."""
        for node in self.nest.crossings:
            name, value = self.accumulator(node), node.output
            start = identity(node.op.name, value.type.dtype)
            form = reduction_form(node)[0]
            if not by_columns(self.nest, node):
                self.lines.append(f"    {name} = {start}")
                if self.has_blocks(node):
                    self.lines.append(f"    {name}_total = {start}")
            elif form == "middle":
                self.lines.append(f"    {name}_group = first // {self.stride(self.nest.group_rows(node))}")
                self.lines += [f"    {name}_row = i64(0)", f"    {name}_before = i64(0)"]
            elif form == "columns":
                if value in self.held:
                    self.lines.append(f"    {name} = window({self.held[value]}, 0, lanes * columns)")
                    self.lines.append("    for j in range(lanes * columns):")
                else:
                    self.lines.append(f"    {name} = window({self.arrays[value]}, {self.part_offset(node)}, columns)")
                    self.lines.append("    for j in range(columns):")
                self.lines.append(f"        {name}[j] = {start}")

    def part_offset(self, node: Node) -> str:
        return "tile * columns" if self.nest.partial(node) else "0"

    def column_sum_row(self, node: Node) -> None:
        """Before a row of a `middle` reduction: its row of sums, cleared at the first row of each group; before one
        that is added up in lanes: its lane.
        """
        if reduction_form(node)[0] != "middle":
            if node.output in self.held and self.nest.together == 1:
                line = self.held[node.output]
                self.lines.append(f"        {self.accumulator(node)} = window({line}, i % lanes * columns, columns)")
            return
        name, start = self.accumulator(node), identity(node.op.name, node.output.type.dtype)
        blocks = block_rows(node) > 0
        place = self.held[node.output] if blocks else self.arrays[node.output]
        self.lines += [
            f"        {name} = window({place}, {'0' if blocks else f'{name}_group * columns'}, columns)",
            f"        if {name}_row == 0:",
            "            for j in range(columns):",
            f"                {name}[j] = {start}",
        ]

    def middle_row_end(self, node: Node) -> None:
        """After a row of a `middle` reduction: at the end of a block, its sums are added to those of the group, which
        the first one begins. What counts rows costs less than to divide their numbers.
        """
        name, group = self.accumulator(node), self.stride(self.nest.group_rows(node))
        self.lines.append(f"        {name}_row += 1")
        if not block_rows(node):
            self.lines += [f"        if {name}_row == {group}:", f"            {name}_row = i64(0)"]
            self.lines.append(f"            {name}_group += 1")
            return
        self.lines += [
            f"        if ({name}_row == {self.stride(block_rows(node))}) | ({name}_before + {name}_row == {group}):",
            f"            total = window({self.arrays[node.output]}, {name}_group * columns, columns)",
            f"            if {name}_before == 0:",
            "                for j in range(columns):",
            f"                    total[j] = {name}[j]",
            "            else:",
            "                for j in range(columns):",
            f"                    total[j] = total[j] + {name}[j]",
            f"            {name}_before += {name}_row",
            f"            {name}_row = i64(0)",
            f"            if {name}_before == {group}:",
            f"                {name}_before = i64(0)",
            f"                {name}_group += 1",
        ]

    def crossing_row(self, node: Node) -> None:
        if by_columns(self.nest, node):
            return
        source, dtype = node.inputs[0], node.output.type.dtype
        name = self.accumulator(node)
        self.lines.append(f"        part = {self.of_row(node.op.name, dtype)}({self.row_source(source)}, n)")
        self.lines.append(f"        {name} = {combine(node.op.name, dtype, name, 'part')}")
        if self.has_blocks(node):
            self.lines += [
                f"        if i % {LEAST_BLOCK} == {LEAST_BLOCK - 1}:",
                f"            {name}_total = {name}_total + {name}",
                f"            {name} = {identity(node.op.name, dtype)}",
            ]

    def has_blocks(self, node: Node) -> bool:
        """Whether a sum of everything takes many rows of a tile, and therefore begins anew after some of them."""
        return (
            node.op is reduction.reduce_sum and node.output.type.dtype.kind == "f" and self.nest.cut.step > LEAST_BLOCK
        )

    def crossing_ends(self) -> None:
        for node in self.nest.crossings:
            if not by_columns(self.nest, node):
                place = "tile" if self.nest.partial(node) else "0"
                name = self.accumulator(node)
                total = f"{name}_total + {name}" if self.has_blocks(node) else name
                self.lines.append(f"    {self.arrays[node.output]}[{place}] = {total}")
            elif node.output in self.held and not block_rows(node):
                value = node.output
                text = combine(node.op.name, value.type.dtype, "part[j]", "lane[j]")
                self.lines += [
                    f"    part = window({self.arrays[value]}, {self.part_offset(node)}, columns)",
                    "    for j in range(columns):",
                    f"        part[j] = {self.held[value]}[j]",
                    "    for i in range(1, lanes):",
                    f"        lane = window({self.held[value]}, i * columns, columns)",
                    "        for j in range(columns):",
                    f"            part[j] = {text}",
                ]


def literal_cast(text: str, dtype: np.dtype[Any]) -> str:
    """An integer expression as an element of `dtype`."""
    return f"({text}) != 0" if dtype.kind == "b" else f"{CAST[dtype]}({text})"
