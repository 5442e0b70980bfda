"""Random cotangents v of a model's output whose mean v vᵀ is a curvature of the loss as a function of that output.

Pulled back through the model to any array s, they become cotangents g of it whose mean g gᵀ is the curvature in s.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import ArrayType, finfo
from .. import array_api as xp
from ..tracing import random
from ..tracing.hoisted import hoisted
from ..tracing.scan import scan
from ..tracing.tracer import located
from .model_output import ModelOutput

_MOST_CLASSES = 1024
"""Entries of a row of the output of which a Hessian is made, which has as many elements squared."""


def of_gradients(output: ModelOutput) -> list[Any]:
    """Samples of the empirical Fisher matrix, N Σ δ δᵀ over the N entries of a batch: the gradients of the loss of a
    batch, which is a mean over its entries, with a random sign for each entry.
    """
    found: list[Any] = []
    signs: dict[int, Any] = {}
    for cotangent in output.cotangents:
        count = cotangent.shape[0] if cotangent.shape else 1
        if count not in signs:
            signs[count] = _signs((count,), cotangent.dtype) * count**0.5
        spread = (count,) + (1,) * (cotangent.ndim - 1) if cotangent.shape else ()
        found.append(cotangent * xp.reshape(signs[count], spread))
    return found


def of_hessian(output: ModelOutput, optimizer: str) -> list[Any]:
    """Samples of the Hessian H of the loss by the output, which for negative log-likelihoods is the Fisher matrix.

    An output (n, c) has n rows, each with a Hessian (c, c) of its own; so the loss is a sum over rows. The class axis
    is the second of four axes or more, as images have them, else the last; without another one every element is a row.
    Where H has negative eigenvalues, because the loss is not convex, they are taken as 0. Raises `ValueError` for
    several outputs, and for more than 1024 classes.
    """
    if len(output.arrays) != 1:
        raise ValueError(
            located(
                f"{optimizer}: the loss reads {len(output.arrays)} arrays that the model gives, and the curvature is "
                "that by one; return one, or write fisher='empirical'"
            )
        )
    (z,) = output.arrays
    classes = 1 if z.ndim < 2 else z.shape[1] if z.ndim > 3 else z.shape[-1]
    signs = _signs(z.shape, z.dtype)
    if classes <= 1:
        (diagonal,) = output.times_hessian([xp.full_like(z, 1)])
        return [xp.sqrt(xp.maximum(diagonal, 0.0)) * signs]
    if classes > _MOST_CLASSES:
        raise ValueError(
            located(f"{optimizer}: the Hessian of a loss by {classes} classes is too large; write fisher='empirical'")
        )
    axis = 1 if z.ndim > 3 else z.ndim - 1
    blocks = _blocks(output, z, axis)
    return [xp.moveaxis(_rooted(blocks, xp.moveaxis(signs, axis, -1)), -1, axis)]


def _signs(shape: tuple[int, ...], dtype: Any) -> Any:
    """1 or -1 with equal chances."""
    return xp.where(random.random_bits(shape, "int32") < 0, dtype.type(-1), dtype.type(1))


def _blocks(output: ModelOutput, z: Any, axis: int) -> Any:
    """The Hessian of each row: (*rows, classes, classes)."""
    product = hoisted(lambda direction: output.times_hessian([direction]), ArrayType(z.shape, z.dtype))
    lengths = [1] * z.ndim
    lengths[axis] = z.shape[axis]

    def column(_: Any, chosen: Any) -> tuple[Any, Any]:
        (made,) = product(xp.broadcast_to(xp.reshape(chosen, lengths), z.shape))
        return (), xp.moveaxis(made, axis, -1)

    _, columns = scan(column, (), np.eye(z.shape[axis], dtype=z.dtype))
    return xp.moveaxis(columns, 0, -1)


def _rooted(blocks: Any, signs: Any) -> Any:
    """B ε for each row, with B Bᵀ the row's block: by its Cholesky factor, whose columns are 0 where a pivot is."""
    classes, dtype = blocks.shape[-1], blocks.dtype
    largest = xp.max(xp.max(xp.abs(blocks), axis=-1), axis=-1)
    least = largest * (10 * classes * float(finfo(dtype).eps))

    def eliminate(carry: Any, step: Any) -> tuple[Any, Any]:
        left, total = carry
        chosen, sign = step
        column = left @ chosen
        pivot = column @ chosen
        usable = pivot > least
        column = (
            xp.where(usable, 1 / xp.sqrt(xp.where(usable, pivot, dtype.type(1))), dtype.type(0))[..., None] * column
        )
        left = left - column[..., :, None] * column[..., None, :]
        return (left, total + column * sign[..., None]), ()

    eye = np.eye(classes, dtype=dtype)
    (_, total), _ = scan(eliminate, (blocks, xp.zeros_like(signs)), (eye, xp.moveaxis(signs, -1, 0)))
    return total
