"""Functions that make arrays. Without traced operands they give NumPy arrays, which become constants where used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ...ir import is_float
from ...ir.ops import elementwise as ew
from ..tracing.known_array import KnownArray
from ..tracing.promotion import result_dtype
from ..tracing.tracer import ArrayLike, Tracer, as_array, as_operand, current_trace, emit, fresh, located, trace_of
from . import elementwise as e
from .broadcasting import (
    as_arraylike,
    axis_index,
    cast,
    described,
    dtype_argument,
    dtype_of,
    integer,
    key_of,
    reshaped,
    shape_of,
)
from .comparison import equal
from .elementwise import astype, broadcast_arrays
from .manipulation import broadcast_to, expand_dims, moveaxis, stack
from .namespace_info import check_device


def _known(array: Any) -> Any:
    """Inside a trace, a NumPy array that takes traced indices."""
    return array.view(KnownArray) if type(array) is np.ndarray and current_trace() is not None else array


def _made_by(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        try:
            return _known(function(*args, **kwargs))
        except (TypeError, ValueError) as error:
            dtype = kwargs.get("dtype", args[1] if len(args) > 1 and isinstance(args[1], str) else None)
            if dtype is not None:
                dtype_argument(dtype)
            raise type(error)(located(f"np.{function.__name__}: {error}")) from None

    return make


arange, empty, eye, identity, ones, tri, zeros, indices = map(
    _made_by, (np.arange, np.empty, np.eye, np.identity, np.ones, np.tri, np.zeros, np.indices)
)


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """`function(i, j, ..., **kwargs)` of the indices of an array of `shape`, each an array of that shape and dtype."""
    return function(*indices(shape, dtype=dtype), **kwargs)


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`base` to the powers of `linspace(start, stop, num)`."""
    found = e.pow(base, linspace(start, stop, num, endpoint=endpoint, axis=axis))
    return found if dtype is None else astype(found, dtype)


def geomspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` numbers of one sign from `start` to `stop`, each the same multiple of the one before."""
    start, stop = (cast(as_arraylike(x), np.dtype("float64")) for x in (start, stop))
    logs = [e.log10(e.abs(x)) for x in (start, stop)]
    found = e.multiply(e.sign(start), logspace(*logs, num=num, endpoint=endpoint, axis=axis))
    return found if dtype is None else astype(found, dtype)


def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: str | None = None,
) -> Any:
    """`num` numbers from `start` to `stop`, which may be traced, in equal steps along a new axis `axis`."""
    check_device(device)
    if not isinstance(start, Tracer) and not isinstance(stop, Tracer):
        concrete: Any = np.linspace
        return _known(concrete(start, stop, num, endpoint, retstep, dtype, axis))
    num = integer(num, "np.linspace: num")
    if num < 0:
        raise ValueError(located(f"np.linspace: num is 0 or more, got {num}"))
    ends = [as_operand(start), as_operand(stop)]
    wide = result_dtype(*map(key_of, ends), float)
    start, stop = broadcast_arrays(*(cast(as_arraylike(end), wide) for end in ends))
    parts = num - 1 if endpoint else num
    step = e.divide(e.subtract(stop, start), parts) if parts > 0 else e.multiply(start, np.nan)
    places = np.arange(num, dtype=dtype_of(step)).reshape(-1, *(1,) * len(shape_of(step)))
    y = e.add(e.multiply(places, step if parts > 0 else e.subtract(stop, start)), start)
    if endpoint and num > 1:  # exactly, whatever the steps round to
        y = e.where(places == num - 1, stop, y)
    if axis != 0:
        y = moveaxis(y, 0, axis)
    if dtype is not None:
        y = astype(e.floor(y) if dtype_argument(dtype).kind in "iu" else y, dtype)
    return (y, step if parts > 0 else np.array(np.nan)) if retstep else y


def full(shape: Any, fill_value: ArrayLike, dtype: Any = None, *, device: str | None = None) -> Any:
    """An array filled with a number, which may be traced."""
    check_device(device)
    if not isinstance(fill_value, Tracer):
        return _known(np.full(shape, fill_value, dtype))
    return fresh(broadcast_to(fill_value if dtype is None else astype(fill_value, dtype), shape))


def full_like(
    x: ArrayLike, /, fill_value: ArrayLike, dtype: Any = None, *, shape: Any = None, device: str | None = None
) -> Any:
    """An array of the shape and dtype of `x` filled with a number, which may be traced."""
    check_device(device)
    x = as_arraylike(x)
    wanted = dtype_of(x) if dtype is None else dtype_argument(dtype)
    lengths = shape_of(x) if shape is None else tuple(np.atleast_1d(shape).tolist())
    if isinstance(fill_value, Tracer) or np.ndim(fill_value):
        return fresh(broadcast_to(cast(as_arraylike(fill_value), wanted), lengths))
    trace = trace_of([x])
    return trace.full(fill_value, lengths, wanted) if trace else _known(np.full(lengths, fill_value, wanted))


def zeros_like(x: ArrayLike, /, dtype: Any = None, *, shape: Any = None, device: str | None = None) -> Any:
    """Zeros of the shape and dtype of `x`."""
    return full_like(x, 0, dtype, shape=shape, device=device)


def ones_like(x: ArrayLike, /, dtype: Any = None, *, shape: Any = None, device: str | None = None) -> Any:
    """Ones of the shape and dtype of `x`."""
    return full_like(x, 1, dtype, shape=shape, device=device)


def empty_like(x: ArrayLike, /, dtype: Any = None, *, shape: Any = None, device: str | None = None) -> Any:
    """Zeros of the shape and dtype of `x`: nothing is left undefined."""
    return full_like(x, 0, dtype, shape=shape, device=device)


def asarray(obj: Any, /, dtype: Any = None, *, device: str | None = None, copy: bool | None = None) -> Any:
    """An array: a traced one as it is, nested sequences of traced ones stacked, all else as NumPy makes it.

    Inside a trace, what NumPy makes takes traced indices: `asarray(table)[i]`.
    """
    check_device(device)
    if isinstance(obj, Tracer):
        if dtype is None and not copy:
            return obj
        wanted = dtype_of(obj) if dtype is None else dtype_argument(dtype)
        if copy is False and wanted != dtype_of(obj):
            raise ValueError(located(f"np.asarray: copy=False makes no {wanted} of {described(obj)}; leave it away"))
        return astype(obj, wanted, copy=copy is not False)
    if isinstance(obj, (list, tuple)) and any(isinstance(leaf, Tracer) for leaf in optree.tree_leaves(obj)):  # pyright: ignore[reportArgumentType]
        return fresh(stack([asarray(part) for part in obj], dtype=dtype))
    return _known(as_array(np.array(obj, dtype, copy=copy)))


array = asarray


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Any:
    """A NumPy array in the memory of what exports it by DLPack, as a tensor of torch's on the CPU does.

    A traced array is given as it is, or copied. Raises `TypeError` for a dtype that is not there.
    """
    check_device(device)
    if isinstance(x, Tracer):
        return fresh(x) if copy else x
    if not hasattr(x, "__dlpack__"):
        what = f"np.from_dlpack takes an array of a library that exports DLPack, got a {type(x).__name__}"
        raise TypeError(located(f"{what}; write np.asarray(x)"))
    return _known(as_array(np.from_dlpack(x, copy=copy)))


def asanyarray(a: Any, /, dtype: Any = None) -> Any:
    """See `asarray`."""
    return asarray(a, dtype)


def ascontiguousarray(a: Any, /, dtype: Any = None) -> Any:
    """`asarray` with one axis at least; the order in memory is the program's choice."""
    x = asarray(a, dtype)
    return x if shape_of(x) else reshaped(x, (1,))


def asfortranarray(a: Any, /, dtype: Any = None) -> Any:
    """`asarray`, and a copy of what has two axes or more; the order in memory is the program's choice."""
    x = asarray(a, dtype)
    return emit(ew.copy, x) if isinstance(x, Tracer) and x.ndim > 1 else x


def asarray_chkfinite(a: Any, /, dtype: Any = None) -> Any:
    """`asarray`, whose floats are finite: of a traced one a run raises `FloatingPointError` where they are not, of
    another it is NumPy's `ValueError`.
    """
    x = asarray(a, dtype)
    if not isinstance(x, Tracer):
        return np.asarray_chkfinite(x)
    return emit(ew.check_finite, x) if is_float(x.dtype) else x


def one_hot(x: ArrayLike, num_classes: int, *, dtype: Any = "float32", axis: int = -1) -> Any:
    """1 at the place of each class along a new `axis` of length `num_classes`, 0 elsewhere, as `jax.nn.one_hot`.

    A class that is negative, or `num_classes` or more, gives zeros alone. Raises `TypeError` for classes that are no
    integers. (`nn.one_hot` is torch's: it gives int64, and refuses such classes.)
    """
    classes = as_arraylike(x)
    if dtype_of(classes).kind not in "iu":
        raise TypeError(located(f"one_hot: classes are integers, got {described(classes)}; write x.astype('int64')"))
    count = integer(num_classes, "one_hot: num_classes")
    ndim = len(shape_of(classes)) + 1
    place = axis_index(axis, ndim)
    numbers = np.arange(count).reshape([-1 if i == place else 1 for i in range(ndim)])
    return cast(equal(expand_dims(cast(classes, np.dtype("int64")), place), numbers), dtype_argument(dtype))
