"""The scratch that units need, computed a second time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...ir import Array, ArrayType, Graph, Node, Value, is_float, node_workspace
from ...ir.ops import contraction, convolution, indexing, reduction
from ..graph.scan import Scan
from ..graph.views import View
from ..kernels.block_tiles import product_tiles
from ..kernels.conv_products import conv_block_tiles
from ..kernels.conv_tiles import conv_tiles
from ..kernels.library_calls import product_by_library
from ..kernels.library_convolutions import convolution_by_library
from ..kernels.loop_nest import LEAST_BLOCK, LoopNest
from ..kernels.matmul_tiles import (
    DEPTH,
    FAR_BYTES,
    FAR_ROWS,
    LONGEST,
    LONGEST_ROW,
    PACKED_ROWS,
    PAIR_VECTORS,
    DotTiles,
    as_row,
    dot_tiles,
    is_by_rows,
    panel_bytes,
)
from ..kernels.matrix_products import MatrixProduct, fused_product, matrix_product
from ..kernels.moment_tiles import MomentTiles
from ..kernels.plain_conv_tiles import PlainWeightGradient
from ..kernels.scatter_sums import ScatterSums
from ..kernels.weight_gradient_tiles import weight_gradient_tiles
from ..kernels.window_sums import section
from ..memory.plan import Plan
from ..target import MOST_PARALLEL, Target
from .windows import Layout

_CONVOLUTIONS = (convolution.conv, convolution.conv_add)


def rounded_up(nbytes: int, unit: int) -> int:
    """Bytes of whole units, such as cache lines or vectors."""
    return -(-nbytes // unit) * unit


@dataclass(frozen=True)
class Scratch:
    """What the units of a plan need, whose values lie as `layouts` says."""

    plan: Plan
    layouts: Mapping[Value, Layout]

    def lines(self, nbytes: int) -> int:
        """Bytes of whole cache lines."""
        return rounded_up(nbytes, self.plan.target.line_bytes)

    def bytes_of(self, node: Node) -> int:
        """Row buffers for every worker, and the parts that tiles leave of reductions; what convolutions work in."""
        if self.plan.target.workers is not None and node.op.is_region:
            product = fused_product(node, self.plan.views)
            if product is not None:
                return max(self._parts_of_product(product), self._of_library(node))
        if self.plan.target.workers is not None and node.op.is_contraction:
            product = matrix_product(node, self.plan.views)
            own = self._convolution_scratch(node) if product is None else self._parts_of_product(product)
            return max(own, self._of_library(node))
        if node.op.family == "convolution":
            made = [self._made_bytes(node, number) for number in (0, 1)] if node.op.is_conv_region else []
            return self._convolution_scratch(node) + self.plan.threads * sum(made) + self._after(node)
        if node.op.family == "contraction":
            x, y = as_row(*(self.plan.views[v] for v in node.inputs[:2]))
            parts = node.attrs.get("parts", 1)
            cut = dot_tiles(x, y, self.plan.copies, self.plan.target, contraction.has_bf16_factors(node), parts)
            sums = self._group_scratch(cut, x, y) if parts == 1 else self._sums_of_parts(cut, parts)
            return self.plan.threads * (self._panels(cut, x, y) + sums)
        if node.op is reduction.moments:
            return self._moments_scratch(node)
        if node.op.family == "window" and section(node):
            result = node.output.type
            last: int = node.attrs["axes"][-1]
            return self.plan.threads * self.lines(result.nbytes // max(int(np.prod(result.shape[:last])), 1))
        if node.op is indexing.scatter_add and self._is_linked(node):
            return 2 * self.lines(4 * node.inputs[1].type.size)
        if node.op is indexing.scatter_add:
            return self._workers(_scatter_tiles(node, self.plan.target)) * self._scatter_scratch(node)
        if node.op.bodies:
            arenas = 1 if self.plan.nested else parallel_iterations(node)
            each = max(self.lines(body.arena_bytes) for body in self.plan.bodies[node])
            return each * (arenas if 1 < self.plan.threads <= arenas else 1)
        nest = self.plan.nests.get(node)
        if nest is None:
            return self._workers(_lone_tiles(node)) * self.lines(node_workspace(node))
        return self._loop_bytes(nest, node.attrs["body"].nodes[0])

    def _of_library(self, node: Node) -> int:
        """Workspace of a library that runs a unit, and filters that are packed for it."""
        product = product_by_library(node, self.plan.views, self.plan.target)
        if product is not None:
            return self._workspace(product)
        found = convolution_by_library(node, self.plan.views, self.plan.target)
        if found is None:
            return 0
        values = (*node.inputs[:2], node.output)
        weight = node.inputs[1] if node.op in _CONVOLUTIONS else node.output
        whole = min(self.lines(sum(value.type.nbytes for value in values)), 1 << 25)
        return whole + (self.lines(weight.type.nbytes) if found.packed else 0)

    def _workspace(self, product: MatrixProduct) -> int:
        """As many results as may be parts of sums of 256 terms or more, in float32 at least; not where the squares of
        128 rows and columns of a result keep every multiprocessor busy.
        """
        along = max([axis.length for axis in product.batch], default=1)
        squares = along * -(-product.m // 128) * -(-product.n // 128)
        parts = min((self.plan.target.multiprocessors or 1) // squares, product.k // 256)
        elements = along * product.m * product.n
        itemsize = max(product.dtype.itemsize, 4)
        return min(self.lines(parts * elements * itemsize), 1 << 25) if parts >= 2 else 0

    def _parts_of_product(self, product: MatrixProduct) -> int:
        """A result for each part of long sums, where blocks of our own kernel make them side by side."""
        cut = product_tiles(product, self.plan.target)
        if cut.parts == 1:
            return 0
        assert (cut.parts - 1) * cut.terms < product.k <= cut.parts * cut.terms
        elements = math.prod(axis.length for axis in product.batch) * product.m * product.n
        return self.lines(cut.parts * elements * max(product.dtype.itemsize, 4))

    def _workers(self, tiles: int) -> int:
        """The workers that have scratch for a launch of so many tiles: every thread, or the blocks of a grid."""
        plan = self.plan
        return plan.threads if plan.target.workers is None else max(1, min(plan.threads, tiles))

    def _after(self, unit: Node) -> int:
        """Bytes in which a unit works with what its convolution has made."""
        nest = self.plan.nests.get(unit)
        total = 0 if nest is None else self._loop_bytes(nest, None)
        inner = unit.attrs["body"].nodes if unit.op.is_conv_region else ()
        return total + sum(self._moments_scratch(node) for node in inner if node.op is reduction.moments)

    def _loop_bytes(self, nest: LoopNest, first: Node | None) -> int:
        """Row buffers and lines for every worker, its tile of a product, and the parts that tiles leave of sums."""
        rows = sum(self.lines(nest.columns * v.type.dtype.itemsize) for v in nest.buffers)
        on_chip = sum(rounded_up(nest.columns, 256) * max(v.type.dtype.itemsize, 4) for v in nest.buffers) <= 32 << 10
        if on_chip and self.plan.target.is_gpu:
            rows = 0  # in the registers or the shared memory of a block
        rows += sum(self.lines(nest.accumulators * nest.columns * v.type.dtype.itemsize) for v in self._in_lanes(nest))
        if first is not None and first.op is contraction.dot:
            rows += self.lines(nest.product_rows * first.output.type.nbytes // first.output.type.shape[0])
            size, pairs = first.output.type.dtype.itemsize, contraction.has_bf16_factors(first)
            rows += panel_bytes(nest.product_rows, nest.product_terms, size, nest.target, pairs)
        parts = [n for n in nest.crossings if nest.tiles > 1 and not keeps_axes_on_both_sides(n)]
        return self._workers(nest.tiles) * rows + sum(self.lines(nest.tiles * n.output.type.nbytes) for n in parts)

    def _in_lanes(self, nest: LoopNest) -> list[Value]:
        """Values with lines for rows that are walked together or have accumulators of their own; sums of blocks."""
        sums = [n.output for n in nest.crossings if n.output.type.size > 1 and not keeps_axes_on_both_sides(n)]
        still = [v for v, a in nest.accesses.items() if any(a.column_strides) and not any(a.row_strides)]
        repeated = [v for v in still if nest.kinds[v] == "full" and v in nest.body.inputs]
        inside = [n for n in nest.crossings if n.op is reduction.reduce_sum and keeps_axes_on_both_sides(n)]
        blocks = [n.output for n in inside if is_float(n.output.type.dtype) and _terms(n) > LEAST_BLOCK]
        return (repeated if nest.together > 1 else []) + (sums if nest.accumulators > 1 else []) + blocks

    def _made_bytes(self, unit: Node, number: int) -> int:
        """Bytes in which a worker makes an operand of a convolution: those rows that have no place otherwise, and a
        line for each thing that is not read as it lies.
        """
        body: Graph = unit.attrs["body"]
        last = convolution_in(body)
        operand = last.inputs[number]
        if operand.node is None or (last.op in _CONVOLUTIONS and number == 1):
            return 0
        images, itemsize = operand.type.shape, operand.type.dtype.itemsize
        channels, rows = images[-1], 0
        if last.op in _CONVOLUTIONS:
            tiles = conv_tiles(unit, self.plan.target)
            columns = 0 if tiles is None else tiles.copied[1]
        else:
            tiles = weight_gradient_tiles(unit, self.plan.target)
            columns, rows = (0, 0) if tiles is None else (tiles.copied_columns(number), tiles.copied(number)[2])
        read, needed = [operand], {operand}
        for value in read:
            more = [] if value.node is None else [v for v in value.node.inputs if v not in needed]
            read += dict.fromkeys(more)
            needed.update(more)
        positions = operand.type.size // max(channels, 1)
        total = self.lines(rows * columns * channels * itemsize)
        for inner, outer in zip(body.inputs, unit.inputs):
            if inner in needed:
                elements = _unlike(self.layouts[outer].window, positions, columns, channels)
                total += self.lines(elements * inner.type.dtype.itemsize)
        return total

    def _convolution_scratch(self, unit: Node) -> int:
        """Packed weights and copied image rows of every worker, or the parts of a weight gradient; on a GPU a result
        for each part of its sums.
        """
        if self.plan.target.workers is not None:
            cut = conv_block_tiles(unit, self.plan.target)
            return 0 if cut is None or cut.parts == 1 else self.lines(cut.parts * unit.output.type.nbytes)
        node = unit if not unit.op.is_conv_region else convolution_in(unit.attrs["body"])
        if node.op in _CONVOLUTIONS:
            x, w, tiles = node.inputs[0].type, node.inputs[1].type, conv_tiles(unit, self.plan.target)
            if tiles is None:
                return 0
            places = sum(down.taps * across.taps for down, across in tiles.components)
            images = w.shape[2] if len(w.shape) == 5 else 1
            weights = self._channel_lines(w, node.attrs["groups"]) * images * places * w.shape[1]
            copied = 0 if tiles.direct else tiles.copied_images * tiles.copied[0] * tiles.copied[1] * x.shape[-1]
            return self.lines(weights) + self.plan.threads * self.lines(copied * x.dtype.itemsize)
        w, parts = node.output.type, weight_gradient_tiles(unit, self.plan.target)
        if parts is None:
            cut = PlainWeightGradient.of(node, self.plan.target)
            several = math.prod(node.inputs[1].type.shape[:-1]) > cut.section
            nbytes = cut.channels * math.prod(w.shape[1:]) * w.dtype.itemsize
            return self.plan.threads * self.lines(nbytes) if several else 0
        of_parts = self.lines(parts.parts * self._channel_lines(w, node.attrs["groups"]) * int(np.prod(w.shape[1:])))
        if not parts.packs:
            return of_parts
        rows = parts.images // parts.iterations * parts.copied(0)[2]
        block = -(-w.shape[1] // parts.blocks.blocks)
        nbytes = rows * parts.copied_columns(0) * block * w.dtype.itemsize
        return of_parts + self.plan.threads * self.lines(nbytes)

    def _channel_lines(self, w: ArrayType, groups: int) -> int:
        """Bytes of one element for each channel out: each group begins a vector, but for small ones, of
        which as many share one as fit."""
        out, lanes = w.shape[0] // groups, self.plan.target.vector_bytes // w.dtype.itemsize
        if w.shape[1] == out == 1:
            groups, out = 1, groups
        elif groups > 1 and 2 * out <= lanes and w.shape[1] <= min(8, 4 * lanes // (lanes // out)):
            return -(-groups // (lanes // out)) * self.plan.target.vector_bytes
        return groups * rounded_up(out * w.dtype.itemsize, self.plan.target.vector_bytes)

    def _moments_scratch(self, node: Node) -> int:
        """Two rows of sums for each tile, and for every worker as many lines of lanes."""
        tiles = MomentTiles.of(node, self.plan.target)
        row = node.output.type.nbytes
        return self.lines(tiles.tiles * row) + self.plan.threads * self.lines(tiles.accumulators * row)

    def _is_linked(self, node: Node) -> bool:
        """Whether a GPU links the updates of each entry: some of a batch, and not too many."""
        indices, updates = (value.type for value in node.inputs[1:])
        each = int(np.prod(indices.shape[node.attrs["batch"] :], dtype=np.int64))
        return self.plan.target.workers is not None and updates.size > 0 and 2 <= each <= 1 << 15

    def _scatter_scratch(self, node: Node) -> int:
        """All entries in float64; or a table of a group's entries, a link for each update, two lines of sums."""
        sums = ScatterSums.of(node, self.plan.target)
        if sums.doubles:
            axis: int = node.attrs["axis"]
            return self.lines(8 * sums.columns * node.inputs[0].type.shape[axis])
        return self.lines(4 * (sums.slots + sums.updates)) + self.lines(8 * sums.columns) if sums.updates else 0

    def _panels(self, cut: DotTiles, x: View, y: View) -> int:
        """A section of the widest strip of the right operand, where register tiles need it as rows; of some strips, and
        of the rows of the left operand, where the target packs.
        """
        target, section = self.plan.target, min(y.shape[-2], DEPTH) if cut.parts == 1 else y.shape[-2]
        if cut.pairs:  # the upper halves of both, of the right one twice: as they lie, and transposed
            even, widest = section + section % 2, PAIR_VECTORS * target.vector_bytes // 4
            return self.lines(2 * cut.rows * even) + self.lines(2 * 2 * even * widest)
        transposed = y.strides[-1] != 1 and y.shape[-1] > 1
        packs = target.packs and cut.rows >= PACKED_ROWS
        turned = x.strides[-1] != 1 and x.strides[-2] == 1 and x.shape[-1] > 1 < x.shape[-2]
        apart = y.strides[-2] * y.base.type.dtype.itemsize >= FAR_BYTES
        far = x.shape[-2] >= FAR_ROWS and apart and not (turned or target.packs)
        if not cut.shapes or not (transposed or packs or far):
            return 0
        widest = max(vectors for _, vectors in cut.shapes)
        right = self.lines(section * widest * target.vector_bytes * cut.strips_together)
        return right + (self.lines(cut.rows * section * x.base.type.dtype.itemsize) if packs and turned else 0)

    def _sums_of_parts(self, cut: DotTiles, parts: int) -> int:
        """Register tiles: of each height of a tree of parts but the highest, and two of what is added to them."""
        rows, vectors = (max(shape[axis] for shape in cut.shapes) for axis in (0, 1))
        return self.lines((parts.bit_length()) * rows * vectors * self.plan.target.vector_bytes) if parts > 2 else 0

    def _group_scratch(self, cut: DotTiles, x: View, y: View) -> int:
        """A tile of the result, where a group of sections of a long sum is added up."""
        dtype, (m, k), n = x.base.type.dtype, x.shape[-2:], y.shape[-1]
        long = is_float(dtype) and k > (LONGEST_ROW if is_by_rows(m, n, k) else LONGEST)
        by_blocks = self.plan.target.matmul == "blocks"
        return self.lines(cut.rows * cut.columns * dtype.itemsize) if long and not by_blocks and not cut.dots else 0


