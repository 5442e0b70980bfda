"""`attention`: sums along the rows or the columns of scores, which are made a tile at a time and never whole.

Scores are matrix products, (..., rows, columns), and what a body makes of them element by element. A node of this op is
the forward of attention, or a sum of its backward; a pass finds them, no user writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..graph import Graph
from ..interpret import interpret
from ..op import Attrs, Op, Recompute, TypeRuleError, declare
from ..types import FLOAT32, Array, ArrayType, DType, is_float, is_half

Over = Literal["columns", "rows"]


@dataclass(frozen=True)
class Attention:
    """The parts of a node of the op, `Value`s, arrays or types, by what they are.

    `products` are pairs (..., rows, k) and (..., k, columns); `operands` are (..., rows, columns), or scalars;
    `matrices` are (..., columns, n), or (..., rows, n) where the sums go over rows: each is what a result of the body
    is multiplied by.
    """

    products: Sequence[tuple[Any, Any]]
    operands: Sequence[Any]
    matrices: Sequence[Any]

    @staticmethod
    def of(inputs: Sequence[Any], attrs: Attrs) -> Attention:
        """The parts of the inputs of a node with these attributes."""
        products: int = attrs["products"]
        pairs = [(inputs[2 * i], inputs[2 * i + 1]) for i in range(products)]
        end = len(inputs) - len(attrs["sums"])
        return Attention(pairs, inputs[2 * products : end], inputs[end:])


def scores_shape(inputs: Sequence[Any], attrs: Attrs) -> tuple[int, ...]:
    """(..., rows, columns), from the types of the inputs."""
    left, right = Attention.of(inputs, attrs).products[0]
    return (*left.shape[:-1], right.shape[-1])


def _widened(dtype: DType) -> DType:
    """What matrices of a dtype are multiplied in: those of two bytes in float32."""
    return FLOAT32 if is_half(dtype) else dtype


def _attention_type(
    *types: ArrayType,
    body: Graph,
    products: int,
    sums: tuple[int, ...],
    plain: tuple[int, ...],
    over: Over,
    softmax: bool,
) -> tuple[ArrayType, ...]:
    attrs = {"products": products, "sums": sums}
    made = softmax or sums or plain
    if over not in ("columns", "rows") or products < 1 or len(types) < 2 * products + len(sums) or not made:
        raise TypeRuleError(f"{len(types)} inputs are no {products} products and {len(sums)} matrices; over={over!r}")
    parts, shape = Attention.of(types, attrs), scores_shape(types, attrs)
    for x, y in parts.products:
        if x.dtype != y.dtype or not is_float(x.dtype) or x.ndim < 2 or x.ndim != y.ndim:
            raise TypeRuleError(f"{x} and {y} are no matrices of one float dtype")
        if x.shape[-1] != y.shape[-2] or (*x.shape[:-1], y.shape[-1]) != shape or y.shape[:-2] != shape[:-2]:
            raise TypeRuleError(f"the product of {x} and {y} is no {shape}")
    given = [
        *(ArrayType(shape, _widened(x.dtype)) for x, _ in parts.products),
        *parts.operands,
        *((body.outputs[0].type,) if softmax else ()),
    ]
    if [v.type for v in body.inputs] != given:
        expected = ", ".join(str(v.type) for v in body.inputs)
        raise TypeRuleError(f"the body takes {expected}, got {', '.join(map(str, given))}")
    if any(t.shape not in (shape, ()) for t in parts.operands) or any(v.type.shape != shape for v in body.outputs):
        raise TypeRuleError(f"operands and results of the body are scores {shape}")
    kept, summed = (shape[-2], shape[-1]) if over == "columns" else (shape[-1], shape[-2])
    lead = shape[:-2]
    found: list[ArrayType] = [ArrayType((*lead, kept), body.outputs[0].type.dtype)] * (2 if softmax else 0)
    for number, matrix in zip(sums, parts.matrices, strict=True):
        dtype = body.outputs[number].type.dtype
        if _widened(matrix.dtype) != dtype or matrix.shape[:-1] != (*lead, summed):
            raise TypeRuleError(f"{matrix} does not multiply {body.outputs[number].type} over {over}")
        found.append(ArrayType((*lead, kept, matrix.shape[-1]), dtype))
    return (*found, *(ArrayType((*lead, kept), body.outputs[number].type.dtype) for number in plain))


def _wide(matrix: Array) -> Array:
    return matrix.astype(_widened(matrix.dtype), copy=False)


def _attention(
    *arrays: Array, body: Graph, products: int, sums: tuple[int, ...], plain: tuple[int, ...], over: Over, softmax: bool
) -> tuple[Array, ...]:
    parts = Attention.of(arrays, {"products": products, "sums": sums})
    given = [*(np.matmul(_wide(x), _wide(y)) for x, y in parts.products), *parts.operands]
    found: list[Array] = []
    if softmax:
        weights = body.inputs[-1].type
        scores = interpret(body, *given, np.zeros(weights.shape, weights.dtype))[0]
        largest = scores.max(axis=-1)
        weights = np.exp(scores - np.where(largest == -np.inf, 0, largest)[..., None]).astype(scores.dtype)
        given.append(weights)
        found += [largest, weights.sum(axis=-1)]
    results = interpret(body, *given)
    for number, matrix in zip(sums, parts.matrices, strict=True):
        result = results[number]
        found.append(np.matmul(result if over == "columns" else np.swapaxes(result, -1, -2), _wide(matrix)))
    return (*found, *(results[number].sum(axis=-1 if over == "columns" else -2) for number in plain))


def _attention_flops(inputs: Sequence[ArrayType], outputs: Sequence[ArrayType], attrs: Attrs) -> int:
    parts = Attention.of(inputs, attrs)
    size = ArrayType(scores_shape(inputs, attrs), inputs[0].dtype).size
    depths = sum(x.shape[-1] for x, _ in parts.products) + sum(m.shape[-1] for m in parts.matrices)
    body: Graph = attrs["body"]
    return 2 * size * depths + body.flops() + size * (len(attrs["plain"]) + (3 if attrs["softmax"] else 0))


def _attention_axes(inputs: Sequence[ArrayType], output: ArrayType, attrs: Attrs) -> list[list[int | None]]:
    return [[None] * output.ndim for _ in inputs]


attention = declare(
    Op(
        "attention",
        "attention",
        _attention_type,
        _attention,
        _attention_flops,
        _attention_axes,
        None,
        "products of pairs of matrices, and what `body` makes of these scores and of operands, summed `over` columns "
        "or rows: the results `sums` times a matrix each, then the results `plain`. With `softmax` result 0 is scores, "
        "the body reads exp(scores - largest of the row) as its last input, and the largest and the sum of that of "
        "each row are outputs too, before the others. Tiles of scores are made one after another, none stays. "
        "Matrices of bfloat16 are multiplied in float32",
        accepts_strides=True,
        can_trap=False,
        recompute=Recompute.COSTLY,
        body="tiled",
    )
)
