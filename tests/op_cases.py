"""The table of the ops: a row enrols an op, with shapes, dtypes, attributes and ranges, in every test of every floor.

    from op_cases import CASES, sample, assert_matches

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_something_that_holds_for_every_op(case): ...

A new op needs one line here; `test_ops.py` fails for an op of the registry that has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

import numpy as np
from gradloom.ir import (
    BFLOAT16,
    DTYPES,
    OPS,
    Array,
    ArrayType,
    Builder,
    Graph,
    Op,
    TypeRuleError,
    complex_dtype,
    is_complex,
    is_float,
    spec,
)


@dataclass(frozen=True)
class In:
    """One input: its type, and the range of its values: low <= x < high, for integers as for floats.

    `diagonal` is added to the diagonal of the last two axes, so that a matrix is positive definite or far from
    singular: such an input is not to be repeated along its axes.
    """

    type: ArrayType
    low: float = -2
    high: float = 2
    diagonal: float = 0


@dataclass(frozen=True)
class OpCase:
    """One row. `order`: how many times the op can be differentiated on these inputs (0: not at all, or integers).

    `tolerance` bounds |actual - expected| of another implementation, relative to the largest |expected| of the output;
    0 demands equal bits (NaN equals NaN).
    """

    name: str
    inputs: tuple[In, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    order: int = 0
    tolerance: float = 0
    number: int = 0

    @property
    def op(self) -> Op:
        return OPS[self.name]

    @property
    def types(self) -> tuple[ArrayType, ...]:
        return tuple(i.type for i in self.inputs)

    def __str__(self) -> str:
        return f"{self.name}-{self.number}-{'-'.join(map(str, self.types))}"

    def graph(self) -> Graph:
        """The graph of this one node."""
        b = Builder()
        node = b.emit_node(self.op, *(b.input(t, f"x{i}") for i, t in enumerate(self.types)), **self.attrs)
        return b.graph(node.outputs)


def sample(case: OpCase, rng: np.random.Generator | None = None) -> list[Array]:
    """Arrays for the inputs of `case`, the same at every call without `rng`.

    Floats lie evenly over their range in random order, so that no two are near each other and none is near 0: no ties
    and no kinks within a step of finite differences.
    """
    rng = rng or np.random.default_rng(zlib.crc32(str(case).encode()))
    total = sum(i.type.size for i in case.inputs if is_float(i.type.dtype))
    order = rng.permutation(total)
    arrays: list[Array] = []
    for i in case.inputs:
        shape, dtype = i.type.shape, i.type.dtype
        if is_float(dtype):
            mine, order = order[: i.type.size], order[i.type.size :]
            x = i.low + (i.high - i.low) * (mine + rng.uniform(0.3, 0.7, mine.shape)) / max(total, 1)
            x = np.where(np.abs(x) < 0.01, 0.01, x).reshape(shape)
            arrays.append((x + i.diagonal * np.eye(shape[-1]) if i.diagonal else x).astype(dtype))
        elif is_complex(dtype):
            arrays.append((rng.uniform(i.low, i.high, shape) + 1j * rng.uniform(i.low, i.high, shape)).astype(dtype))
        else:
            arrays.append(rng.integers(int(i.low), int(i.high), shape).astype(dtype))
    if case.name == "window_find":
        # Among random numbers it would find nothing.
        arrays[1] = np.asarray(OPS["window_max"].reference(arrays[0], **case.attrs))
    return arrays


def assert_matches(case: OpCase, actual: Array, expected: Array) -> None:
    """Fail unless `actual` has the type of `expected`, and its values within the tolerance of `case`."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if case.op is OPS["eigh"] and expected.size:
        actual = _with_signs_of(expected, actual)
    if case.op is OPS["svd"] and expected.size and expected.shape == case.op.infer(*case.types).shape:
        actual = _with_rows_of(expected, actual, case.types[0].shape[-2])
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=case.tolerance * scale, equal_nan=True)


def _with_signs_of(expected: Array, actual: Array) -> Array:
    """Eigenvalues above their vectors, which are as right with another sign, with that of `expected`."""
    signs = np.sign((actual[..., 1:, :] * expected[..., 1:, :]).sum(axis=-2, keepdims=True))
    return np.concatenate([actual[..., :1, :], actual[..., 1:, :] * signs], axis=-2)


def _with_rows_of(expected: Array, actual: Array, m: int) -> Array:
    """Singular values, after `m` numbers, between their vectors, which are as right with another sign, both of them; of
    a value that is nothing beside the first one any vectors are right.
    """
    values = expected[..., m : m + 1]
    signs = np.sign((actual[..., :m] * expected[..., :m]).sum(axis=-1, keepdims=True))
    found = np.concatenate([actual[..., :m] * signs, actual[..., m : m + 1], actual[..., m + 1 :] * signs], axis=-1)
    is_vector = np.arange(expected.shape[-1]) != m
    return np.where((values < 1e-5 * values[..., :1, :]) & is_vector, expected, found)


# The table.

SHAPES = ((1,), (0, 3), (2, 1, 3, 2), (3, 0), (1, 1), (5, 1), (3, 2, 2))
"""Odd shapes that the rows take in turn."""

