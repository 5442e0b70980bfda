"""Arrays of numbers that are known while tracing. They enter the program where they meet what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir import is_float
from ... import array_api as xp
from ...tracing.errors import UnsupportedError, located
from ...tracing.tracer import Tracer
from ...tracing.transforms import stop_gradient
from ..promotion import default_float, dtype_of_number, is_array
from ..table import aten


def filled(shape: Sequence[int], value: Any, dtype: Any) -> Any:
    """An array of one number, which takes the memory of one."""
    if isinstance(value, Tracer):
        return xp.broadcast_to(xp.astype(value, dtype), tuple(shape))
    return np.broadcast_to(np.asarray(value).astype(dtype), tuple(shape))


@aten("sym_size.int")
def sym_size(x: Any, dim: int) -> int:
    """The length of an axis."""
    return x.shape[dim]


@aten("sym_numel.default")
def sym_numel(x: Any) -> int:
    """The number of elements."""
    return x.size


@aten("_local_scalar_dense.default")
def item(x: Any) -> Any:
    """The number of x, from which nothing is derived. Raises `UnsupportedError` for one that shapes may depend on."""
    if isinstance(x, Tracer) and not is_float(x.dtype):
        instead = "write torch.where, a mask, or a number of Python"
        raise UnsupportedError(located(f"item() of a tensor of {x.dtype} depends on values; {instead}"))
    return stop_gradient(xp.reshape(x, ())) if isinstance(x, Tracer) else x.item()


@aten("full.default")
def full(size: Sequence[int], fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    """An array of one number."""
    if dtype is None:
        dtype = fill_value.dtype if is_array(fill_value) else dtype_of_number(fill_value)
    return filled(size, fill_value, dtype)


@aten("full_like.default", whole=True)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one number in the shape of x."""
    return filled(x.shape, fill_value, dtype or x.dtype)


@aten(
    "zeros.default",
    "empty.memory_format",
    "empty_strided.default",
    "empty_permuted.default",
    "new_zeros.default",
    "new_empty.default",
)
def zeros(*args: Any, dtype: Any = None, **_: Any) -> Any:
    """Zeros; nothing is left undefined."""
    first = args[0]
    if is_array(first):
        return filled(args[1], 0, dtype or first.dtype)
    return filled(first, 0, dtype or default_float())


@aten("ones.default", "new_ones.default")
def ones(*args: Any, dtype: Any = None, **_: Any) -> Any:
    """Ones."""
    first = args[0]
    if is_array(first):
        return filled(args[1], 1, dtype or first.dtype)
    return filled(first, 1, dtype or default_float())


@aten("zeros_like.default", "empty_like.default", whole=True)
def zeros_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    """Zeros in the shape of x."""
    return filled(x.shape, 0, dtype or x.dtype)


@aten("ones_like.default", whole=True)
def ones_like(x: Any, dtype: Any = None, **_: Any) -> Any:
    """Ones in the shape of x."""
    return filled(x.shape, 1, dtype or x.dtype)


@aten("new_full.default", whole=True)
def new_full(x: Any, size: Sequence[int], fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    """An array of one number of the dtype of x."""
    return filled(size, fill_value, dtype or x.dtype)


@aten("fill.Scalar", "fill.Tensor", whole=True)
def fill(x: Any, value: Any) -> Any:
    """An array of one number in the shape and the dtype of x."""
    return filled(x.shape, value, x.dtype)


@aten("scalar_tensor.default")
def scalar_tensor(value: Any, dtype: Any = None, **_: Any) -> Any:
    """A number as an array."""
    return np.asarray(value, dtype or default_float())


@aten("arange.start_step")
def arange(start: Any, end: Any, step: Any = 1, dtype: Any = None, **_: Any) -> Any:
    """Numbers in equal steps."""
    if dtype is None:
        whole = all(isinstance(x, int) for x in (start, end, step))
        dtype = np.dtype("int64") if whole else default_float()
    count = max(int(np.ceil((end - start) / step)), 0)
    return (start + step * np.arange(count)).astype(dtype)


@aten("arange.default", whole=True)
def arange_default(end: Any, dtype: Any = None, **_: Any) -> Any:
    """0, 1, 2, ..."""
    return arange(0, end, 1, dtype)


@aten("arange.start", whole=True)
def arange_start(start: Any, end: Any, dtype: Any = None, **_: Any) -> Any:
    """start, start + 1, ..."""
    return arange(start, end, 1, dtype)


@aten("linspace.default", whole=True)
def linspace(start: Any, end: Any, steps: int, dtype: Any = None, **_: Any) -> Any:
    """`steps` numbers from `start` to `end`."""
    return xp.astype(xp.linspace(start, end, steps), dtype or default_float())


@aten("eye.default", "eye.m", whole=True)
def eye(n: int, m: int | None = None, dtype: Any = None, **_: Any) -> Any:
    """Ones along the diagonal."""
    return np.eye(n, m, dtype=dtype or default_float())


@aten("tril_indices.default", whole=True)
def tril_indices(row: int, col: int, offset: int = 0, dtype: Any = None, **_: Any) -> Any:
    """Rows and columns of the lower triangle."""
    return np.stack(np.tril_indices(row, offset, col)).astype(dtype or "int64")


@aten("triu_indices.default", whole=True)
def triu_indices(row: int, col: int, offset: int = 0, dtype: Any = None, **_: Any) -> Any:
    """Rows and columns of the upper triangle."""
    return np.stack(np.triu_indices(row, offset, col)).astype(dtype or "int64")
