"""Which units a library of a GPU runs, and the bytes that it works in.

The bytes follow from the shape and the target alone, never from a budget: a library chooses its algorithm by them, so
that other bytes would be other bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...ir import Node, Value
from ...ir.types import is_float
from ..graph.views import View
from ..target import Target
from .library_epilogues import library_epilogue
from .matrix_products import BatchAxis, MatrixProduct, fused_product, matrix_product

MOST_CALLS = 64
"""Calls of a library for one unit, at most: each is a launch."""
MOST_WORKSPACE = 32 << 20
_SIDE = 128
"""Rows and columns of a result that a block of a library makes."""
_LEAST_TERMS = 256
"""Terms of a sum that are worth a block of their own."""


def product_by_library(node: Node, views: Mapping[Value, View], target: Target) -> MatrixProduct | None:
    """The products of a unit where cuBLASLt makes them: floats, whose rows or columns are dense. Those that a region
    begins with go to its output, where it is the epilogue of a call.
    """
    if "cublaslt" not in target.libraries:
        return None
    product = _product_with_epilogue(node, views) if node.op.is_region else matrix_product(node, views)
    if product is None or product.is_empty or not is_float(product.dtype):
        return None
    dense = all(matrix.has_dense_lines for matrix in (product.left, product.right, product.result))
    forward = all(step >= 0 for axis in product.batch for step in (axis.left, axis.right))
    calls = product.batches // max((axis.length for axis in product.batch), default=1)
    return product if dense and forward and calls <= MOST_CALLS else None


def _product_with_epilogue(region: Node, views: Mapping[Value, View]) -> MatrixProduct | None:
    product = fused_product(region, views)
    if product is None or library_epilogue(region, views) is None:
        return None
    return replace(product, result=replace(product.result, base=region.output))


def strided_axis(product: MatrixProduct) -> BatchAxis:
    """The axis of the batch that one call walks along: the longest, as there is a call for each place of the others."""
    return max(product.batch, key=lambda axis: axis.length, default=BatchAxis(1, 0, 0, 0))


def product_workspace(product: MatrixProduct, target: Target) -> int:
    """Bytes in which a call of cuBLASLt works: parts of sums, where there are fewer squares of a result than
    multiprocessors and sums are long; else 0.
    """
    batches, multiprocessors = strided_axis(product).length, target.multiprocessors or 1
    squares = batches * -(-product.m // _SIDE) * -(-product.n // _SIDE)
    parts = min(multiprocessors // squares, product.k // _LEAST_TERMS)
    nbytes = parts * batches * product.m * product.n * max(product.dtype.itemsize, 4)
    return min(target.round_to_line(nbytes), MOST_WORKSPACE) if parts > 1 else 0