F64, F32, I64, I32, U8, BOOL = "float64", "float32", "int64", "int32", "uint8", "bool"
FLOATS, INTEGERS = (F64, F32), (I32, I64, U8)
PLAIN = [dtype for dtype in DTYPES if dtype != BFLOAT16 and not is_complex(dtype)]
"""NumPy's own dtypes of real numbers. `BFLOAT16_CASES` and `COMPLEX_CASES` have the rows of the others."""

CPU_ONLY = frozenset({"eig", "lu"})
"""Ops that are refused for a GPU."""

CASES: list[OpCase] = []
_numbers = count()
_shapes = cycle(SHAPES)


def row(name: str, *inputs: In, tolerance: Mapping[str, float] | None = None, order: int = 2, **attrs: Any) -> None:
    """Add a row. `tolerance` is by dtype of the first input; `order` counts only where input and output are floats."""
    types = [i.type for i in inputs]
    inferred = OPS[name].infer(*types, **attrs)
    assert isinstance(inferred, ArrayType)
    smooth = OPS[name].vjp is not None and is_float(inferred.dtype) and any(is_float(t.dtype) for t in types)
    tolerance = tolerance or {}
    first = types[0].dtype.name if types else ""
    CASES.append(OpCase(name, inputs, attrs, order * smooth, tolerance.get(first, 0), next(_numbers)))


def arr(shape: int | Sequence[int], dtype: str = F64, low: float = -2, high: float = 2) -> In:
    """An input; integers have a range of their own, where none is given, that shows signs and large values."""
    if dtype == BOOL:
        return In(spec(shape, dtype), 0, 2)
    if dtype in (*INTEGERS,) and (low, high) == (-2, 2):
        low, high = (0, 256) if dtype == U8 else (-9, 10)
    return In(spec(shape, dtype), low, high)


def matrix(shape: Sequence[int], dtype: str = F64, diagonal: float = 5) -> In:
    """An input whose matrices are well conditioned; a matrix of one element is positive."""
    return In(spec(shape, dtype), -2, 2, diagonal) if shape[-1] > 1 else In(spec(shape, dtype), 0.5, 2)


def pointwise(name: str, arity: int, dtypes: Sequence[str], *ranges: tuple[float, float], **more: Any) -> None:
    """Rows for an element-wise op: the floats in several shapes, the rest in one odd shape each."""
    ranges = ranges or ((-2, 2),)
    for dtype in dtypes:
        shapes = {F64: ((), (2, 3, 4), next(_shapes)), F32: ((7,), next(_shapes))}.get(dtype, (next(_shapes), (2, 3)))
        for shape in shapes:
            row(name, *(arr(shape, dtype, *ranges[i % len(ranges)]) for i in range(arity)), **more)


ROUNDED = {F32: 1e-6, F64: 1e-14}
SUMMED = {F32: 1e-5, F64: 1e-13}
NUMBERS = (*FLOATS, *INTEGERS)
ANY = (*NUMBERS, BOOL)

# Arithmetic is rounded to the nearest by everyone, so its bits are the same.
for name in ("neg", "abs", "sign", "relu"):
    pointwise(name, 1, NUMBERS)
for name in ("add", "sub", "mul", "maximum", "minimum"):
    pointwise(name, 2, NUMBERS)
pointwise("div", 2, FLOATS, (-2, 2), (0.4, 3))
for name in ("floordiv", "mod"):
    pointwise(name, 2, FLOATS, (-5, 5), (0.4, 3))
    pointwise(name, 2, INTEGERS, (0, 100), (0, 5))
    pointwise(name, 2, (I32, I64), (-100, 100), (-5, 6))
pointwise("pow", 2, FLOATS, (0.3, 2), (-2, 3), tolerance=ROUNDED)
pointwise("pow", 2, INTEGERS, (0, 9), (0, 7))
pointwise("pow", 2, (I32, I64), (-3, 4), (-3, 8))
for name in ("floor", "ceil", "trunc", "rint"):
    pointwise(name, 1, FLOATS, (-4, 4))
pointwise("sqrt", 1, FLOATS, (0.1, 4))

for name, low, high in (
    ("exp", -3, 3),
    ("expm1", -2, 2),
    ("log", 0.2, 4),
    ("log2", 0.2, 4),
    ("log10", 0.2, 4),
    ("log1p", -0.7, 3),
    ("tanh", -3, 3),
    ("sigmoid", -5, 5),
    ("erf", -2, 2),
    ("ndtr", -3, 3),
    ("sin", -5, 5),
    ("cos", -5, 5),
    ("tan", -1.2, 1.2),
    ("asin", -0.9, 0.9),
    ("acos", -0.9, 0.9),
    ("atan", -3, 3),
    ("sinh", -3, 3),
    ("cosh", -3, 3),
    ("asinh", -3, 3),
    ("acosh", 1.2, 4),
    ("atanh", -0.9, 0.9),
):
    pointwise(name, 1, FLOATS, (low, high), tolerance=ROUNDED)
pointwise("atan2", 2, FLOATS, (-2, 2), tolerance=ROUNDED)

SPECIAL = {F32: 1e-6, F64: 1e-12}
for name, low, high in (
    ("gammaln", 0.3, 9),
    ("gamma", 0.5, 4),
    ("digamma", 0.4, 9),
    ("i0", -4, 4),
    ("i1", -4, 4),
    ("i0e", -9, 9),
    ("i1e", -9, 9),
    ("erfc", -3, 3),
    ("erfcx", -1, 5),
    ("erfinv", -0.9, 0.9),
    ("erfcinv", 0.1, 1.9),
    ("ndtri", 0.05, 0.95),
    ("log_ndtr", -5, 5),
    ("spence", 0.2, 4),
):
    pointwise(name, 1, FLOATS, (low, high), tolerance=SPECIAL)
