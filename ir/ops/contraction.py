"""Contractions: `dot` with batch dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..complex_parts import product
from ..graph import Node, Value
from ..op import OPS, Attrs, Op, Recompute, TypeRuleError, declare
from ..ranks import tree_sum
from ..types import BFLOAT16, BOOL, FLOAT32, Array, ArrayType, DType, is_float, is_half
from .added import declare_added
from .elementwise import cast

Pair = tuple[tuple[int, ...], tuple[int, ...]]


def free_axes(type: ArrayType, contract: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    """The axes of an operand that are neither contracted nor batch."""
    return tuple(i for i in range(type.ndim) if i not in contract and i not in batch)


def _dot_type(
    x: ArrayType, y: ArrayType, contract: Pair, batch: Pair, dtype: DType | None = None, factors: DType | None = None
) -> ArrayType:
    if x.dtype != y.dtype or x.dtype == BOOL:
        raise TypeRuleError(f"takes two arrays of one number dtype, got {x} and {y}")
    if dtype is not None and not (is_half(x.dtype) and dtype == FLOAT32):
        raise TypeRuleError(f"gives float32 of two bytes, or the dtype of its operands; got {x}, and dtype {dtype}")
    if factors is not None and (factors, x.dtype) != (BFLOAT16, FLOAT32):
        raise TypeRuleError(f"factors that are float32 may be numbers of bfloat16; got {x}, and factors {factors}")
    for t, c, d in ((x, contract[0], batch[0]), (y, contract[1], batch[1])):
        if len({*c, *d}) != len(c) + len(d) or any(not 0 <= a < t.ndim for a in (*c, *d)):
            raise TypeRuleError(f"axes {c} to contract and {d} to batch are not distinct axes of {t}")
    for what, (left, right) in (("contracted", contract), ("batch", batch)):
        if [x.shape[a] for a in left] != [y.shape[a] for a in right]:
            raise TypeRuleError(f"{what} axes {left} of {x} and {right} of {y} differ in length")
    shape = tuple(x.shape[a] for a in batch[0])
    shape += tuple(x.shape[a] for a in free_axes(x, contract[0], batch[0]))
    shape += tuple(y.shape[a] for a in free_axes(y, contract[1], batch[1]))
    return ArrayType(shape, dtype or x.dtype)


def _dot(
    x: Array, y: Array, contract: Pair, batch: Pair, dtype: DType | None = None, factors: DType | None = None
) -> Array:
    result_type = _dot_type(ArrayType(x.shape, x.dtype), ArrayType(y.shape, y.dtype), contract, batch)
    free_x = free_axes(ArrayType(x.shape, x.dtype), contract[0], batch[0])
    free_y = free_axes(ArrayType(y.shape, y.dtype), contract[1], batch[1])
    batch_shape = tuple(x.shape[a] for a in batch[0])
    depth = math.prod(x.shape[a] for a in contract[0])
    rows, columns = math.prod(x.shape[a] for a in free_x), math.prod(y.shape[a] for a in free_y)
    left = x.transpose((*batch[0], *free_x, *contract[0])).reshape((*batch_shape, rows, depth))
    right = y.transpose((*batch[1], *contract[1], *free_y)).reshape((*batch_shape, depth, columns))
    return np.matmul(left, right).reshape(result_type.shape)


def _operand_cotangent(
    b: Builder, g: Value, other: Value, mine: Value, of_left: bool, contract: Pair, batch: Pair
) -> Value:
    side, far = (0, 1) if of_left else (1, 0)
    batches = len(batch[0])
    other_free = free_axes(other.type, contract[far], batch[far])
    my_free = free_axes(mine.type, contract[side], batch[side])
    first_free = batches + (len(my_free) if of_left else 0)
    g_contract = tuple(range(first_free, first_free + len(other_free)))
    product = dot(b, g, other, contract=(g_contract, other_free), batch=(tuple(range(batches)), batch[far]))
    # The product has my batch axes, my free axes, then the contracted axes in the other operand's order.
    by_other_order = sorted(range(len(contract[far])), key=lambda i: contract[far][i])
    places = (*batch[side], *my_free, *(contract[side][i] for i in by_other_order))
    return OPS["transpose"](b, product, perm=tuple(int(i) for i in np.argsort(places)))


def _dot_vjp(
    b: Builder,
    g: Value,
    o: Value,
    x: Value,
    y: Value,
    contract: Pair,
    batch: Pair,
    dtype: DType | None = None,
    factors: DType | None = None,
) -> tuple[Value, Value]:
    g = g if g.type.dtype == x.type.dtype else cast(b, g, dtype=x.type.dtype)
    return (
        _operand_cotangent(b, g, y, x, True, contract, batch),
        _operand_cotangent(b, g, x, y, False, contract, batch),
    )


def _dot_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    contract: Pair = attrs["contract"]
    return 2 * outputs[0].size * math.prod(inputs[0].shape[a] for a in contract[0])


def _dot_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    x, y = inputs
    contract, batch = attrs["contract"], attrs["batch"]
    free_x, free_y = free_axes(x, contract[0], batch[0]), free_axes(y, contract[1], batch[1])
    return [
        [*batch[0], *free_x, *(None for _ in free_y)],
        [*batch[1], *(None for _ in free_x), *free_y],
    ]


def _dot_batch(attrs: Attrs, length: int) -> Attrs:
    def later(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(a + 1 for a in axes)

    (cx, cy), (bx, by) = attrs["contract"], attrs["batch"]
    return {**attrs, "contract": (later(cx), later(cy)), "batch": ((0, *later(bx)), (0, *later(by)))}


def has_bf16_factors(node: Node) -> bool:
    """Whether a product of float32 says that both factors are numbers of bfloat16."""
    return node.attrs.get("factors") == BFLOAT16


dot = declare(
    Op(
        "dot",
        "contraction",
        _dot_type,
        _dot,
        _dot_flops,
        _dot_axes,
        _dot_vjp,
        "sum over the axes `contract` of x and y, for every index of the axes `batch`; "
        "the output has batch axes, free axes of x, free axes of y; of bfloat16 it is float32 where `dtype` says so; "
        "`factors` says of float32 that both are numbers of it",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        batch=_dot_batch,
        parts=product,
    )
)


dot_add = declare_added(
    dot, "product", "z + dot(x, y): what a loop adds up over its iterations, written over the old sum"
)


def _parts_type(x: ArrayType, y: ArrayType, parts: int) -> ArrayType:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        raise TypeRuleError(f"takes matrices of (m, k) and (k, n) elements, got {x} and {y}")
    if x.dtype != y.dtype or not is_float(x.dtype):
        raise TypeRuleError(f"takes two matrices of one dtype of floats, got {x} and {y}")
    if parts < 1 or parts & (parts - 1) or x.shape[1] % parts:
        raise TypeRuleError(f"parts is a power of two that divides the {x.shape[1]} terms of a sum, got {parts}")
    return ArrayType((x.shape[0], y.shape[1]), x.dtype)


def _of_parts(x: Array, y: Array, parts: int) -> Array:
    pairs = zip(np.split(x, parts, axis=1), np.split(y, parts, axis=0))
    return tree_sum([np.matmul(left, right) for left, right in pairs])


def _parts_vjp(b: Builder, g: Value, o: Value, x: Value, y: Value, parts: int) -> tuple[Value, Value]:
    return _dot_vjp(b, g, o, x, y, ((1,), (0,)), ((), ()))


def _parts_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    terms = inputs[0].shape[1]
    return (2 * terms + attrs["parts"] - 1) * outputs[0].size if terms else 0


def _parts_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[0, None], [None, 1]]


dot_parts = declare(
    Op(
        "dot_parts",
        "contraction",
        _parts_type,
        _of_parts,
        _parts_flops,
        _parts_axes,
        _parts_vjp,
        "the product of two matrices, whose sums fall into equal `parts`: the sums of these are added up by a binary "
        "tree, neighbours first",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
    )
)
