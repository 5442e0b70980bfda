"""Kernel source for a region on a GPU: a block makes the rows of a tile, several at a time, several threads a row.

An element belongs to one thread in every sweep, so nothing waits between sweeps. A thread has some elements at a time:
it loads them all, then computes, then stores, so that it waits for memory once. What a row has once, such as its sum,
all of its lanes have, and the first one stores it.

Lanes without a row go along, since shuffles and barriers want all of them: the row that they look at is the last one,
and it has no columns for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...ir import SHORT_NAMES, Node, Op, Value
from ...ir.ops.reduction import argmax, argmin
from ...ir.types import is_half
from ...passes.kernels.loop_nest import LoopNest, by_columns, is_free, reduction_form
from .elementwise import CAST, literal, loaded, stored
from .gpu_reductions import GpuReductions
from .gpu_text import GpuText
from .reduction import REDUCTIONS, combine, identity
from .region_kernel import Operands, RegionWriter
from .row_threads import RowThreads

_SUMS_ON_CHIP = 15 << 10
"""Bytes of sums of long rows that a block keeps in shared memory, at most."""
_WHOLE_ROWS = 256
"""Elements that the length of a row in shared memory is rounded to, so that kernels for other lengths are the same."""


class GpuRegionWriter(RegionWriter):
    """The kernel of a region for a GPU. With rows that are held, values stay in variables from sweep to sweep."""

    text: GpuText
    reductions: GpuReductions

    def __init__(
        self, nest: LoopNest, in_place: Mapping[int, int], operands: Operands, text: GpuText, threads: RowThreads
    ) -> None:
        super().__init__(nest, in_place, operands, text, GpuReductions)
        self.threads = self.reductions.threads = threads
        self.kept: list[dict[Value, str]] = [{} for _ in range(threads.elements)]
        self.made = 0
        self.constants_of_rows: dict[Value, str] = {}

    @property
    def sums_on_chip(self) -> bool:
        """Whether sums of long rows are in shared memory."""
        nbytes = sum(max(n.output.type.dtype.itemsize, 4) for n in self.sums) * self.whole_row
        return nbytes <= _SUMS_ON_CHIP

    @property
    def sums(self) -> list[Node]:
        """The sums over rows that leave columns."""
        return [node for node in self.nest.crossings if by_columns(self.nest, node)]

    @property
    def whole_row(self) -> int:
        """Elements of shared memory for a row."""
        return -(-self.nest.columns // _WHOLE_ROWS) * _WHOLE_ROWS

    # ---- the whole

    def write(self) -> None:
        """All lines of the kernel."""
        nest, lanes, groups = self.nest, self.threads.lanes, self.threads.groups
        self.sizes()
        if nest.chunked:
            self.text.number("size", nest.size)
        self.rows_of_tile()
        self.declare_arrays()
        self.scalars()
        self.text.lines.append(f"    lane = thread_index(){f' % {lanes}' if groups > 1 else ''}")
        if self.threads.held:
            self.text.lines += [f"    j{u} = lane + {u * lanes}" for u in range(self.threads.elements)]
        self.sums_of_tile()
        if groups > 1:
            self.text.lines += [
                f"    for i0 in range(0, rows, {groups}):",
                f"        i = i0 + thread_index() // {lanes}",
                "        r = first + (i if i < rows else rows - 1)",
            ]
        else:
            self.text.lines += ["    for i in range(rows):", "        r = first + i"]
        self.text.lines.append(f"        n = {self.columns_of_row()}")
        self.sweeps_of_row()
        self.ends_of_tile()

    def columns_of_row(self) -> str:
        """The columns of this row; none where it is not there."""
        columns = "columns"
        if self.nest.chunked:
            left = f"size - r * {self.nest.chunk}"
            self.text.lines.append(f"        n = {left} if {left} < {self.nest.chunk} else i64({self.nest.chunk})")
            columns = "n"
        return f"{columns} if i < rows else i64(0)" if self.threads.groups > 1 else f"i64({columns})"

    def declare_buffers(self) -> None:
        """Row buffers that are in memory, be it shared."""
        if self.threads.held:
            return
        if not self.nest.rows_on_chip:
            super().declare_buffers()
            return
        for k, value in enumerate(self.nest.buffers):
            if value in self.read_back():
                self.text.shared(f"buffer{k}", _kept(value), self.whole_row)

    def read_back(self) -> set[Value]:
        """Values in row buffers that are read there: sums take them as they are made."""
        nest = self.nest
        found: set[Value] = set()
        for node in nest.body.nodes:
            full = nest.kinds[node.outputs[0]] == "full"
            late = (v for v in node.inputs if not full or nest.sweep_of[v] < nest.sweep_of[node.outputs[0]])
            if full or node.op in (argmax, argmin):
                found.update(late)
        return found & set(nest.buffers)

    # ---- sums over the rows of a tile

    def sums_of_tile(self) -> None:
        """What sums over rows begin with."""
        nest = self.nest
        for node in nest.crossings:
            name, start = self.reductions.accumulator(node), identity(node.op, node.output.type.dtype)
            if not by_columns(nest, node):
                self.reductions.begin(node, "    ")
            elif reduction_form(node)[0] == "middle":
                group = self.text.stride(nest.group_rows(node))
                self.text.lines.append(f"    {name}_group = first // {group}")
                self.text.lines += [f"    {name}_row = i64(0)", f"    {name}_before = i64(0)"]
            elif self.threads.held:
                self.text.lines += [f"    {name}_{u} = {start}" for u in range(self.threads.elements)]
            else:
                if self.sums_on_chip:
                    self.text.shared(name, _kept(node.output), self.whole_row)
                else:
                    row = f"window({self.arrays[node.output]}, {self.reductions.part_offset(node)}, columns)"
                    self.text.lines.append(f"    {name} = {row}")
                self.text.lines += [f"    {self.text.along('columns')}", f"        {name}[j] = {start}"]

    def ends_of_tile(self) -> None:
        """Lines that store the sums of the tile."""
        for node in self.nest.crossings:
            name, array, op = self.reductions.accumulator(node), self.arrays[node.output], node.op
            if not by_columns(self.nest, node):
                place = "tile" if self.nest.partial(node) else "0"
                self.reductions.end(node, self.text.threads, name, "    ")
                self.text.lines += self.text.once(f"{array}[{place}] = {name}", "    ")
            elif reduction_form(node)[0] == "columns" and (self.threads.held or self.sums_on_chip):
                row = f"window({array}, {self.reductions.part_offset(node)}, columns)"
                self.text.lines.append(f"    result = {row}")
                if not self.threads.held:
                    self.text.lines += [f"    {self.text.along('columns')}", f"        result[j] = {name}[j]"]
                elif self.threads.groups == 1:
                    for u in range(self.threads.elements):
                        self.text.lines += [f"    if j{u} < columns:", f"        result[j{u}] = {name}_{u}"]
                else:
                    self.across_groups(op, node.output, name)

    def across_groups(self, op: Op, value: Value, name: str) -> None:
        """Lines that add up the sums of all groups, in their order."""
        dtype = value.type.dtype
        lanes, groups, elements = self.threads.lanes, self.threads.groups, self.threads.elements
        wide = lanes * elements
        shared = self.text.shared(f"groups_{_kept(value)}", _kept(value), wide * groups)
        mine = f"{shared}[thread_index() // {lanes} * {wide} + j"
        held = "{}" if dtype.itemsize > 1 else f"{CAST[dtype]}({{}})"  # shared memory has no bytes
        given = "{}" if dtype.itemsize > 1 else "i32({})"
        self.text.lines += [
            *(f"    {mine}{u}] = {given.format(f'{name}_{u}')}" for u in range(elements)),
            "    barrier()",
            f"    {self.text.along('columns')}",
            f"        sum = {held.format(f'{shared}[j]')}",
            f"        for g in range(1, {groups}):",
            f"            sum = {combine(op, dtype, 'sum', held.format(f'{shared}[g * {wide} + j]'))}",
            "        result[j] = sum",
            "    barrier()",
        ]

    # ---- one sweep along a row

    def sweep(self, s: int) -> None:
        """The elements of a row that a thread has at a time: all are loaded, then computed, then stored."""
        nest = self.nest
        nodes = nest.sweeps[s]
        reduced = [n for n in nest.row_nodes[s + 1] if n.op.is_reduction and nest.kinds[n.inputs[0]] == "full"]
        taken = [n for n in reduced if not by_columns(nest, n)]
        sums = [n for n in reduced if by_columns(nest, n)]
        stores = [v for v in self.stored(s) if v.node is None or v.node in nodes]
        outs = [n for n in nodes if n.output in self.outputs]
        if not (stores or reduced or outs):
            return
        wanted: dict[Value, None] = {}
        for value in (*stores, *(n.inputs[0] for n in reduced), *(n.output for n in outs)):
            self.want(value, s, wanted)
        for value in wanted:
            if self.is_once(value) and value not in self.constants_of_rows:
                self.constants_of_rows[value] = name = f"c_{self.windows_of[value]}"
                number = loaded(f"{self.windows_of[value]}[0]", value.type.dtype)
                self.text.lines.append(f"        {name} = {number}")
        for node in sums:
            self.reductions.column_sum_row(node)
        for node in taken:
            if nest.kinds[node.output] != "crossing":
                self.reductions.begin(node, "        ")
        indent = "        "
        elements, step = self.threads.elements, self.threads.lanes * self.threads.elements
        if not self.threads.held:
            self.text.lines.append(f"        for j0 in range(lane, n, {step}):")
            indent += "    "
            self.text.lines += [f"{indent}j{u} = j0 + {u * self.threads.lanes}" for u in range(1, elements)]
            self.kept = [{} for _ in range(elements)]
        read = [value for value in self.in_order(wanted) if not self.is_computed(value, s)]
        for u in range(elements):
            self.loads(u, read, indent)
        for u in range(elements):
            self.guard = f"({self.there(u)}) & " if self.there(u) else ""
            self.indices.column = f"j{u}"
            for value in self.in_order(wanted):
                if self.is_computed(value, s) and value not in self.kept[u]:
                    self.element_of(u, value, indent)
        self.indices.column = "j"
        for u in range(elements):
            self.stores(u, stores, outs, taken, sums, indent)
        for node in sums:
            if reduction_form(node)[0] == "middle":
                self.reductions.middle_row_end(node)

    def stored(self, s: int) -> list[Value]:
        """Values of a sweep that a later one reads, or that the place of an extreme is looked for in."""
        read = set(self.nest.buffers) if self.threads.held else self.read_back()
        return [v for v in self.nest.buffers if v in read and self.nest.sweep_of[v] == s]

    def want(self, value: Value, s: int, wanted: dict[Value, None]) -> None:
        """Adds a value that a sweep needs, and what it is computed from."""
        if value in wanted or self.nest.kinds[value] != "full":
            return
        wanted[value] = None
        if self.is_computed(value, s) and value.node is not None and value not in self.kept[0]:
            for source in value.node.inputs:
                self.want(source, s, wanted)

    def in_order(self, wanted: Mapping[Value, None]) -> Iterator[Value]:
        """The values in the order of the body."""
        body = self.nest.body
        yield from (v for v in (*body.inputs, *(n.outputs[0] for n in body.nodes)) if v in wanted)

    def is_computed(self, value: Value, s: int) -> bool:
        """Whether a sweep computes a value, instead of reading it."""
        return value.node is not None and (self.nest.sweep_of[value] == s or is_free(value))

    def is_once(self, value: Value) -> bool:
        """Whether all elements of a row are the same one in memory, which is not written to."""
        return value.node is None and self.nest.columns > 1 and not any(self.nest.accesses[value].column_strides)

    def there(self, u: int) -> str:
        """The condition of element `u` of a thread, if there is one."""
        return f"j{u} < n" if self.threads.held or u else ""

    def guarded(self, u: int, lines: list[str], indent: str) -> None:
        """Lines for an element that is there."""
        if self.there(u) and lines:
            self.text.lines.append(f"{indent}if {self.there(u)}:")
            indent += "    "
        self.text.lines += [indent + line for line in lines]

    def loads(self, u: int, values: list[Value], indent: str) -> None:
        """Lines that load what an element is made of."""
        lines: list[str] = []
        for value in values:
            if value in self.kept[u]:
                continue
            if value in self.constants_of_rows:
                self.kept[u][value] = self.constants_of_rows[value]
                continue
            name = self.kept[u][value] = self.name()
            if self.there(u):
                self.text.lines.append(f"{indent}{name} = {literal(0, value.type.dtype)}")
            lines.append(f"{name} = {self.source(u, value)}")
        self.guarded(u, lines, indent)

    def source(self, u: int, value: Value) -> str:
        """Where an element is read."""
        if value in self.windows_of:
            self.indices.column = f"j{u}"
            index = self.indices.column_index(value) if any(self.nest.accesses[value].column_strides) else "0"
            return loaded(f"{self.windows_of[value]}[{index}]", value.type.dtype)
        return self.from_buffer(value, f"j{u}")

    def from_buffer(self, value: Value, column: str) -> str:
        """An element of a row buffer. In shared memory a byte is a word, a float of two bytes what it stands for."""
        element = f"buffer{self.nest.buffers.index(value)}[{column}]"
        dtype = value.type.dtype
        if not self.nest.rows_on_chip:
            return loaded(element, dtype)
        if dtype.itemsize > 1:
            return element
        return f"{element} != 0" if dtype.kind == "b" else f"u8({element})"

    def element_of(self, u: int, value: Value, indent: str) -> None:
        """Lines that compute an element."""
        assert value.node is not None
        names = [self.kept[u][v] if v in self.kept[u] else self.names[v] for v in value.node.inputs]
        name = self.kept[u][value] = self.name()
        self.compute(value.node, name, names, indent, full=True)

    def name(self) -> str:
        """A new variable."""
        self.made += 1
        return f"v{self.made}"

    def stores(
        self, u: int, stores: list[Value], outs: list[Node], taken: list[Node], sums: list[Node], indent: str
    ) -> None:
        """Lines that store an element, and add it to sums."""
        lines: list[str] = []
        local = self.kept[u]
        for value in stores:
            if not self.threads.held:
                held = local[value]
                if not self.nest.rows_on_chip:
                    held = stored(held, value.type.dtype)
                elif value.type.dtype.itemsize == 1:
                    held = f"i32({held})"
                lines.append(f"buffer{self.nest.buffers.index(value)}[j{u}] = {held}")
        for node in outs:
            self.indices.column = f"j{u}"
            place = self.indices.column_index(node.output)
            element = stored(local[node.output], node.output.type.dtype)
            lines.append(f"{self.windows_of[node.output]}[{place}] = {element}")
        self.indices.column = "j"
        for node in taken:
            lines.append(self.reductions.take(node, local[node.inputs[0]]))
        for node in sums:
            name = self.reductions.accumulator(node)
            in_register = self.threads.held and reduction_form(node)[0] != "middle"
            place = f"{name}_{u}" if in_register else f"{name}[j{u}]"
            lines.append(f"{place} = {combine(node.op, node.output.type.dtype, place, local[node.inputs[0]])}")
        self.guarded(u, lines, indent)

    # ---- values of a row

    def row_node(self, node: Node) -> None:
        """Lines of what a row has once. Sums over rows are added to as their elements are made."""
        if self.nest.kinds[node.outputs[0]] == "crossing":
            return
        super().row_node(node)

    def row_reduction(self, node: Node, name: str) -> None:
        """Lines after which all lanes have the reduction of their row."""
        if node.op in REDUCTIONS:
            self.reductions.end(node, self.threads.lanes, name, "        ")
            return
        value = node.inputs[0]
        elements = [(self.there(u), f"j{u}", kept[value]) for u, kept in enumerate(self.kept)]
        self.reductions.place_of_extreme(node, name, elements if self.threads.held else [], "        ")

    def store_of_row(self, statement: str) -> None:
        """Lines by which the first lane stores what a row has once: where that lies over what the others read, when all
        have read it.
        """
        if any(self.nest.kinds[self.nest.body.outputs[o]] == "row" for o in self.in_place):
            self.text.lines.append("        barrier()")
        there = " & (i < rows)" if self.threads.groups > 1 else ""
        self.text.lines += [f"        if (lane == 0){there}:", f"            {statement}"]


def _kept(value: Value) -> str:
    """The elements of shared memory that hold those of a value."""
    if is_half(value.type.dtype):
        return "f32"
    return "i32" if value.type.dtype.itemsize == 1 else SHORT_NAMES[value.type.dtype]