pointwise("zeta", 2, FLOATS, (1.5, 5), (0.3, 12), tolerance=SPECIAL, order=0)
pointwise("expn", 2, FLOATS, (1, 2), (0.2, 4), tolerance=SPECIAL, order=0)
pointwise("betaln", 2, FLOATS, (0.3, 12), tolerance=SPECIAL)
pointwise("beta", 2, FLOATS, (0.3, 5), tolerance=SPECIAL)
# The derivatives in parameters are known, but not once more.
for name, order in (("gammainc", 1), ("gammaincc", 1), ("gamma_density", 2), ("gammainc_slope", 0)):
    pointwise(name, 2, FLOATS, (0.3, 9), (0.2, 9), tolerance=SPECIAL, order=order)
for name, order in (("betainc", 1), ("beta_density", 2), ("betainc_slope_a", 0), ("betainc_slope_b", 0)):
    pointwise(name, 3, FLOATS, (0.3, 9), (0.3, 9), (0.05, 0.95), tolerance=SPECIAL, order=order)

for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    pointwise(name, 2, ANY, (0, 3))
for name in ("and", "or", "xor"):
    pointwise(name, 2, (*INTEGERS, BOOL))
pointwise("invert", 1, (*INTEGERS, BOOL))
for name in ("shift_left", "shift_right"):
    pointwise(name, 2, (I32, I64), (-100, 100), (0, 12))
    pointwise(name, 2, (I32, I64), (-100, 100), (-70, 70))
    pointwise(name, 2, (U8,), (0, 256), (0, 10))
for dtype in ANY:
    row("select", arr((2, 3), BOOL), arr((2, 3), dtype), arr((2, 3), dtype))
row("select", arr((), BOOL), arr(()), arr(()))
row("select", arr((0, 2), BOOL), arr((0, 2)), arr((0, 2)))
for source in ANY:
    for target in PLAIN:
        row("cast", arr((3, 2), source, *((0, 200) if source == U8 else (-50, 50))), dtype=target)
        if source in FLOATS and target.name in INTEGERS:
            row("cast", arr((3, 7), source, -1e20, 1e20), dtype=target)
row("cast", arr((), F32), dtype=np.dtype(F64))
row("cast", arr((0, 4), F64), dtype=np.dtype(I32))
for name in ("copy", "save", "stop_gradient"):
    pointwise(name, 1, ANY)
for dtype in ANY:
    row("to_host", arr((3, 5), dtype), beside=1)
    row("to_device", arr((3, 5), dtype))
row("to_host", arr(()), beside=0)
row("to_host", arr((0, 4)), beside=3)
row("to_device", arr((2, 0)))
for dtype in NUMBERS:
    row("all_reduce", arr((3, 5), dtype), ranks=1)
    row("reduce_scatter", arr((4, 2), dtype), ranks=1)
for dtype in ANY:
    for name in ("all_gather", "barrier"):
        row(name, arr((3, 2), dtype), ranks=1)
    for name in ("start_gather", "start_exchange"):
        row(name, arr((2, 3), dtype), ranks=1, tag=0)
    row("rank_broadcast", arr((3, 2), dtype), ranks=1, root=0)
    row("start_swap", arr((2, 3), dtype), ranks=1, distance=0, tag=0)
    row("finish", arr((3, 2), dtype), arr((2,), dtype), ranks=1, tag=0)
row("rank_index", ranks=1)
pointwise("check_index", 1, INTEGERS, (0, 5), size=5)
pointwise("check_exponent", 1, INTEGERS, (0, 5))
pointwise("check_finite", 1, FLOATS)

# Movement.
for dtype in ANY:
    row("reshape", arr((2, 3, 4), dtype), shape=(2, 12))
    row("transpose", arr((2, 3, 4), dtype), perm=(2, 0, 1))
    row("broadcast", arr((3, 2), dtype), shape=(3, 4, 2), axes=(0, 2))
    row("slice", arr((5, 4), dtype), start=(1, 0), stop=(5, 4), step=(2, 1))
    row("reverse", arr((3, 4), dtype), axes=(1,))
    row("pad", arr((2, 3), dtype), low=(1, 0), high=(0, 2), interior=(0, 1), value=dtype == BOOL or 1)
    row("concatenate", arr((2, 3), dtype), arr((2, 1), dtype), axis=1)
for shape, new in (((), (1, 1)), ((1,), ()), ((0, 3), (3, 0, 2)), ((6,), (2, 3)), ((2, 3, 4), (2, 3, 2, 2))):
    row("reshape", arr(shape), shape=new)
for shape, perm in (((), ()), ((3,), (0,)), ((0, 2), (1, 0)), ((2, 1, 3, 2), (3, 1, 0, 2))):
    row("transpose", arr(shape), perm=perm)
for shape, new, axes in (
    ((), (2, 3), ()),
    ((), (), ()),
    ((3,), (2, 3), (1,)),
    ((1,), (1, 4), (0,)),
    ((0,), (0, 3), (0,)),
    ((2,), (2, 0), (0,)),
    ((2, 3), (2, 2, 3, 1), (1, 2)),
):
    row("broadcast", arr(shape), shape=new, axes=axes)
