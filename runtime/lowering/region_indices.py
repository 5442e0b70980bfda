"""Indices in the kernel of a region: from the number of a row, and of a column, to places along axes and in arrays."""

from __future__ import annotations

import numpy as np

from ...ir import Node, Value
from ...passes.kernels.loop_nest import LoopNest, squeezed
from .kernel_text import KernelText


class Indices:
    """The indices of a nest. Row `r` has the index `i0`, `i1`, ... along each of the row axes, `j` is the `column`."""

    def __init__(self, nest: LoopNest, text: KernelText) -> None:
        self.nest = nest
        self.text = text
        self.column = "j"

    def row_indices(self) -> None:
        """Lines that find the indices of the row."""
        axes = self.nest.row_axes
        if len(axes) <= 1:
            if axes:
                self.text.lines.append("        i0 = r")
            return
        self.text.lines.append("        q = r")
        for axis in range(len(axes) - 1, 0, -1):
            length = self.text.stride(axes[axis])
            self.text.lines.append(f"        i{axis} = q % {length}")
            self.text.lines.append(f"        q = q // {length}")
        self.text.lines.append("        i0 = q")

    def row_offset(self, value: Value) -> str:
        """The element of an array at which the row begins, or nothing where that is the first."""
        access = self.nest.accesses[value]
        terms: list[str] = []
        for axis, stride in enumerate(access.row_strides):
            if stride:
                text = self.text.stride(stride)
                terms.append(f"i{axis}" if text == "1" else f"i{axis} * {text}")
        if self.nest.chunked and self.nest.kinds[value] == "full" and any(access.column_strides):
            stride = self.text.stride(access.column_strides[0])
            terms.append(f"r * {self.nest.chunk}" + ("" if stride == "1" else f" * {stride}"))
        return " + ".join(terms)

    def column_index(self, value: Value) -> str:
        """The element of column `j`, from where a row begins."""
        strides = self.nest.accesses[value].column_strides
        if len(strides) == 1:
            text = self.text.stride(strides[0])
            return self.column if text == "1" else f"{self.column} * {text}"
        return " + ".join(f"{self.column_axis(k)} * {self.text.stride(s)}" for k, s in enumerate(strides) if s)

    def column_axis(self, k: int) -> str:
        """The index along column axis `k` of column `j`."""
        axes = self.nest.column_axes
        if len(axes) == 1:
            return self.column
        inner = int(np.prod(axes[k + 1 :], dtype=np.int64))
        text = self.column if inner == 1 else f"({self.column} // {self.text.stride(inner)})"
        return text if k == 0 else f"({text} % {self.text.stride(axes[k])})"

    def axis_index(self, node: Node, full: bool) -> str:
        """The index of an element along the axis of an `iota`."""
        shape, axis = node.output.type.shape, node.attrs["axis"]
        if shape[axis] == 1:
            return "0"
        if self.nest.chunked:
            return f"(r * {self.nest.chunk} + {self.column})"
        place = len(squeezed(shape[:axis]))
        rows = len(self.nest.row_axes)
        return f"i{place}" if place < rows else self.column_axis(place - rows)