def parallel_iterations(loop: Node) -> int:
    """The iterations of a loop, or branches, that may run concurrently."""
    if not loop.op.is_scan or loop.attrs.get("in_turn", False) or _decides(loop.attrs["body"]):
        return 1
    scan = Scan(loop)
    return scan.length if not scan.carries and 1 < scan.length <= MOST_PARALLEL else 1


def _decides(graph: Graph) -> bool:
    """Whether it is decided only as the graph runs what of it does."""
    return any(n.op.is_decided_at_run_time or any(map(_decides, n.graphs)) for n in graph.nodes)


def _scatter_tiles(node: Node, target: Target) -> int:
    """Blocks before the axis, times the pieces of a row behind it."""
    axis: int = node.attrs["axis"]
    before, behind = np.split(np.array(node.inputs[0].type.shape, np.int64), [axis])
    return int(before.prod()) * -(-int(behind[1:].prod()) // ScatterSums.of(node, target).columns)


def _lone_tiles(node: Node) -> int:
    """Matrices, or lines along the axis, that a tile has one of at least."""
    x = (*node.inputs, *node.outputs)[0].type
    if node.op.family == "linalg":
        return int(np.prod(x.shape[:-2], dtype=np.int64))
    axis: int | None = node.attrs.get("axis")
    return 1 if axis is None else x.size // max(x.shape[axis], 1)


def long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1."""
    return tuple(n for n in shape if n != 1)


def keeps_axes_behind(node: Node) -> bool:
    """Whether a reduction keeps axes behind those that it reduces."""
    shape = node.inputs[0].type.shape
    last: int = node.attrs["axes"][-1] if "axes" in node.attrs else node.attrs["axis"]
    return bool(long_axes(shape[last + 1 :]))


def keeps_axes_on_both_sides(node: Node) -> bool:
    """Whether a reduction keeps axes before and behind those that it reduces."""
    return bool(long_axes(node.inputs[0].type.shape[: node.attrs["axes"][0]])) and keeps_axes_behind(node)


def _terms(reduction: Node) -> int:
    """Elements that a reduction makes one of."""
    return reduction.inputs[0].type.size // max(reduction.output.type.size, 1)


def convolution_in(body: Graph) -> Node:
    """The convolution, or the gradient to a weight, of a unit with this body."""
    (found,) = [node for node in body.nodes if node.op.family == "convolution"]
    return found


def _unlike(window: Array, positions: int, columns: int, channels: int) -> int:
    """Elements of the line in which a window on images of so many positions is laid out as a row of them; 0 if it lies
    so, or has one element for all of a row.
    """
    *before, across, along = [s if n > 1 else 0 for n, s in zip(window.shape, window.strides)] or [0, 0]
    if window.size == 1 or not (across or along):
        return 0
    if positions > 1 and not any(before) and not across:
        return -(-256 // channels) * channels
    together = window.itemsize == along or channels == 1
    return 0 if together and (across == channels * window.itemsize or window.shape[-2] == 1) else columns * channels