for shape, start, stop, step in (
    ((), (), (), ()),
    ((7,), (2,), (7,), (3,)),
    ((7,), (3,), (3,), (1,)),
    ((0, 2), (0, 1), (0, 2), (1, 1)),
    ((3, 1, 4), (0, 0, 1), (3, 1, 4), (2, 5, 2)),
):
    row("slice", arr(shape), start=start, stop=stop, step=step)
for shape, axes in (((), ()), ((4,), (0,)), ((0, 2), (0,)), ((2, 3, 2), (0, 2)), ((2, 3), ())):
    row("reverse", arr(shape), axes=axes)
for shape, low, high, interior in (
    ((), (), (), ()),
    ((1,), (2,), (0,), (3,)),
    ((0, 2), (1, 0), (1, 0), (2, 0)),
    ((3, 2), (0, 0), (0, 0), (2, 1)),
    ((2, 1, 2, 3), (0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)),
):
    row("pad", arr(shape), low=low, high=high, interior=interior, value=-1.5)
row("pad", arr((2,), F32), low=(1,), high=(1,), interior=(0,), value=float("-inf"))
row("concatenate", arr((3,)), axis=0)
row("concatenate", arr((0, 2)), arr((3, 2)), arr((1, 2)), axis=0)
row("concatenate", arr((2, 2, 1, 3)), arr((2, 0, 1, 3)), arr((2, 1, 1, 3)), axis=1)

# Reductions. Sums of floats may be taken in another order; the largest needs no rounding.
for name, tolerance in (("reduce_sum", SUMMED), ("reduce_prod", SUMMED), ("reduce_max", None), ("reduce_min", None)):
    for dtype in NUMBERS if tolerance else ANY:
        row(name, arr((3, 4), dtype), axes=(1,), tolerance=tolerance)
        row(name, arr((2, 3, 2), dtype), axes=(0, 2), tolerance=tolerance)
    for shape, axes in (
        ((), ()),
        ((5,), (0,)),
        ((2, 3), ()),
        ((1, 4), (0,)),
        ((0, 3), (1,)),
        ((2, 1, 3, 2), (0, 1, 2, 3)),
    ):
        row(name, arr(shape), axes=axes, tolerance=tolerance)
    if tolerance:
        row(name, arr((0, 3)), axes=(0,), tolerance=tolerance)
        row(name, arr((2, 0, 3), F32), axes=(0, 1), tolerance=tolerance)
for name in ("argmax", "argmin"):
    for dtype in ANY:
        row(name, arr((3, 4), dtype, 0, 4), axis=1)
    for shape, axis in (((5,), 0), ((0, 3), 1), ((2, 1, 3, 2), 2), ((4, 1), 1)):
        row(name, arr(shape), axis=axis)
for dtype in NUMBERS:
    row("cumsum", arr((3, 4), dtype), axis=1, reverse=False, tolerance=SUMMED)
    row("cumsum", arr((3, 4), dtype), axis=0, reverse=True, tolerance=SUMMED)
for shape in ((2, 300), (2, 300, 3)):
    row("cumsum", arr(shape, F32), axis=1, reverse=len(shape) == 3, tolerance=SUMMED)
for shape, axis in (((6,), 0), ((0, 2), 0), ((2, 0), 0), ((2, 1, 3, 2), 2)):
    row("cumsum", arr(shape), axis=axis, reverse=shape == (6,), tolerance=SUMMED)

for dtype in NUMBERS:
    row("cumprod", arr((3, 4), dtype), axis=1, tolerance=SUMMED)
for shape, axis in (((6,), 0), ((0, 2), 0), ((2, 0), 0), ((5, 1), 0), ((2, 1, 3, 2), 2)):
    row("cumprod", arr(shape), axis=axis, tolerance=SUMMED)
for shape in ((2, 300), (2, 300, 3)):
    row("cumprod", arr(shape, F32, 0.9, 1.1), axis=1, tolerance=SUMMED, order=0)
for name in ("sort", "argsort"):
    for dtype in ANY:
        row(name, arr((3, 9), dtype, *(() if dtype in FLOATS else (0, 5))), axis=1, descending=dtype in (I64, F32))
    for shape, axis in (((6,), 0), ((1,), 0), ((0, 2), 0), ((2, 0), 0), ((4, 1), 0), ((2, 1, 7, 2), 2), ((300,), 0)):
        # Of many elements some are nearer to each other than a step of finite differences.
        row(name, arr(shape), axis=axis, descending=len(shape) == 2, order=0 if shape == (300,) else 2)
    row(name, arr((3, 70, 2), F32), axis=1, descending=False, order=0)

for dtype in FLOATS:
    row("moments", arr((3, 4), dtype), rows=1, tolerance=SUMMED)
for shape, rows in (((5, 3, 2), 2), ((6,), 1), ((1, 3), 1), ((4, 0), 1), ((2, 3, 4, 5), 3)):
    row("moments", arr(shape), rows=rows, tolerance=SUMMED)

