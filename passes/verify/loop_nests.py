"""The loops of a region compute what its body says, and read values where they lie: derived a second time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir import Array, Graph, Node, Value
from ...ir.ops import contraction, movement, reduction
from ..kernels.conv_tiles import conv_tiles
from ..kernels.loop_nest import Access, LoopNest, row_elements, summed_tiles
from ..kernels.row_tiles import accumulator_count, even_tiles, summed_tile_rows
from ..target import Target
from .errors import PlanVerificationError, describe
from .scratch import convolution_in, keeps_axes_behind, keeps_axes_on_both_sides
from .values import Numbering
from .windows import Layout, whole


@dataclass(frozen=True, slots=True)
class _End:
    """What loops read or leave: the number of the value, and where it lies, `skipped` bytes into its memory."""

    number: int
    window: Array
    skipped: int = 0


def check_loops(unit: Node, nest: LoopNest | None, layouts: Mapping[Value, Layout], target: Target) -> None:
    """Raise `PlanVerificationError` unless the loops of a region, or of a convolution's epilogue, compute its body.

    They read and write values where these lie, make every value before it is read, and take sums in the order that
    follows from the target.
    """
    problem = "has none" if nest is None else _Loops(unit, nest, layouts, target).problem()
    if problem:
        raise PlanVerificationError(f"the loops of {describe(unit)}: {problem}")


@dataclass
class _Loops:
    unit: Node
    nest: LoopNest
    layouts: Mapping[Value, Layout]
    target: Target

    def problem(self) -> str:
        """The first thing that is wrong; empty if nothing is."""
        return self.of_sizes() or self.of_ends() or self.of_order() or self.of_buffers() or self.of_tiles()

    # ---- how large they are

    def of_sizes(self) -> str:
        nest = self.nest
        if nest.chunked:
            chunk = row_elements(self.target)
            columns = min(nest.size, chunk)
            right = (nest.columns, nest.rows) == (columns, -(-nest.size // chunk)) and not nest.row_axes
            right = right and math.prod(nest.column_axes) == nest.size
        else:
            right = nest.rows * nest.columns == nest.size == math.prod((*nest.row_axes, *nest.column_axes))
            right = right and math.prod(nest.row_axes) == nest.rows
        if not right or nest.tiles != max(nest.cut.count(nest.rows), 1):
            return "their rows, columns and tiles do not agree"
        sizes = {"full": nest.size, "row": nest.rows, "scalar": 1}
        for value, kind in nest.kinds.items():
            free = kind == "scalar" and value.node is not None and value.node.op.is_generated
            if kind != "crossing" and value.type.size != sizes.get(kind) and not free:
                return f"{describe(value)} is no {kind} value"
        return ""

    # ---- what they read and leave

    def of_ends(self) -> str:
        numbering, nest = Numbering(), self.nest
        inputs, outputs = self.ends(numbering)
        body = nest.body
        if nest.product is None and self.unit.op.is_region and body.inputs != self.unit.attrs["body"].inputs:
            return "they are those of another"
        of = {v: numbering.number(("input", i, str(v.type))) for i, v in enumerate(body.inputs)}
        if len(inputs) != len(body.inputs) or len(outputs) != len(body.outputs):
            return "their body has other inputs or outputs"
        of.update((value, end.number) for value, end in zip(body.inputs, inputs))
        numbering.walk(body, of)
        if any(of[value] != end.number for value, end in zip(body.outputs, outputs)):
            return "their body computes something else"
        for value, end in (*zip(body.inputs, inputs), *zip(body.outputs, outputs)):
            if nest.kinds[value] != "crossing" and not self.lies_so(nest.accesses.get(value), nest.kinds[value], end):
                return f"{describe(value)} does not lie where they take it to be"
        return ""

    def ends(self, numbering: Numbering) -> tuple[list[_End], list[_End]]:
        """What the loops should read and leave, by the body of the unit."""
        unit, body = self.unit, self.unit.attrs["body"]
        of = {v: numbering.number(("input", i, str(v.type))) for i, v in enumerate(body.inputs)}
        numbering.walk(body, of)
        given = {inner: self.layouts[outer] for inner, outer in zip(body.inputs, unit.inputs)}
        first, made, kept = body.nodes[0] if body.nodes else None, list[Value](), list(body.outputs)
        if unit.op.is_conv_region:
            made = [convolution_in(body).output]
            kept = self.behind(body, made[0])
            read = _read_for(body, kept, made[0])
            given = {inner: layout for inner, layout in given.items() if inner in read}
        elif first is not None and first.op is contraction.dot:
            made = [first.output]
            given = dict(list(given.items())[1:-1])
        inputs = [_End(of[v], whole(v)) for v in made]
        inputs += [_End(of[inner], layout.window, layout.skipped) for inner, layout in given.items()]
        alone = [v for v in kept if v.node is None or v.node.op is not movement.concatenate]
        outputs = [_End(of[v], whole(v)) for v in alone]
        for value in kept:
            if value.node is not None and value not in alone:
                outputs += self.parts(value.node, of)
        return inputs, outputs

    def behind(self, body: Graph, made: Value) -> list[Value]:
        """The outputs of a convolution's unit that its loops make."""
        after = body.nodes[[made in n.outputs for n in body.nodes].index(True) + 1 :]
        inner = {v for n in after if n.op is not reduction.moments for v in n.outputs}
        return [v for v in body.outputs if v in inner]

    def parts(self, node: Node, of: Mapping[Value, int]) -> list[_End]:
        """The values that are written where they belong in one array."""
        window, axis = whole(node.output), int(node.attrs["axis"])
        done = 0
        ends: list[_End] = []
        for value in node.inputs:
            length = value.type.shape[axis]
            place = (*(slice(None),) * axis, slice(done, done + length))
            ends.append(_End(of[value], window[place], done * window.strides[axis]))
            done += length
        return ends

    def lies_so(self, access: Access | None, kind: str, end: _End) -> bool:
        """Whether an access goes through a window, element by element of the rows and columns."""
        window, size = end.window, end.window.itemsize
        if access is None:
            return False
        if not window.size:
            return True
        if access.offset * size != end.skipped:
            return False
        if kind == "scalar":
            return window.size == 1
        axes = (*self.nest.row_axes, *(self.nest.column_axes if kind == "full" else ()))
        strides = (*access.row_strides, *(access.column_strides if kind == "full" else ()))
        try:
            seen = np.reshape(window, axes, copy=False)
        except ValueError:
            return False
        return len(strides) == len(axes) and all(
            n == 1 or stride * size == step for n, stride, step in zip(axes, strides, seen.strides)
        )

    # ---- in what order

    def of_order(self) -> str:
        nest, kinds = self.nest, self.nest.kinds
        sweep: dict[Value, int] = dict.fromkeys(nest.body.inputs, 0)
        sums: list[Node] = []
        for node in nest.body.nodes:
            (kind,) = {kinds.get(v, "") for v in node.outputs}
            now = max((sweep[v] for v in node.inputs), default=0)
            summed = node.op.is_reduction and kinds[node.inputs[0]] == "full"
            sweep.update(dict.fromkeys(node.outputs, now + (summed and kind in ("row", "crossing"))))
            if kind == "crossing":
                sums.append(node)
            if node.op.is_reduction and kind == "row" and keeps_axes_behind(node):
                return f"{describe(node)} does not reduce a row"
        if nest.sweep_of != sweep or nest.crossings != sums:
            return "they make their values in other sweeps"
        ordered = [(s, n, True) for s, nodes in enumerate(nest.sweeps) for n in nodes]
        ordered += [(s, n, False) for s, nodes in enumerate(nest.row_nodes) for n in nodes]
        run = [n for n in nest.body.nodes if kinds[n.outputs[0]] != "scalar"]
        right = [(sweep[n.outputs[0]], n, kinds[n.outputs[0]] == "full") for n in run]
        place = {node: i for i, node in enumerate(run)}
        right.sort(key=lambda one: (not one[2], one[0], place[one[1]]))
        return "" if ordered == right else "they run their operations in another order"

    def of_buffers(self) -> str:
        """Whether rows are kept that are read in a later sweep, or that a reduction goes through densely."""
        nest, kinds = self.nest, self.nest.kinds
        left = set(nest.body.outputs)
        needed: set[Value] = set()
        for node in nest.body.nodes:
            made = node.outputs[0]
            if kinds[made] == "full":
                late = (v for v in node.inputs if kinds[v] == "full" and nest.sweep_of[v] < nest.sweep_of[made])
                needed.update(v for v in late if v.node is not None and v not in left and not v.node.op.is_generated)
            elif node.op.is_reduction and kinds[node.inputs[0]] == "full":
                value = node.inputs[0]
                by_columns = kinds[made] == "crossing" and keeps_axes_behind(node)
                if not by_columns and not self.is_dense(value, left):
                    needed.add(value)
        return "" if needed == set(nest.buffers) else "they keep other rows than are read again"

    def of_tiles(self) -> str:
        """Whether tiles cover the rows, and sums are taken in the order that follows from what is summed."""
        nest, cut, sums = self.nest, self.nest.cut, self.nest.crossings
        if not cut.step * (cut.parts - 1) < cut.whole <= cut.step * cut.parts:
            return "their tiles do not cover the rows"
        if self.unit.op.is_conv_region:
            tiles = conv_tiles(self.unit, self.target)
            wanted = [] if tiles is None else [tiles.cut]
        elif nest.chunked:
            rows = summed_tile_rows(nest.rows, nest.columns, self.target)
            wanted = [even_tiles(nest.rows, rows)] if sums else []
        else:
            wanted = [summed_tiles(node, self.target) for node in sums]
        by_columns = [node for node in sums if keeps_axes_behind(node)]
        short = not (nest.chunked or self.target.is_gpu or any(map(keeps_axes_on_both_sides, sums)))
        short = short and nest.product is None
        count = accumulator_count(nest.columns, cut.step) if short and (by_columns or nest.together > 1) else 1
        if any(one != cut for one in wanted) or nest.accumulators != count:
            return "they add up in another order than what is summed wants"
        return "" if nest.together == 1 or self.are_alike(by_columns) else "their rows cannot be walked together"

    def are_alike(self, by_columns: Sequence[Node]) -> bool:
        """Whether several rows may be walked as one long row."""
        nest = self.nest
        if len(by_columns) < len(nest.crossings) or nest.together != nest.accumulators or nest.buffers:
            return False
        if "row" in nest.kinds.values() or any(node.op.depends_on_place for node in nest.body.nodes):
            return False
        full = [(value, access) for value, access in nest.accesses.items() if nest.kinds[value] == "full"]
        dense = ((nest.columns,), (1,))
        return len(nest.row_axes) == len(nest.column_axes) == 1 and all(
            (access.row_strides, access.column_strides) == dense or (value.node is None and not any(access.row_strides))
            for value, access in full
        )

    def is_dense(self, value: Value, left: set[Value]) -> bool:
        """Whether a row of a value stands in memory element by element."""
        access = self.nest.accesses.get(value)
        if value in left and value not in self.nest.parts:
            return True
        return access is not None and access.column_strides in ((1,), ())


def _read_for(body: Graph, wanted: Sequence[Value], made: Value) -> set[Value]:
    """The values that are read to make others of what a convolution has `made`."""
    needed, read = set(wanted), set[Value]()
    for node in reversed(body.nodes):
        if made in node.outputs:
            break
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            read.update(node.inputs)
    return read
