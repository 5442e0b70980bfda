"""Batches of matrix products: what a contraction is, and a convolution whose kernel is one place, as they lie in
memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import Node, Value
from ...ir.ops.convolution import windows
from ..graph.views import View, own
from .accumulators import accumulated_input
from .conv_operands import is_convolution
from .loop_nest import product_of


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Element (i, j) is element `offset + i * row_stride + j * column_stride` of `base`, which has its own memory."""

    base: Value
    offset: int
    rows: int
    columns: int
    row_stride: int
    column_stride: int

    @property
    def transposed(self) -> Matrix:
        """The same elements, with rows for columns."""
        return Matrix(self.base, self.offset, self.columns, self.rows, self.column_stride, self.row_stride)

    @property
    def has_dense_lines(self) -> bool:
        """Whether its rows, or its columns, are dense and do not overlap: what libraries can read."""
        by_rows = (self.columns <= 1 or self.column_stride == 1) and (
            self.rows <= 1 or self.row_stride >= max(self.columns, 1)
        )
        by_columns = (self.rows <= 1 or self.row_stride == 1) and (
            self.columns <= 1 or self.column_stride >= max(self.rows, 1)
        )
        return by_rows or by_columns


@dataclass(frozen=True, slots=True)
class BatchAxis:
    """So many products, and the elements from one to the next of the left and right factor and of the result."""

    length: int
    left: int
    right: int
    result: int


@dataclass(frozen=True, slots=True, eq=False)
class MatrixProduct:
    """`result = left @ right` for every place along the axes of `batch`, the outer axis first; none has length 1, and
    no two could be one. Where `added` is an input of the unit, the product is added to what stands there.
    """

    left: Matrix
    right: Matrix
    result: Matrix
    batch: tuple[BatchAxis, ...]
    added: int | None

    @property
    def m(self) -> int:
        """Rows of a result."""
        return self.left.rows

    @property
    def n(self) -> int:
        """Columns of a result."""
        return self.right.columns

    @property
    def k(self) -> int:
        """Terms of a sum."""
        return self.left.columns

    @property
    def batches(self) -> int:
        """All products."""
        return math.prod(axis.length for axis in self.batch)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the factors."""
        return self.left.base.type.dtype

    @property
    def is_empty(self) -> bool:
        """Whether nothing is multiplied: the result has no elements, or is zero."""
        return 0 in (self.m, self.n, self.k, self.batches)


def matrix_product(node: Node, views: Mapping[Value, View]) -> MatrixProduct | None:
    """The products that a unit consists of, whose inputs lie as `views` says; None where it is something else."""
    if node.op.family == "contraction":
        return _of_contraction(node, views)
    if node.op.family == "convolution" and not node.op.is_conv_region and _is_pointwise(node):
        return (_of_convolution if is_convolution(node) else _of_weight_gradient)(node, views)
    return None


def fused_product(region: Node, views: Mapping[Value, View]) -> MatrixProduct | None:
    """The products that a region begins with, None where it begins with none; their results lie nowhere."""
    dot = product_of(region)
    if dot is None:
        return None
    given = {dot.inputs[0]: views[region.inputs[0]], dot.inputs[1]: views[region.inputs[-1]]}
    return _of_contraction(dot, given)


def _of_contraction(node: Node, views: Mapping[Value, View]) -> MatrixProduct:
    x, y, z = views[node.inputs[0]], views[node.inputs[1]], own(node.output)
    strides = zip(z.shape[:-2], x.strides, y.strides, z.strides)
    return _made(node, _matrix(x), _matrix(y), _matrix(z), [BatchAxis(*axis) for axis in strides])


def _matrix(view: View) -> Matrix:
    """The matrix of the first place of the batch."""
    return Matrix(view.base, view.offset, *view.shape[-2:], *view.strides[-2:])


def _is_pointwise(node: Node) -> bool:
    """Whether each output meets one position of the input, and each position is met."""
    kernel = node.inputs[1].type.shape[2:] if is_convolution(node) else node.attrs["kernel"]
    plain = all((w.stride, w.low, w.high, w.expand) == (1, 0, 0, 1) for w in windows(node.attrs))
    return plain and all(length == 1 for length in kernel)


def _of_convolution(node: Node, views: Mapping[Value, View]) -> MatrixProduct | None:
    """(positions, in) x (in, out) for every group."""
    x, w, y = views[node.inputs[0]], views[node.inputs[1]], own(node.output)
    if not x.contiguous:
        return None
    groups: int = node.attrs["groups"]
    channels, inner, outer = x.shape[-1], w.shape[1], w.shape[0] // groups
    positions = math.prod(x.shape[:-1])
    left = Matrix(x.base, x.offset, positions, inner, channels, 1)
    right = Matrix(w.base, w.offset, inner, outer, w.strides[1], w.strides[0])
    result = Matrix(y.base, 0, positions, outer, w.shape[0], 1)
    return _made(node, left, right, result, [BatchAxis(groups, inner, outer * w.strides[0], outer)])


def _of_weight_gradient(node: Node, views: Mapping[Value, View]) -> MatrixProduct | None:
    """(out, positions) x (positions, in) for every group."""
    x, g, w = views[node.inputs[0]], views[node.inputs[1]], own(node.output)
    if not (x.contiguous and g.contiguous):
        return None
    groups: int = node.attrs["groups"]
    inner, outer = w.shape[1], w.shape[0] // groups
    positions = math.prod(x.shape[:-1])
    left = Matrix(g.base, g.offset, outer, positions, 1, g.shape[-1])
    right = Matrix(x.base, x.offset, positions, inner, x.shape[-1], 1)
    result = Matrix(w.base, 0, outer, inner, inner, 1)
    return _made(node, left, right, result, [BatchAxis(groups, outer, inner, outer * inner)])


def _made(node: Node, left: Matrix, right: Matrix, result: Matrix, batch: list[BatchAxis]) -> MatrixProduct:
    merged: list[BatchAxis] = []
    for axis in (axis for axis in batch if axis.length != 1):
        last = merged[-1] if merged else axis
        steps = (last.left, last.right, last.result)
        if merged and steps == tuple(axis.length * step for step in (axis.left, axis.right, axis.result)):
            merged[-1] = BatchAxis(last.length * axis.length, axis.left, axis.right, axis.result)
        else:
            merged.append(axis)
    return MatrixProduct(left, right, result, tuple(merged), accumulated_input(node, 0))