# Matrices, one of them larger than the blocks of LAPACK.
SOLVED = {F32: 1e-4, F64: 1e-11}
for shape in ((3, 3), (1, 1), (0, 0), (4, 1, 1), (2, 0, 3, 3), (2, 1, 2, 2)):
    for dtype in FLOATS:
        row("cholesky", matrix(shape, dtype), tolerance=SOLVED)
        row("slogdet", matrix(shape, dtype), tolerance=SOLVED)
        row("eigh", matrix(shape, dtype), tolerance=SOLVED)
        # The phase of a vector has no derivative, but for those of one element.
        row("eig", matrix(shape, dtype), order=2 * (shape[-1] == 1), tolerance=SOLVED)
        for columns in (2, 1, 0):
            right = arr((*shape[:-1], columns), dtype)
            row("solve", matrix(shape, dtype), right, tolerance=SOLVED)
            row("triangular_solve", matrix(shape, dtype), right, lower=columns == 2, tolerance=SOLVED)
for shape in ((4, 3), (3, 3), (2, 4), (1, 1), (3, 1), (1, 3), (0, 2), (3, 0), (2, 1, 3, 2)):
    for complete in (False, True):  # of rows that complete Q there is no derivative
        smooth = not complete or shape[-2] <= shape[-1]
        row("qr", arr(shape, F32 if shape == (2, 4) else F64), complete=complete, order=2 * smooth, tolerance=SOLVED)
    row("svd", arr(shape, F32 if shape == (2, 4) else F64), tolerance=SOLVED)
    row("lu", arr(shape, F32 if shape == (2, 4) else F64), tolerance=SOLVED)
row("lu", matrix((40, 40)), order=0, tolerance=SOLVED)
row("svd", arr((40, 36)), order=0, tolerance=SOLVED)
row("qr", arr((40, 36)), complete=True, order=0, tolerance=SOLVED)
row("cholesky", matrix((70, 70), F64, 200), order=0, tolerance=SOLVED)
row("eig", matrix((40, 40)), order=0, tolerance=SOLVED)
row("eigh", matrix((40, 40)), order=0, tolerance=SOLVED)
row("slogdet", matrix((2, 9, 9), F64, -5), order=0, tolerance=SOLVED)
row("solve", matrix((9, 9), F64, -3), arr((9, 4)), order=0, tolerance=SOLVED)
row("triangular_solve", matrix((5, 5)), arr((5, 300)), lower=False, order=0, tolerance=SOLVED)

# Contractions.
for dtype in NUMBERS:
    row("dot", arr((3, 4), dtype), arr((4, 2), dtype), contract=((1,), (0,)), batch=((), ()), tolerance=SUMMED)
    operands = arr((3, 4), dtype), arr((4, 2), dtype), arr((3, 2), dtype)
    row("dot_add", *operands, contract=((1,), (0,)), batch=((), ()), tolerance=SUMMED)
for x, y, contract, batch in (
    ((), (), ((), ()), ((), ())),
    ((3,), (3,), ((0,), (0,)), ((), ())),
    ((3,), (2,), ((), ()), ((), ())),
    ((3,), (3,), ((), ()), ((0,), (0,))),
    ((3, 4), (4,), ((1,), (0,)), ((), ())),
    ((4, 3), (2, 4), ((0,), (1,)), ((), ())),
    ((2, 0), (0, 3), ((1,), (0,)), ((), ())),
    ((0, 2), (2, 3), ((1,), (0,)), ((), ())),
    ((1, 1), (1, 1), ((1,), (0,)), ((), ())),
    ((2, 3, 4), (2, 4, 2), ((2,), (1,)), ((0,), (0,))),
    ((4, 2, 3), (3, 5, 4), ((2,), (0,)), ((0,), (2,))),
    ((2, 3, 4), (4, 3, 2), ((0, 2), (2, 0)), ((), ())),
    ((2, 3, 4), (3, 2, 4), ((1, 0), (0, 1)), ((2,), (2,))),
    ((2, 3, 2, 4), (3, 4, 2, 2), ((3,), (1,)), ((1, 0), (0, 3))),
):
    row("dot", arr(x), arr(y), contract=contract, batch=batch, tolerance=SUMMED)
    product = OPS["dot"].infer(spec(x, F64), spec(y, F64), contract=contract, batch=batch)
    assert isinstance(product, ArrayType)
    row("dot_add", arr(x), arr(y), arr(product.shape), contract=contract, batch=batch, tolerance=SUMMED)
for parts, dtype in ((1, F32), (4, F32), (2, F64)):
    row("dot_parts", arr((3, 8), dtype), arr((8, 2), dtype), parts=parts, tolerance=SUMMED)
row("dot_parts", arr((3, 0)), arr((0, 2)), parts=2, tolerance=SUMMED)

