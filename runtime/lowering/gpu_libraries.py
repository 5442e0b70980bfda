"""From a unit to the calls of the libraries of a GPU that run it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ...ir import Node
from ...passes.kernels.library_calls import product_by_library, product_workspace, strided_axis
from ...passes.kernels.matrix_products import Matrix, MatrixProduct
from ...passes.memory.plan import Plan
from .gpu_copies import begin_accumulators
from .launch import Launch, Pointer, Scratch
from .library_call import Compute, LibraryCall, Operand, ProductCall


def library_launches(node: Node, plan: Plan) -> list[Launch | LibraryCall] | None:
    """The calls that run a unit, and launches around them; None where no library does."""
    product = product_by_library(node, plan.views, plan.target)
    if product is not None:
        return [*begin_accumulators(node, plan), *_products(product, node, plan)]
    return None


def _products(product: MatrixProduct, node: Node, plan: Plan) -> list[ProductCall]:
    """A call for each place of the batch along all axes but one. They wait for each other, as they share workspace."""
    along = strided_axis(product)
    others = [axis for axis in product.batch if axis is not along]
    workspace = Scratch(plan.scratch.get(node, 0))
    calls: list[ProductCall] = []
    for place in itertools.product(*(range(axis.length) for axis in others)):
        left = sum(i * axis.left for i, axis in zip(place, others))
        right = sum(i * axis.right for i, axis in zip(place, others))
        result = sum(i * axis.result for i, axis in zip(place, others))
        target = _operand(product.result, result, along.result)
        calls.append(
            ProductCall(
                _operand(product.left, left, along.left),
                _operand(product.right, right, along.right),
                target,
                along.length,
                compute_type(product.dtype, plan),
                workspace,
                product_workspace(product, plan.target),
                None if product.added is None else target.at,
            )
        )
    return calls


def _operand(matrix: Matrix, offset: int, batch_stride: int) -> Operand:
    dtype = matrix.base.type.dtype
    at = Pointer(matrix.base, (matrix.offset + offset) * dtype.itemsize)
    return Operand(at, dtype, matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride, batch_stride)


def compute_type(dtype: np.dtype[Any], plan: Plan) -> Compute:
    """What factors of a dtype are multiplied as."""
    of_size: dict[int, Compute] = {2: "bf16", 4: plan.target.precision, 8: "fp64"}
    return of_size[dtype.itemsize]
