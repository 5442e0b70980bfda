"""What every function does first: operands brought to one dtype and one shape, by explicit nodes where needed."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import Array, DType, Op, Value, as_dtype
from ...ir.ops import elementwise as ew
from ...ir.ops import movement
from ..tracing.float_argument import FloatArgument
from ..tracing.keywords import tells_keywords
from ..tracing.mutable_arrays import Memory, as_view
from ..tracing.promotion import Key, ufunc_dtypes
from ..tracing.tracer import (
    ArrayLike,
    ShapeError,
    Trace,
    Tracer,
    TracingError,
    as_array,
    as_operand,
    emit,
    fresh,
    located,
    trace_of,
)


def shape_of(x: ArrayLike) -> tuple[int, ...]:
    """The shape of an operand."""
    if isinstance(x, Tracer):
        return x.value.type.shape
    return x.shape if isinstance(x, np.ndarray) else ()


def dtype_of(x: ArrayLike) -> DType:
    """The dtype of an operand; a Python number has NumPy's default for it."""
    if isinstance(x, Tracer):
        return x.value.type.dtype
    return as_array(x).dtype


def key_of(x: ArrayLike) -> Key:
    """What promotion looks at: the dtype of an array, the type of a weak Python int or float."""
    if isinstance(x, FloatArgument):
        return float
    if isinstance(x, Tracer):
        return x.value.type.dtype
    if isinstance(x, np.ndarray):
        return x.dtype
    return np.dtype(bool) if isinstance(x, bool) else type(x)


def described(x: ArrayLike) -> str:
    """Shape and dtype for messages."""
    return f"{shape_of(x)} {dtype_of(x)}" if isinstance(x, (Tracer, np.ndarray)) else repr(x)


def as_arraylike(x: ArrayLike) -> ArrayLike:
    """`x` as a `Tracer` or an array."""
    x = as_operand(x)
    if isinstance(x, FloatArgument):
        return Tracer(x.owner, x.value)
    return x if isinstance(x, Tracer) else as_array(x)


def dtype_argument(dtype: Any) -> DType:
    """A dtype that the user wrote. Raises `TypeError` with the user's line for an unsupported one."""
    try:
        return as_dtype(dtype)
    except TypeError as error:
        raise TypeError(located(str(error))) from None


def integer(value: Any, what: str) -> int:
    """A static integer. Raises `TracingError` for a traced one, `TypeError` for what is no integer."""
    if isinstance(value, Tracer):
        raise TracingError(located(f"{what} must be known while tracing, got a traced array; derive it from x.shape"))
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(located(f"{what} must be an integer, got {value!r}")) from None


def axis_index(axis: Any, ndim: int) -> int:
    """`axis` counted from 0. Raises NumPy's `AxisError` (a `ValueError` and `IndexError`) where there is none such."""
    index = integer(axis, "an axis")
    if not -ndim <= index < ndim:
        raise np.exceptions.AxisError(located(f"axis {index} is out of bounds for an array of {ndim} dimensions"))
    return index % ndim


