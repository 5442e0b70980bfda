"""From a unit to the calls of the libraries of a GPU that run it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir import Node
from ...passes.kernels.library_calls import product_by_library, product_workspace, strided_axis
from ...passes.kernels.library_convolutions import LibraryConvolution, convolution_by_library
from ...passes.kernels.library_epilogues import LibraryEpilogue, library_epilogue
from ...passes.kernels.matrix_products import Matrix, MatrixProduct
from ...passes.memory.plan import Plan
from .gpu_copies import ElementText, begin_accumulators
from .launch import Address, Launch, Pointer, Scratch
from .library_call import Compute, ConvolutionCall, LibraryCall, Operand, ProductCall


def library_launches(node: Node, plan: Plan) -> list[Launch | LibraryCall] | None:
    """The calls that run a unit, and launches around them; None where no library does."""
    product = product_by_library(node, plan.views, plan.target)
    if product is not None:
        return [*begin_accumulators(node, plan), *_products(product, node, plan)]
    convolution = convolution_by_library(node, plan.views, plan.target)
    if convolution is not None:
        return [*begin_accumulators(node, plan), *_convolution(convolution, node, plan)]
    return None


def _products(product: MatrixProduct, node: Node, plan: Plan) -> list[ProductCall]:
    """A call for each place of the batch along all axes but one. They wait for each other, as they share workspace."""
    along = strided_axis(product)
    others = [axis for axis in product.batch if axis is not along]
    workspace = Scratch(plan.scratch.get(node, 0))
    epilogue = library_epilogue(node, plan.views) if node.op.is_region else None
    calls: list[ProductCall] = []
    for place in itertools.product(*(range(axis.length) for axis in others)):
        left = sum(i * axis.left for i, axis in zip(place, others))
        right = sum(i * axis.right for i, axis in zip(place, others))
        result = sum(i * axis.result for i, axis in zip(place, others))
        target = _operand(product.result, result, along.result)
        call = ProductCall(
            _operand(product.left, left, along.left),
            _operand(product.right, right, along.right),
            target,
            along.length,
            compute_type(product.dtype, plan),
            workspace,
            product_workspace(product, plan.target),
            None if product.added is None else target.at,
        )
        calls.append(call if epilogue is None else _with_epilogue(call, epilogue, result))
    return calls


def _with_epilogue(call: ProductCall, epilogue: LibraryEpilogue, offset: int) -> ProductCall:
    """A call for the matrices that begin at an element of the result."""
    added, bias, nbytes = epilogue.added, epilogue.bias, offset * call.result.dtype.itemsize
    return replace(
        call,
        added=None if added is None else Pointer.to(added).plus(nbytes),
        bias=None if bias is None else Pointer.to(bias),
        activation=epilogue.activation,
    )


def _operand(matrix: Matrix, offset: int, batch_stride: int) -> Operand:
    dtype = matrix.base.type.dtype
    at = Pointer(matrix.base, (matrix.offset + offset) * dtype.itemsize)
    return Operand(at, dtype, matrix.rows, matrix.columns, matrix.row_stride, matrix.column_stride, batch_stride)


def compute_type(dtype: np.dtype[Any], plan: Plan) -> Compute:
    """What factors of a dtype are multiplied as."""
    of_size: dict[int, Compute] = {2: "bf16", 4: plan.target.precision, 8: "fp64"}
    return of_size[dtype.itemsize]


def _convolution(found: LibraryConvolution, node: Node, plan: Plan) -> list[Launch | LibraryCall]:
    """A call, behind the copy that packs the filters for it, or before the one that unpacks them."""
    scratch = Scratch(plan.scratch.get(node, 0))
    dtype = node.output.type.dtype
    filters: Address = scratch if found.packed else Pointer.to(found.filters)
    given, made = Pointer.to(plan.views[node.inputs[0]]), Pointer(node.output)
    if found.kind == "filter_gradient":
        images, results = given, Pointer.to(plan.views[node.inputs[1]])
    else:
        images, results = (given, made) if found.kind == "forward" else (made, given)
    call = ConvolutionCall(
        found.kind,
        images,
        filters,
        results,
        found.images,
        found.filters_shape,
        found.results,
        found.padding,
        found.stride,
        found.dilation,
        node.attrs["groups"],
        dtype,
        compute_type(dtype, plan),
        scratch.plus(found.filter_bytes(plan.target)),
        found.workspace_bytes(plan.target),
        found.added and not (found.packed and found.kind == "filter_gradient"),
    )
    if not found.packed:
        return [call]
    if found.kind == "filter_gradient":
        return [call, _unpack(found, scratch)]
    return [_pack(found, scratch), call]


def _pack(found: LibraryConvolution, packed: Scratch) -> Launch:
    text = _filter_text(found, packed)
    text.element("packed[e] = filters[at]")
    return text.launch()


def _unpack(found: LibraryConvolution, packed: Scratch) -> Launch:
    text = _filter_text(found, packed)
    text.element(f"filters[at] = {'filters[at] + ' if found.added else ''}packed[e]")
    return text.launch()


def _filter_text(found: LibraryConvolution, packed: Scratch) -> ElementText:
    """A kernel of a thread an element of the packed filters, which is element `at` of the filters."""
    view = found.filters
    text = ElementText(math.prod(view.shape))
    text.array("filters", view.base, Pointer.to(view))
    text.array("packed", view.base, packed)
    text.element("q, at = e, i64(0)")
    for length, stride in reversed(list(zip(view.shape, view.strides))):
        count = text.stride(length)
        text.element(f"at = at + q % {count} * {text.stride(stride)}", f"q = q // {count}")
    return text
