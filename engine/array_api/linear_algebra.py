"""Products of arrays: matmul, dot, tensordot, einsum. All come down to one contraction of labelled axes."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import DType
from ...ir.ops import contraction
from ..tracing.mutable_arrays import perhaps_view
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, ShapeError, TracingError, emit, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axis_index,
    cast,
    described,
    dtype_of,
    fitted,
    key_of,
    loop_dtypes,
    reshaped,
    shape_of,
    transposed,
)
from .complex_numbers import conj
from .diagonals import diagonal
from .indexing import getitem
from .manipulation import expand_dims, moveaxis
from .reductions import sum as sum_


def contract(x: ArrayLike, x_labels: str, y: ArrayLike, y_labels: str, result: str, dtype: DType) -> Any:
    """Sum of products of two arrays over the labels that are not in `result`.

    Labels are distinct within an operand, and one label has one length. A label of one operand alone is in `result`.
    """
    if dtype.kind == "b":
        counts = contract(x, x_labels, y, y_labels, result, np.dtype("int64"))
        return e.not_equal(counts, 0)
    x, y = cast(x, dtype), cast(y, dtype)
    summed = [a for a in x_labels if a in y_labels and a not in result]
    if not summed:
        left = _spread(x, x_labels, result)
        return e.multiply(left, _spread(y, y_labels, result))
    shared = [a for a in x_labels if a in y_labels and a in result]
    # Of the two orders of operands, the one whose result needs no transpose.
    made = "".join([*shared, *(a for a in x_labels if a not in y_labels), *(a for a in y_labels if a not in x_labels)])
    turned = "".join(
        [*shared, *(a for a in y_labels if a not in x_labels), *(a for a in x_labels if a not in y_labels)]
    )
    if made != result and turned == result:
        x, x_labels, y, y_labels, made = y, y_labels, x, x_labels, turned
    trace = trace_of([x, y])
    product = emit(
        contraction.dot,
        fitted(x, dtype, shape_of(x), trace),
        fitted(y, dtype, shape_of(y), trace),
        contract=(tuple(x_labels.index(a) for a in summed), tuple(y_labels.index(a) for a in summed)),
        batch=(tuple(x_labels.index(a) for a in shared), tuple(y_labels.index(a) for a in shared)),
    )
    return transposed(product, [made.index(a) for a in result])


def _spread(x: ArrayLike, labels: str, result: str) -> ArrayLike:
    ordered = transposed(x, sorted(range(len(labels)), key=lambda i: result.index(labels[i])))
    lengths = dict(zip(labels, shape_of(x)))
    return reshaped(ordered, tuple(lengths.get(a, 1) for a in result))


def _without(x: ArrayLike, labels: str, gone: set[str]) -> tuple[ArrayLike, str]:
    if gone.isdisjoint(labels):
        return x, labels
    kept = tuple(n for a, n in zip(labels, shape_of(x)) if a not in gone)
    return reshaped(x, kept), "".join(a for a in labels if a not in gone)


def matmul(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The matrix product of the last two axes, the others broadcast; a vector is a row (left) or a column (right)."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    a, b = shape_of(x), shape_of(y)
    if not a or not b:
        raise ShapeError(
            located(f"np.matmul takes arrays with axes, got {described(x)} and {described(y)}; write x * y")
        )
    batch_x, batch_y = a[:-2], b[:-2]
    try:
        fits = a[-1] == b[-2 if len(b) > 1 else -1]
        batch = np.broadcast_shapes(batch_x, batch_y)
    except ValueError:
        fits, batch = False, ()
    if not fits:
        rule = "the last axis of the first is as long as the last but one of the second, and leading axes broadcast"
        raise ShapeError(located(f"np.matmul: {described(x)} and {described(y)} do not fit; {rule}"))
    dtype = loop_dtypes(np.matmul, [x, y])[0]
    names = string.ascii_letters[3 : 3 + len(batch)]
    x_labels = names[len(batch) - len(batch_x) :] + ("ac" if len(a) > 1 else "c")
    y_labels = names[len(batch) - len(batch_y) :] + ("cb" if len(b) > 1 else "c")
    # A batch axis of length 1 that meets a longer one is no batch axis at all.
    x, x_labels = _without(x, x_labels, {k for k, n, m in zip(names[::-1], batch_x[::-1], batch[::-1]) if n != m})
    y, y_labels = _without(y, y_labels, {k for k, n, m in zip(names[::-1], batch_y[::-1], batch[::-1]) if n != m})
    result = names + ("a" if len(a) > 1 else "") + ("b" if len(b) > 1 else "")
    return contract(x, x_labels, y, y_labels, result, dtype)


def tensordot(x1: ArrayLike, x2: ArrayLike, /, axes: Any = 2) -> Any:
    """The sum of products over pairs of axes: the last `axes` of `x1` with the first of `x2`, or two lists of axes."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    ndim_x, ndim_y = len(shape_of(x)), len(shape_of(y))
    if isinstance(axes, (int, np.integer)):
        count = min(int(axes), ndim_x + ndim_y + 1)  # too many are refused below
        first, second = list(range(ndim_x - count, ndim_x)), list(range(count))
    else:
        first, second = ([a] if isinstance(a, (int, np.integer)) else list(a) for a in axes)
    left, right = [axis_index(a, ndim_x) for a in first], [axis_index(a, ndim_y) for a in second]
    if [shape_of(x)[a] for a in left] != [shape_of(y)[a] for a in right]:
        raise ShapeError(
            located(f"np.tensordot: axes {first} of {described(x)} and {second} of {described(y)} differ in length")
        )
    x_labels = string.ascii_letters[:ndim_x]
    free = iter(string.ascii_letters[ndim_x:])
    y_labels = "".join(x_labels[left[right.index(i)]] if i in right else next(free) for i in range(ndim_y))
    result = "".join([a for a in x_labels if a not in y_labels] + [a for a in y_labels if a not in x_labels])
    return contract(x, x_labels, y, y_labels, result, result_dtype(key_of(x), key_of(y)))