def axes_tuple(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes of `None` (all), an integer or a tuple, increasing. Raises `AxisError`; `ShapeError` for a repeated axis."""
    if axis is None:
        return tuple(range(ndim))
    axes = [axis_index(a, ndim) for a in axis] if isinstance(axis, (tuple, list)) else [axis_index(axis, ndim)]
    if len(set(axes)) != len(axes):
        raise ShapeError(located(f"axis {axis} names an axis twice"))
    return tuple(sorted(axes))


def viewing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that rearranges its first argument: its results are views, or copies where they are in NumPy."""

    @functools.wraps(function)
    def result_of(x: ArrayLike, /, *args: Any, **kwargs: Any) -> Any:
        result = function(x, *args, **kwargs)
        if not isinstance(x, Tracer):
            return result
        if isinstance(result, (list, tuple)):
            return type(result)(as_view(x, part) if part.shape else part for part in result)
        return as_view(x, result)

    return result_of


def read_only(x: ArrayLike) -> ArrayLike:
    """`x` as an array that is not to be written to, as those are that NumPy broadcasts."""
    if not isinstance(x, Tracer):
        return x
    result = Tracer(x.owner, x.value)
    result.memory = Memory(result.value, "it was broadcast, and several of its elements may be one")
    return result


def copying(function: Callable[..., Any], never_a_scalar: bool = False) -> Callable[..., Any]:
    """A function whose results share no memory with its arguments, where it has nothing to do either."""

    function = tells_keywords(function)

    @functools.wraps(function)
    def result_of(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, Tracer):
            result = _own_copy(result, args)
            return with_memory(result) if never_a_scalar else result
        if not isinstance(result, tuple):
            return result
        parts = [_own_copy(part, args) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)

    return result_of


def _own_copy(result: ArrayLike, args: Sequence[Any]) -> ArrayLike:
    if not isinstance(result, (Tracer, np.ndarray)):
        return result  # a length or a dtype
    for arg in args:
        for part in arg if isinstance(arg, (list, tuple)) else (arg,):
            if part is result or (
                isinstance(part, Tracer)
                and isinstance(result, Tracer)
                and part.memory is not None
                and part.memory is result.memory
            ):
                return fresh(result)
    return result


def with_memory(x: ArrayLike) -> ArrayLike:
    """`x` as an array, also where it has no axes: `+=` writes to such an array, and makes of a scalar another one."""
    if isinstance(x, Tracer) and not x.shape:
        x = Tracer(x.owner, x.value)
        x.memory = Memory(x.own_value)
    return x


def cast(x: ArrayLike, dtype: DType) -> ArrayLike:
    """`x` as `dtype`; `x` itself where it is that already."""
    if isinstance(x, Tracer):
        return x if x.value.type.dtype == dtype else emit(ew.cast, x, dtype=dtype)
    array = as_array(x)
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        return np.asarray(ew.cast.reference(array, dtype=dtype))


def reshaped(x: ArrayLike, shape: Sequence[int]) -> ArrayLike:
    """`x` in another shape of as many elements; `x` itself, or what it was reshaped from, where that has the shape."""
    shape = tuple(shape)
    if not isinstance(x, Tracer):
        return as_array(x).reshape(shape)
    if x.value.type.shape == shape:
        return x
    value: Value = x.value
    while value.node is not None and value.node.op is movement.reshape:
        value = value.node.inputs[0]
    origin = Tracer(x.owner, value)
    return origin if value.type.shape == shape else emit(movement.reshape, origin, shape=shape)


def transposed(x: ArrayLike, perm: Sequence[int]) -> ArrayLike:
    """`x` with its axes permuted; nothing is emitted for the identity."""
    perm = tuple(int(p) for p in perm)
    if perm == tuple(range(len(perm))):
        return x
    if not isinstance(x, Tracer):
        return as_array(x).transpose(perm)
    return emit(movement.transpose, x, perm=perm)


def stretched(x: ArrayLike, shape: tuple[int, ...]) -> ArrayLike:
    """`x` broadcast to `shape`, which NumPy's rules allow."""
    if not isinstance(x, Tracer):
        return np.broadcast_to(as_array(x), shape)
    mine = x.value.type.shape
    if mine == shape:
        return x
    offset = len(shape) - len(mine)
    axes = tuple(i for i in range(len(mine)) if mine[i] == shape[offset + i])
    # Lengths of 1 that are repeated go first: the op repeats along new axes only.
    kept = reshaped(x, tuple(mine[i] for i in axes))
    places = tuple(offset + i for i in axes)
    if all(n == 1 for i, n in enumerate(shape) if i not in places):
        return reshaped(kept, shape)
    return emit(movement.broadcast, kept, shape=shape, axes=places)


def common_shape(what: str, operands: Sequence[ArrayLike]) -> tuple[int, ...]:
    """The shape that all operands broadcast to. Raises `ShapeError` that shows them."""
    first = shape_of(operands[0])
    if all(shape_of(x) == first for x in operands[1:]):
        return first
    try:
        return np.broadcast_shapes(*map(shape_of, operands))
    except ValueError:
        shown = " and ".join(described(x) for x in operands)
        raise ShapeError(located(f"{what}: {shown} do not broadcast together")) from None


def broadcasts_to(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether `shape` broadcasts to `wanted`, which stays as it is."""
    try:
        return np.broadcast_shapes(tuple(shape), tuple(wanted)) == tuple(wanted)
    except ValueError:
        return False


def fitted(x: ArrayLike, dtype: DType, shape: tuple[int, ...], trace: Trace | None) -> ArrayLike:
    """An operand as `dtype` in `shape`: traced where `trace` is given, an array where not."""
    if isinstance(x, Tracer):
        return stretched(cast(x, dtype), shape)
    if trace is None:
        if not isinstance(x, np.ndarray):
            x = exact_scalar(x, dtype)
        return np.broadcast_to(cast(x, dtype), shape)
    if not isinstance(x, np.ndarray):
        return trace.full(x, shape, dtype)
    if x.size == 1:
        filled = trace.full(cast(x, dtype).item(), shape, dtype)
        if x.dtype == dtype == np.dtype("float64"):
            trace.doubles.add(filled.value)
        return filled
    return stretched(trace.constant(x, dtype), shape)


def exact_scalar(x: Any, dtype: DType) -> Array:
    """A Python number as a 0-d array of `dtype`. Raises `OverflowError` where an integer does not fit."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(dtype.type(x))
    except OverflowError as error:
        raise OverflowError(located(str(error))) from None


def loop_dtypes(
    ufunc: np.ufunc, operands: Sequence[ArrayLike], dtype: Any = None, casting: str = "same_kind"
) -> tuple[DType, ...]:
    """The dtypes that `ufunc` computes with, and gives. Raises `TracingError` where it does not take the operands."""
    wanted = None if dtype is None else dtype_argument(dtype)
    try:
        return ufunc_dtypes(ufunc, *map(key_of, operands), dtype=wanted, casting=casting)
    except ValueError as error:
        raise ValueError(located(str(error))) from None
    except TypeError as error:
        shown = ", ".join(described(x) for x in operands)
        raise TracingError(located(f"np.{ufunc.__name__} does not take {shown}: {error}")) from None


def apply(op: Op, ufunc: np.ufunc, *arguments: ArrayLike, bool_op: Op | None = None) -> ArrayLike:
    """An element-wise op on operands promoted as for `ufunc` and broadcast; `bool_op` takes its place for bools."""
    operands = [as_operand(x) for x in arguments]
    dtypes = loop_dtypes(ufunc, operands)
    shape = common_shape(f"np.{ufunc.__name__}", operands)
    trace = trace_of(operands)
    if bool_op is not None and dtypes[0].kind == "b":
        op = bool_op
    return emit(op, *(fitted(x, d, shape, trace) for x, d in zip(operands, dtypes)))
