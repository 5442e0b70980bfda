"""Reductions in the kernel of a region: of each row, and over all rows of a tile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Node, Op, Value
from ...ir.ops import reduction
from ...passes.kernels.loop_nest import LEAST_BLOCK, LoopNest, block_rows, by_columns, reduction_form
from .kernel_text import KernelText
from .reduction import REDUCTIONS, combine, identity
from .row_reductions import LONG


class Reductions:
    """The reductions of a nest, by the names of its `arrays`, of the `windows` that rows of them are, and of the lines
    `held` for a tile.
    """

    def __init__(
        self,
        nest: LoopNest,
        text: KernelText,
        arrays: Mapping[Value, str],
        windows: Mapping[Value, str],
        held: Mapping[Value, str],
    ) -> None:
        self.nest = nest
        self.text = text
        self.arrays = arrays
        self.windows = windows
        self.held = held

    # ---- of a row

    def row_source(self, value: Value) -> str:
        """Where a row of a full value stands densely."""
        if value in self.nest.buffers:
            return f"buffer{self.nest.buffers.index(value)}"
        return self.windows[value]

    def of_row(self, op: Op, dtype: np.dtype[Any]) -> str:
        """The function that reduces a row."""
        long = op is reduction.reduce_sum and dtype.kind == "f" and self.nest.columns > LONG
        return f"row_{'long_' * long}{REDUCTIONS[op]}_{SHORT_NAMES[dtype]}"

    def row_reduction(self, node: Node, name: str) -> None:
        """Lines that reduce a row; the place of an extreme is that of the first element equal to it."""
        source = self.row_source(node.inputs[0])
        dtype = node.inputs[0].type.dtype
        if node.op in REDUCTIONS:
            self.reduce(node.op, dtype, name, source)
            return
        extreme = reduction.reduce_max if node.op is reduction.argmax else reduction.reduce_min
        nan = " | ((e != e) & (best != best))" if dtype.kind == "f" else ""
        self.reduce(extreme, dtype, "best", source)
        self.find(name, source, f"(e == best){nan}")

    def reduce(self, op: Op, dtype: np.dtype[Any], name: str, source: str) -> None:
        """Lines that reduce a dense row."""
        self.text.lines.append(f"        {name} = {self.of_row(op, dtype)}({source}, n)")

    def find(self, name: str, source: str, found: str) -> None:
        """Lines that find the first element `e` of a row for which `found` holds."""
        self.text.lines += [
            f"        {name} = i64(0)",
            "        for j in range(n):",
            f"            e = {source}[j]",
            f"            if {found}:",
            f"                {name} = i64(j)",
            "                break",
        ]

    # ---- over all rows of a tile

    def accumulator(self, node: Node) -> str:
        """The name of the sums of a reduction over rows."""
        return f"a{self.nest.crossings.index(node)}"

    def crossing_starts(self) -> None:
        """Accumulators of sums over all rows of the tile."""
        for node in self.nest.crossings:
            name, value = self.accumulator(node), node.output
            start = identity(node.op, value.type.dtype)
            form = reduction_form(node)[0]
            if not by_columns(self.nest, node):
                self.text.lines.append(f"    {name} = {start}")
                if self.has_blocks(node):
                    self.text.lines.append(f"    {name}_total = {start}")
            elif form == "middle":
                self.text.lines.append(f"    {name}_group = first // {self.text.stride(self.nest.group_rows(node))}")
                self.text.lines += [f"    {name}_row = i64(0)", f"    {name}_before = i64(0)"]
            elif form == "columns":
                if value in self.held:
                    self.text.lines.append(f"    {name} = window({self.held[value]}, 0, accumulators * columns)")
                    self.text.lines.append(f"    {self.text.along('accumulators * columns')}")
                else:
                    self.text.lines.append(
                        f"    {name} = window({self.arrays[value]}, {self.part_offset(node)}, columns)"
                    )
                    self.text.lines.append(f"    {self.text.along('columns')}")
                self.text.lines.append(f"        {name}[j] = {start}")

    def part_offset(self, node: Node) -> str:
        """Where the sums of this tile begin among the parts of all tiles."""
        return "tile * columns" if self.nest.partial(node) else "0"

    def column_sum_row(self, node: Node) -> None:
        """Before a row of a `middle` reduction: its row of sums, cleared at the first row of each group; before one
        that is added up in several accumulators: its accumulator.
        """
        if reduction_form(node)[0] != "middle":
            if node.output in self.held and self.nest.together == 1:
                line = self.held[node.output]
                self.text.lines.append(
                    f"        {self.accumulator(node)} = window({line}, i % accumulators * columns, columns)"
                )
            return
        name, start = self.accumulator(node), identity(node.op, node.output.type.dtype)
        blocks = block_rows(node) > 0
        place = self.held[node.output] if blocks else self.arrays[node.output]
        self.text.lines += [
            f"        {name} = window({place}, {'0' if blocks else f'{name}_group * columns'}, columns)",
            f"        if {name}_row == 0:",
            f"            {self.text.along('columns')}",
            f"                {name}[j] = {start}",
        ]

    def middle_row_end(self, node: Node) -> None:
        """After a row of a `middle` reduction: at the end of a block, its sums are added to those of the group, which
        the first one begins. What counts rows costs less than to divide their numbers.
        """
        name, group = self.accumulator(node), self.text.stride(self.nest.group_rows(node))
        self.text.lines.append(f"        {name}_row += 1")
        if not block_rows(node):
            self.text.lines += [f"        if {name}_row == {group}:", f"            {name}_row = i64(0)"]
            self.text.lines.append(f"            {name}_group += 1")
            return
        block = self.text.stride(block_rows(node))
        self.text.lines += [
            f"        if ({name}_row == {block}) | ({name}_before + {name}_row == {group}):",
            f"            group_sums = window({self.arrays[node.output]}, {name}_group * columns, columns)",
            f"            if {name}_before == 0:",
            f"                {self.text.along('columns')}",
            f"                    group_sums[j] = {name}[j]",
            "            else:",
            f"                {self.text.along('columns')}",
            f"                    group_sums[j] = group_sums[j] + {name}[j]",
            f"            {name}_before += {name}_row",
            f"            {name}_row = i64(0)",
            f"            if {name}_before == {group}:",
            f"                {name}_before = i64(0)",
            f"                {name}_group += 1",
        ]

    def crossing_row(self, node: Node) -> None:
        """Lines that add what a row comes to, for a reduction that leaves no columns."""
        if by_columns(self.nest, node):
            return
        source, dtype = node.inputs[0], node.output.type.dtype
        name = self.accumulator(node)
        self.reduce(node.op, dtype, "part", self.row_source(source))
        self.text.lines.append(f"        {name} = {combine(node.op, dtype, name, 'part')}")
        if self.has_blocks(node):
            self.text.lines += [
                f"        if i % {LEAST_BLOCK} == {LEAST_BLOCK - 1}:",
                f"            {name}_total = {name}_total + {name}",
                f"            {name} = {identity(node.op, dtype)}",
            ]

    def has_blocks(self, node: Node) -> bool:
        """Whether a sum of everything takes many rows of a tile: then it starts from 0 again after some of them."""
        is_sum = node.op is reduction.reduce_sum and node.output.type.dtype.kind == "f"
        return is_sum and self.nest.cut.step > LEAST_BLOCK

    def crossing_ends(self) -> None:
        """Lines that store the sums of the tile, and add up those of several accumulators."""
        for node in self.nest.crossings:
            if not by_columns(self.nest, node):
                place = "tile" if self.nest.partial(node) else "0"
                name = self.accumulator(node)
                total = f"{name}_total + {name}" if self.has_blocks(node) else name
                self.text.lines += self.text.once(f"{self.arrays[node.output]}[{place}] = {total}", "    ")
            elif node.output in self.held and not block_rows(node):
                value = node.output
                text = combine(node.op, value.type.dtype, "part[j]", "other[j]")
                along = self.text.along("columns")
                self.text.lines += [
                    *self.text.wait("    "),
                    f"    part = window({self.arrays[value]}, {self.part_offset(node)}, columns)",
                    f"    {along}",
                    f"        part[j] = {self.held[value]}[j]",
                    "    for i in range(1, accumulators):",
                    f"        other = window({self.held[value]}, i * columns, columns)",
                    f"        {along}",
                    f"            part[j] = {text}",
                ]