def dot(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The sum of products over the last axis of `x1` and the last but one (or only) axis of `x2`."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    if not shape_of(x) or not shape_of(y):
        return e.multiply(x, y)
    other = max(len(shape_of(y)) - 2, 0)
    if shape_of(x)[-1] != shape_of(y)[other]:
        raise ShapeError(located(f"np.dot: {described(x)} and {described(y)} do not fit"))
    return tensordot(x, y, axes=(-1, other))


def inner(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The sum of products over the last axes of both."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    return tensordot(x, y, axes=(-1, -1)) if shape_of(x) and shape_of(y) else e.multiply(x, y)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """All products of an element of `x1` and one of `x2`, as a matrix."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    return e.multiply(reshaped(x, (_size(x), 1)), reshaped(y, (1, _size(y))))


def _size(x: ArrayLike) -> int:
    return int(np.prod(shape_of(x), dtype=np.int64))


def vdot(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The sum of products of all elements, in row-major order; complex ones of the first are conjugated."""
    x, y = conj(x1), as_arraylike(x2)
    return dot(reshaped(x, (_size(x),)), reshaped(y, (_size(y),)))


def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Any:
    """The sum of products over one axis, with the others broadcast; complex ones of the first are conjugated."""
    x, y = conj(x1), as_arraylike(x2)
    x, y = moveaxis(x, axis, -1), moveaxis(y, axis, -1)
    if shape_of(x)[-1] != shape_of(y)[-1]:
        raise ShapeError(located(f"np.vecdot: {described(x)} and {described(y)} differ in length along the last axis"))
    return einsum("...a,...a->...", x, y)


def kron(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The Kronecker product: every element of `x1` replaced by its product with `x2`."""
    x, y = as_arraylike(x1), as_arraylike(x2)
    ndim = max(len(shape_of(x)), len(shape_of(y)))
    a = (1,) * (ndim - len(shape_of(x))) + shape_of(x)
    b = (1,) * (ndim - len(shape_of(y))) + shape_of(y)
    product = e.multiply(reshaped(x, [m for n in a for m in (n, 1)]), reshaped(y, [m for n in b for m in (1, n)]))
    return reshaped(product, tuple(n * m for n, m in zip(a, b)))


# einsum


def einsum(subscripts: Any, /, *operands: ArrayLike, optimize: Any = True) -> Any:
    """Einstein's sum: `einsum("bik,bkj->bij", x, y)`, with `...`, repeated labels and implicit results as in NumPy.

    More than two operands are contracted in pairs, in the order of `numpy.einsum_path`.
    """
    if not isinstance(subscripts, str):
        raise TracingError(located("np.einsum: write the subscripts as a string, such as 'ij,jk->ik'"))
    arrays = [as_arraylike(x) for x in operands]
    terms, result = _parsed(subscripts, arrays)
    dtype = result_dtype(*map(key_of, arrays))
    lengths = _lengths(subscripts, terms, arrays)
    work: list[tuple[ArrayLike, str]] = []
    for x, term in zip(arrays, terms):
        x, term = _without(x, term, {a for a, n in zip(term, shape_of(x)) if n != lengths[a]})
        work.append(_distinct(x, term))
    for pair in _order(work, result)[:-1]:
        taken = [work.pop(i) for i in sorted(pair, reverse=True)][::-1]
        rest = set(result).union(*(labels for _, labels in work))
        work.append(_merged(taken, "".join(dict.fromkeys(a for _, t in taken for a in t if a in rest)), dtype))
    x, labels = _merged(work, result, dtype)
    missing = tuple(lengths[a] for a in result if a not in labels)
    assert not missing
    if len(arrays) == 1 and set(terms[0]) == set(result) and dtype == dtype_of(arrays[0]):
        return perhaps_view(arrays[0], x)
    return x


def _merged(parts: Sequence[tuple[ArrayLike, str]], result: str, dtype: DType) -> tuple[ArrayLike, str]:
    everywhere = [set(labels) for _, labels in parts]
    for i, (x, labels) in enumerate(parts):
        others = set(result).union(*(s for j, s in enumerate(everywhere) if j != i))
        alone = tuple(k for k, a in enumerate(labels) if a not in others)
        if alone:
            x = e.astype(x, dtype)
            x = e.not_equal(sum_(x, alone), 0) if dtype.kind == "b" else sum_(x, alone, dtype=dtype)
            parts = [*parts[:i], (x, "".join(a for a in labels if a in others)), *parts[i + 1 :]]
    if len(parts) == 1:
        ((x, labels),) = parts
        return cast(transposed(x, [labels.index(a) for a in result]), dtype), result
    (x, x_labels), (y, y_labels) = parts
    return contract(x, x_labels, y, y_labels, result, dtype), result


def _order(work: Sequence[tuple[ArrayLike, str]], result: str) -> list[tuple[int, ...]]:
    if len(work) <= 2:
        return [tuple(range(len(work)))]
    subscripts = ",".join(labels for _, labels in work) + "->" + result
    empties = [np.broadcast_to(np.float32(0), shape_of(x)) for x, _ in work]
    path = np.einsum_path(subscripts, *empties, optimize="greedy")[0][1:]
    # A path may contract several at once; pairs are as good.
    pairs: list[tuple[int, ...]] = []
    count = len(work)
    for step in path:
        places = sorted(step)
        pairs.append(tuple(places[:2]))
        count -= 1
        for _ in places[2:]:
            pairs.append((0, count - 1))
            count -= 1
    return pairs if all(len(step) <= 2 for step in path) else [(0, 1)] * (len(work) - 1)


def _parsed(subscripts: str, arrays: Sequence[ArrayLike]) -> tuple[list[str], str]:
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    letters = set(text) - set(".,->")
    if len(terms) != len(arrays) or not letters <= set(string.ascii_letters) or (set("->") & set(right)):
        raise ShapeError(located(f"np.einsum: {subscripts!r} does not describe {len(arrays)} operands"))
    spare = [a for a in string.ascii_letters if a not in letters]
    counts: list[int] = []
    for term, x in zip(terms, arrays):
        extra = len(shape_of(x)) - len(term.replace("...", ""))
        if "." in term.replace("...", "") or term.count("...") > 1 or extra < 0 or (extra and "..." not in term):
            raise ShapeError(located(f"np.einsum: {term!r} of {subscripts!r} does not fit {described(x)}"))
        counts.append(extra)
    most = max(counts, default=0)
    dots = "".join(spare[:most])
    terms = [term.replace("...", dots[most - n :]) for term, n in zip(terms, counts)]
    if arrow:
        result = right.replace("...", dots)
    else:
        joined = "".join(left.replace("...", "").split(","))
        result = dots + "".join(sorted(a for a in set(joined) if joined.count(a) == 1))
    if len(set(result)) != len(result) or not set(result) <= set("".join(terms)):
        raise ShapeError(
            located(f"np.einsum: the result of {subscripts!r} has a label twice, or one that no operand has")
        )
    return terms, result


def _lengths(subscripts: str, terms: Sequence[str], arrays: Sequence[ArrayLike]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for term, x in zip(terms, arrays):
        for label, n in zip(term, shape_of(x)):
            before = lengths.setdefault(label, n)
            if before == 1:
                lengths[label] = n
            elif n not in (1, before):
                shown = " and ".join(described(a) for a in arrays)
                raise ShapeError(
                    located(f"np.einsum: {subscripts!r} of {shown} gives one label the lengths {before} and {n}")
                )
    return lengths


def _distinct(x: ArrayLike, labels: str) -> tuple[ArrayLike, str]:
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    return x, labels


def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The products of matrices (..., m, n) and vectors (..., n): (..., m); other axes broadcast."""
    return getitem(matmul(x1, expand_dims(x2, -1)), (..., 0))


def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Any:
    """The products of vectors (..., n) and matrices (..., n, m): (..., m); other axes broadcast."""
    return getitem(matmul(expand_dims(x1, -2), x2), (..., 0, slice(None)))