# Convolutions: the shapes of x and w, then stride, low, high, dilation, expand along each axis, and groups.
for x, w, window, groups in (
    ((2, 3, 4, 2), (3, 2, 2, 2), ((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
    ((2, 5, 4, 3), (2, 3, 3, 3), ((2, 1), (1, 1), (1, 1), (1, 1), (1, 1)), 1),
    ((1, 6, 3), (4, 3, 3), ((1,), (2,), (1,), (2,), (1,)), 1),
    ((2, 3, 3, 4), (6, 2, 3, 2), ((1, 2), (1, 0), (2, 1), (1, 1), (1, 1)), 2),
    ((2, 4, 3, 3), (3, 1, 3, 3), ((1, 1), (1, 1), (1, 1), (1, 1), (1, 1)), 3),
    ((1, 3, 3, 2), (4, 1, 2, 2), ((2, 1), (0, 1), (1, 0), (1, 2), (1, 1)), 2),
    ((2, 3, 2, 2), (3, 2, 3, 3), ((1, 1), (2, 1), (2, 1), (1, 1), (2, 1)), 1),
    ((1, 3, 4, 1), (2, 1, 2, 3), ((2, 3), (1, 2), (3, 2), (3, 2), (3, 2)), 1),
    ((1, 5, 5, 1), (1, 1, 2, 2), ((1, 1), (-1, 1), (-2, -1), (1, 1), (1, 1)), 1),
    ((1, 1, 1, 2), (2, 2, 1, 1), ((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
    ((1, 1, 1, 1), (2, 1, 5, 5), ((1, 1), (2, 2), (2, 2), (1, 1), (1, 1)), 1),
    ((2, 3, 3, 2), (2, 2, 1, 1), ((2, 2), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
    ((3, 2), (4, 2), ((), (), (), (), ()), 1),
    ((1, 2, 3, 2, 2), (2, 2, 2, 2, 1), ((1, 1, 2), (1, 0, 0), (0, 0, 0), (1, 1, 1), (1, 1, 1)), 1),
    ((0, 3, 3, 2), (2, 2, 2, 2), ((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
    ((1, 0, 3, 2), (2, 2, 2, 2), ((1, 1), (1, 0), (1, 0), (1, 1), (1, 1)), 1),
    ((1, 3, 3, 0), (2, 0, 2, 2), ((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
    ((1, 3, 3, 2), (0, 2, 2, 2), ((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)), 1),
):
    attrs = {**dict(zip(("stride", "low", "high", "dilation", "expand"), window, strict=True)), "groups": groups}
    for dtype in FLOATS:
        result = OPS["conv"].infer(spec(x, dtype), spec(w, dtype), **attrs)
        assert isinstance(result, ArrayType)
        row("conv", arr(x, dtype), arr(w, dtype), **attrs, tolerance=SUMMED)
        row("conv_add", arr(x, dtype), arr(w, dtype), arr(result.shape, dtype), **attrs, tolerance=SUMMED)
        more = {"kernel": w[2:], **attrs}
        operands = arr(x, dtype), arr(result.shape, dtype)
        row("conv_weight_gradient", *operands, **more, tolerance=SUMMED)
        row("conv_weight_gradient_add", *operands, arr(w, dtype), **more, tolerance=SUMMED)

# Indexing.
for dtype in ANY:
    row("gather", arr((5, 2), dtype), arr((3,), I64, 0, 5), axis=0, batch=0)
    one_dtype = (arr((5, 2), dtype), arr((3,), I64, 0, 5), arr((3, 2), dtype))
    row("scatter_set", *one_dtype, axis=0, batch=0)
    for name in ("scatter_mul", "scatter_max", "scatter_min") if dtype != BOOL else ():
        row(name, *one_dtype, axis=0, batch=0, order=1 + (name == "scatter_mul"))
    if dtype != BOOL:
        row(
            "scatter_add",
            arr((5, 2), dtype),
            arr((3,), I64, 0, 5),
            arr((3, 2), dtype),
            axis=0,
            batch=0,
            tolerance=SUMMED,
        )
for dtype, entries in ((F32, 3), (F32, 40), (F64, 3)):
    # More updates than are added one after the other.
    updates = arr((100, 2), dtype)
    row("scatter_add", arr((entries, 2), dtype), arr((100,), I64, -2, 3), updates, axis=0, batch=0, tolerance=SUMMED)
for x, indices, index_dtype, low, axis, batch in (
    ((4,), (), I64, 0, 0, 0),
    ((4,), (2, 3), I32, -4, 0, 0),
    ((2, 4), (3,), U8, 0, 1, 0),
    ((2, 4, 2), (2, 3), I64, -4, 1, 1),
    ((2, 3, 4), (2, 2), I64, 0, 2, 1),
    ((2, 3, 4), (2, 3), I32, 0, 2, 2),
    ((2, 3, 2, 4), (2, 1, 2), I64, 0, 3, 1),
    ((4, 0), (3,), I64, 0, 0, 0),
    ((4, 2), (0,), I64, 0, 0, 0),
    ((0, 2), (0,), I64, 0, 0, 0),
):
    many = arr(indices, index_dtype, low, 4)
    updates = OPS["gather"].infer(spec(x, F64), many.type, axis=axis, batch=batch)
    assert isinstance(updates, ArrayType)
    row("gather", arr(x), many, axis=axis, batch=batch)
    row("scatter_add", arr(x), many, arr(updates.shape), axis=axis, batch=batch, tolerance=SUMMED)
    row("scatter_set", arr(x), many, arr(updates.shape), axis=axis, batch=batch)
    row("scatter_mul", arr(x), many, arr(updates.shape), axis=axis, batch=batch, tolerance=SUMMED)
    row("scatter_max", arr(x), many, arr(updates.shape), axis=axis, batch=batch, order=1)
for dtype in ANY:
    row("dynamic_slice", arr((5, 2), dtype), arr((), I64, 0, 4), size=2, axis=0, batch=0)
    row("dynamic_update_slice", arr((5, 2), dtype), arr((), I64, 0, 4), arr((2, 2), dtype), axis=0, batch=0)
for x, starts, size, axis, batch in (
    ((4,), (-2, 7), 3, 0, 0),
    ((4,), (1, 2), 0, 0, 0),
    ((4, 1), (1, 2), 4, 0, 0),
    ((3, 4, 2), (0, 3), 2, 1, 0),
    ((3, 4, 2), (-1, 4), 2, 1, 1),
    ((2, 3, 1, 5), (0, 5), 1, 3, 2),
    ((2, 3, 4), (0, 3), 2, 2, 1),
    ((0, 3), (0, 3), 2, 1, 1),
    ((3, 0), (0, 3), 2, 0, 0),
):
    at = arr(x[:batch], I64, *starts)
    row("dynamic_slice", arr(x), at, size=size, axis=axis, batch=batch)
    row("dynamic_update_slice", arr(x), at, arr((*x[:axis], size, *x[axis + 1 :])), axis=axis, batch=batch)

# Creation.
for dtype in PLAIN:
    row("full", value=dtype.type(1).item(), shape=(2, 3), dtype=dtype)
    row("constant", value=np.array([[0, 1, 1], [1, 0, 1]], dtype))
    if dtype.name != BOOL:
        row("iota", shape=(3, 4), axis=1, dtype=dtype)
for value in (float("nan"), float("-inf"), -0.0, 1e-310):
    row("full", value=value, shape=(), dtype=np.dtype(F64))
row("full", value=2**62 + 1, shape=(0, 2), dtype=np.dtype(I64))
row("constant", value=np.arange(60.0).reshape(3, 20))
row("constant", value=np.zeros((0, 2), F32))
row("constant", value=np.array([np.nan, np.inf, -0.0, 1e-45], F32))
row("iota", shape=(2, 1, 3, 2), axis=2, dtype=np.dtype(I64))
row("iota", shape=(0,), axis=0, dtype=np.dtype(F32))
for dtype in (I32, I64):
    for shape, stream in (((2, 3), 0), ((), 1), ((0,), 2), ((33,), 2**63)):
        attrs = {"shape": shape, "dtype": np.dtype(dtype), "stream": stream}
        row("random_bits", arr((), I64, 0, 1000), **attrs)
        row("random_bits", arr((), I64, 0, 1000), arr((), I64, 0, 1000), **attrs)
    attrs = {"shape": (4, 3, 5), "dtype": np.dtype(dtype), "stream": 5}
    row("random_bits", arr((), I64, 0, 1000), arr((), I64, 0, 1000), **attrs, run=15, apart=40)

# Windows: (shape, axes, size, stride, low, high, dilation), channels-last and channels-first, one to three axes.
WINDOWS = (
    ((5,), (0,), (2,), (2,), (0,), (0,), (1,)),
    ((1, 1), (0,), (1,), (1,), (0,), (0,), (1,)),
    ((0, 4, 3), (1,), (3,), (1,), (1,), (1,), (1,)),
    ((2, 5, 6, 3), (1, 2), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    ((2, 4, 5, 2), (1, 2), (2, 3), (1, 1), (0, 1), (1, 1), (1, 2)),
    ((2, 3, 6, 5), (2, 3), (2, 2), (2, 2), (0, 0), (0, 1), (1, 1)),
    ((2, 2, 5), (2,), (2,), (3,), (0,), (2,), (2,)),
    ((1, 1, 1, 2), (1, 2), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    ((2, 1, 1), (1,), (2,), (1,), (1,), (1,), (2,)),
    ((1, 3, 2, 4, 2), (1, 2, 3), (2, 1, 3), (1, 2, 2), (0, 0, 1), (1, 0, 0), (1, 1, 1)),
)
for shape, *window in WINDOWS:
    names = ("axes", "size", "stride", "low", "high", "dilation")
    attrs: dict[str, Any] = dict(zip(names, window))
    for dtype in FLOATS:
        x = arr(shape, dtype)
        windows = OPS["window_sum"].infer(x.type, **attrs)
        assert isinstance(windows, ArrayType)
        places = arr(windows.shape, U8, 0, int(np.prod(attrs["size"])))
        lengths = tuple(shape[a] for a in attrs["axes"])
        row("window_sum", x, tolerance=SUMMED, **attrs)
        # The largest of nothing is -inf, which finite differences cannot take.
        row("window_max", x, order=0 if shape == (2, 1, 1) else 2, **attrs)
        row("window_find", x, arr(windows.shape, dtype), **attrs)
        row("window_pick", x, places, outside=-1.5, **attrs)
        row("window_spread", arr(windows.shape, dtype), tolerance=SUMMED, lengths=lengths, **attrs)
        row("window_put", arr(windows.shape, dtype), places, tolerance=SUMMED, lengths=lengths, **attrs)
wide: dict[str, Any] = {"axes": (0, 1), "size": (17, 16), "stride": (2, 1), "low": (0, 0), "high": (0, 0)}
row("window_find", arr((19, 17)), arr((2, 2)), dilation=(1, 1), **wide)
row("window_pick", arr((19, 17)), arr((2, 2), I32, 0, 272), dilation=(1, 1), outside=0.0, **wide)

# bfloat16: what float32 has, two rows an op; and casts from and to every dtype.


# Transforms, whose numbers are planes of real and imaginary parts.
for dtype in FLOATS:
    row("fft", arr((2, 3, 4), dtype), axis=2, plane=0, inverse=False, tolerance=SUMMED)
    row("fft", arr((3, 2, 2, 5, 2), dtype), axis=3, plane=1, inverse=True, tolerance=SUMMED)
    row("fft", arr((2, 67), dtype), axis=1, plane=0, inverse=False, tolerance=SUMMED, order=1)
    row("fft", arr((2, 6, 9), dtype), axis=1, plane=0, inverse=True, tolerance=SUMMED, order=1)
    row("fft", arr((2, 1, 0), dtype), axis=1, plane=0, inverse=False)
    for length in (1, 6, 7):
        row("rfft", arr((3, length), dtype), axis=1, plane=0, tolerance=SUMMED)
        row("irfft", arr((2, length // 2 + 1, 2), dtype), axis=1, plane=0, length=length, tolerance=SUMMED)
    row("rfft", arr((2, 3, 4, 2), dtype), axis=2, plane=1, tolerance=SUMMED)
    row("irfft", arr((3, 2, 3), dtype), axis=2, plane=1, length=4, tolerance=SUMMED)


def _in_bfloat16(x: Any) -> Any:
    """An input, or an attribute, with bfloat16 where it has float32."""
    if isinstance(x, In):
        return In(_in_bfloat16(x.type), x.low, x.high, x.diagonal)
    if isinstance(x, ArrayType):
        return ArrayType(x.shape, BFLOAT16) if x.dtype == F32 else x
    if isinstance(x, np.ndarray):
        return x.astype(BFLOAT16) if x.dtype == F32 else x
    return BFLOAT16 if isinstance(x, np.dtype) and x == F32 else x


def _bfloat16_cases() -> list[OpCase]:
    cases: list[OpCase] = []
    of_op: dict[str, int] = {}
    for case in CASES:
        inputs = tuple(map(_in_bfloat16, case.inputs))
        attrs = {name: _in_bfloat16(value) for name, value in case.attrs.items()}
        changed = inputs != case.inputs or any(attrs[name] is not case.attrs[name] for name in attrs)
        if changed and of_op.setdefault(case.name, 0) < 2:
            of_op[case.name] += 1
            # A last bit of float32 may round to another bfloat16.
            cases.append(OpCase(case.name, inputs, attrs, 0, 2**-7 if case.tolerance else 0, next(_numbers)))
    for dtype in (*PLAIN, BFLOAT16):
        attrs = {"dtype": dtype}
        cases.append(OpCase("cast", (In(spec((3, 7), BFLOAT16), -90, 90),), attrs, 0, 0, next(_numbers)))
        if dtype != BFLOAT16:
            kind = arr((3, 7), dtype.name, -90 if is_float(dtype) else -2, 90 if is_float(dtype) else 2)
            cases.append(OpCase("cast", (kind,), {"dtype": BFLOAT16}, 0, 0, next(_numbers)))
    return cases


BFLOAT16_CASES = _bfloat16_cases()


def _in_complex(x: Any) -> Any:
    """An input, a type, a dtype or an array of floats as one of complex numbers."""
    if isinstance(x, In):
        return In(_in_complex(x.type), x.low, x.high)
    if isinstance(x, ArrayType):
        return ArrayType(x.shape, _in_complex(x.dtype))
    if isinstance(x, np.ndarray):
        return x.astype(_in_complex(x.dtype)) * (1 - 2j) if x.dtype in FLOATS else x
    return complex_dtype(x) if isinstance(x, np.dtype) and x in FLOATS else x


def _complex_cases() -> list[OpCase]:
    """Rows of the ops of real numbers that take complex ones too, and those of the family `complex`."""
    cases: list[OpCase] = []
    of_op: dict[tuple[str, Any], int] = {}
    for case in CASES:
        inputs = tuple(map(_in_complex, case.inputs))
        attrs = {name: _in_complex(value) for name, value in case.attrs.items()}
        if case.op.parts is None or (inputs == case.inputs and all(attrs[n] is case.attrs[n] for n in attrs)):
            continue
        key = (case.name, case.types[0].dtype if case.types else None)
        try:
            case.op.infer(*(i.type for i in inputs), **attrs)
        except TypeRuleError:
            continue  # a cast to integers
        if of_op.setdefault(key, 0) < 3:
            of_op[key] += 1
            cases.append(OpCase(case.name, inputs, attrs, 0, 1e-5 if "float32" in str(key) else 1e-12, next(_numbers)))
    for dtype, part in (("complex64", F32), ("complex128", F64)):
        for shape in ((3, 4), (), (0, 2)):
            for name in ("real", "imag", "conj"):
                cases.append(OpCase(name, (arr(shape, dtype),), {}, 0, 0, next(_numbers)))
            for plane in sorted({0, len(shape)}):
                both = (*shape[:plane], 2, *shape[plane:])
                cases.append(OpCase("planes", (arr(shape, dtype),), {"plane": plane}, 0, 0, next(_numbers)))
                cases.append(OpCase("from_planes", (arr(both, part),), {"plane": plane}, 0, 0, next(_numbers)))
            cases.append(OpCase("complex", (arr(shape, part), arr(shape, part)), {}, 0, 0, next(_numbers)))
            cases += [
                OpCase("cast", (arr(shape, given),), {"dtype": np.dtype(wanted)}, 0, 0, next(_numbers))
                for given, wanted in ((dtype, BOOL), (dtype, "complex64"), (part, dtype), (I32, dtype), (BOOL, dtype))
            ]
            cases.append(
                OpCase("full", (), {"value": 2 - 0.5j, "shape": shape, "dtype": np.dtype(dtype)}, 0, 0, next(_numbers))
            )
    return cases


COMPLEX_CASES = _complex_cases()
