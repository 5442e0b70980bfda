"""Torch's spellings of methods on traced arrays: those that mean one thing are taken, the others say what to write.

Where a name is NumPy's too, it means what NumPy says: `x.repeat(2)` repeats elements, `x.var()` divides by n,
`x.max(1)` is the values alone, and `x.transpose(0, 1)` of two axes is a permutation. `x.transpose(1, 2)` of any other
number of axes, which is no permutation, exchanges the two, and so does `x.transpose(dim0=0, dim1=1)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import is_float
from .array_methods import array_namespace, with_axes
from .errors import ShapeError, TracingError, located


def _lengths(sizes: Sequence[Any]) -> tuple[Any, ...]:
    first: Any = sizes[0] if len(sizes) == 1 else None
    return tuple(first) if isinstance(first, (tuple, list)) else tuple(sizes)


def _place(x: Any, dim: Any) -> int:
    from ..array_api.broadcasting import axis_index

    return axis_index(dim, x.ndim)


def view(x: Any, *shape: Any) -> Any:
    """The elements in another shape."""
    if len(shape) == 1 and (isinstance(shape[0], (str, type, np.dtype)) or "dtype" in type(shape[0]).__name__):
        raise TracingError(
            located(f"x.view({shape[0]!r}) reinterprets bytes; write x.astype(dtype) to convert numbers")
        )
    return array_namespace().reshape(x, _lengths(shape))


def unsqueeze(x: Any, dim: int) -> Any:
    """`x` with a new axis of length 1 at `dim`."""
    return array_namespace().expand_dims(x, dim)


def permute(x: Any, *dims: Any) -> Any:
    """The axes in another order."""
    return array_namespace().transpose(x, _lengths(dims))


def expand(x: Any, *sizes: Any) -> Any:
    """`x` repeated along axes of length 1 and new leading axes; -1 keeps a length."""
    lengths = _lengths(sizes)
    new = len(lengths) - x.ndim
    kept = (x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(lengths))
    return array_namespace().broadcast_to(x, tuple(kept))


def chunk(x: Any, chunks: int, dim: int = 0) -> list[Any]:
    """At most `chunks` parts along `dim`, all of one length but the last."""
    if chunks < 1:
        raise ValueError(located(f"chunk: the number of parts is 1 or more, got {chunks}"))
    return split(x, max(1, math.ceil(x.shape[_place(x, dim)] / chunks)), dim)


def split(x: Any, split_size: int | Sequence[int], dim: int = 0) -> list[Any]:
    """Parts of length `split_size` along `dim`, the last one shorter, or parts of the lengths that it lists."""
    place = _place(x, dim)
    n = x.shape[place]
    if isinstance(split_size, (list, tuple)):
        if sum(split_size) != n:
            raise ShapeError(
                located(f"split: parts of {list(split_size)} do not add up to the length {n} of axis {dim}")
            )
        ends = np.cumsum(split_size)[:-1]
    else:
        if not isinstance(split_size, (int, np.integer)) or split_size < 1:
            raise ValueError(located(f"split: the length of a part is a whole number of 1 or more, got {split_size!r}"))
        ends = range(int(split_size), n, int(split_size))
    return list(array_namespace().split(x, [int(end) for end in ends], axis=place))


def unbind(x: Any, dim: int = 0) -> Any:
    """The parts of length 1 along `dim`, without that axis."""
    return array_namespace().unstack(x, axis=dim)


def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """`value` where `mask` holds, `x` elsewhere."""
    return array_namespace().where(mask, array_namespace().astype(array_namespace().asarray(value), x.dtype), x)


def where(x: Any, condition: Any, other: Any) -> Any:
    """`x` where `condition` holds, `other` elsewhere."""
    return array_namespace().where(condition, x, other)


def gather(x: Any, dim: int, index: Any) -> Any:
    """For every place of `index`, the element of `x` whose index along `dim` is there."""
    place = _place(x, dim)
    index = array_namespace().asarray(index)
    if index.ndim != x.ndim or any(n > x.shape[a] for a, n in enumerate(index.shape) if a != place):
        raise ShapeError(located(f"gather: the index of shape {index.shape} does not fit {x.shape} along {dim}"))
    part = x[tuple(slice(None) if a == place else slice(0, n) for a, n in enumerate(index.shape))]
    return array_namespace().take_along_axis(part, index, axis=place)


def index_select(x: Any, dim: int, index: Any) -> Any:
    """The parts of `x` along `dim` at the places `index`."""
    return array_namespace().take(x, index, axis=dim)


def norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """The p-norm over `dim`, or of all elements."""
    if p in ("fro", None):
        p = 2
    xp = array_namespace()
    if dim is None:
        x, dim = xp.ravel(x), 0
    axes: tuple[Any, ...] = tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)
    if len(axes) != 1:
        if p != 2:
            raise TracingError(located(f"norm over {len(axes)} axes is traced for p=2, got {p!r}"))
        return xp.sqrt(xp.sum(xp.square(x), axis=axes, keepdims=keepdim))
    return xp.linalg.norm(x, p, axes[0], keepdim)


def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    """`log(sum(exp(x)))` over `dim` without overflow."""
    return array_namespace().logsumexp(x, axis=tuple(dim) if isinstance(dim, list) else dim, keepdims=keepdim)


def to(x: Any, *args: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
    """`x` as a dtype, or as that of another array. Where it runs is the target's, not the program's."""
    for given in args:
        if isinstance(given, bool):  # non_blocking, copy
            continue
        if type(given).__name__ == "device" or (isinstance(given, str) and _DEVICE.match(given)):
            device = given
        else:
            dtype = getattr(given, "dtype", given)
    if device is not None and str(device).partition(":")[0] != "cpu":
        instead = "where a program runs is said when it is compiled, target=; leave .to() away"
        raise TracingError(located(f"x.to({str(device)!r}): {instead}"))
    return x if dtype is None else array_namespace().astype(x, numpy_dtype(dtype))


_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|meta)(:\d+)?$")


def detach(x: Any) -> Any:
    """`x`, through which no gradient flows."""
    from .transforms import stop_gradient

    return stop_gradient(x)


def numpy_dtype(dtype: Any) -> Any:
    """A torch dtype as NumPy's of that name; anything else as it is."""
    return str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype


def _as(dtype: str) -> Callable[..., Any]:
    return lambda x: array_namespace().astype(x, dtype)


def _by_name(name: str) -> Callable[..., Any]:
    """The function `name` of the array namespace, with torch's `dim` and `keepdim`."""

    def method(x: Any, *args: Any, **kwargs: Any) -> Any:
        from ..array_api.dispatch import called

        return called(getattr(array_namespace(), name), f"x.{name}", (x, *args), with_axes(kwargs))

    return method


def _of_functional(name: str) -> Callable[..., Any]:
    def method(x: Any, *args: Any, **kwargs: Any) -> Any:
        from ..nn import functional

        return getattr(functional, name)(x, *args, **kwargs)

    return method


_SAME = """
abs absolute add allclose bitwise_and bitwise_or bitwise_xor ceil cos cosh count_nonzero deg2rad diag diff divide equal
erf exp expm1 fliplr flipud floor fmod greater greater_equal heaviside hypot inner isclose isfinite isinf isnan kron
less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul maximum minimum
moveaxis multiply nan_to_num negative not_equal outer positive pow rad2deg reciprocal remainder roll rot90 sign sin
sinh sqrt square subtract tan tanh tile tril triu true_divide trunc
"""
_RENAMED = {
    "acos": "arccos", "acosh": "arccosh", "arccos": "arccos", "arcsin": "arcsin", "arctan": "arctan",
    "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2", "atanh": "arctanh",
    "bmm": "matmul", "clamp": "clip", "div": "divide", "eq": "equal", "ge": "greater_equal", "gt": "greater",
    "le": "less_equal", "lt": "less", "mm": "matmul", "movedim": "moveaxis", "mul": "multiply", "mv": "matmul",
    "ne": "not_equal", "neg": "negative", "sub": "subtract", "swapdims": "swapaxes", "amax": "max", "amin": "min",
    "sgn": "sign",
}  # fmt: skip
_CASTS = {
    "float": "float32",
    "double": "float64",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "bool": "bool",
    "byte": "uint8",
}

METHODS: dict[str, Callable[..., Any]] = {
    **{name: _by_name(name) for name in _SAME.split()},
    **{name: _by_name(ours) for name, ours in _RENAMED.items()},
    **{name: _as(dtype) for name, dtype in _CASTS.items()},
    **{name: _of_functional(name) for name in ("relu", "sigmoid", "softmax", "log_softmax")},
    "chunk": chunk,
    "clamp_max": lambda x, max: array_namespace().minimum(x, max),
    "clamp_min": lambda x, min: array_namespace().maximum(x, min),
    "clone": lambda x: array_namespace().copy(x),
    "contiguous": lambda x: x,
    "cpu": lambda x: x,
    "detach": detach,
    "dim": lambda x: x.ndim,
    "ndimension": lambda x: x.ndim,
    "numel": lambda x: x.size,
    "nelement": lambda x: x.size,
    "expand": expand,
    "flip": lambda x, *dims, **dim: array_namespace().flip(x, _lengths([*dims, *dim.values()])),
    "expand_as": lambda x, other: expand(x, array_namespace().shape(other)),
    "gather": gather,
    "index_select": index_select,
    "is_floating_point": lambda x: is_float(x.dtype),
    "logsumexp": logsumexp,
    "masked_fill": masked_fill,
    "norm": norm,
    "permute": permute,
    "reshape_as": lambda x, other: array_namespace().reshape(x, array_namespace().shape(other)),
    "rsqrt": lambda x: 1 / array_namespace().sqrt(x),
    "split": split,
    "t": lambda x: x.T,
    "to": to,
    "type": lambda x, dtype: to(x, dtype),
    "type_as": lambda x, other: to(x, other),
    "unbind": unbind,
    "unsqueeze": unsqueeze,
    "view": view,
    "view_as": lambda x, other: array_namespace().reshape(x, array_namespace().shape(other)),
    "where": where,
}  # fmt: skip
"""What each of torch's methods does; those of NumPy's arrays are methods of the traced array itself."""

_GRADIENT = "derivatives are of functions: write gl.grad(f)(x), or gl.compile_step(model, loss_fn, ...) for a model"
_VALUES = "return it from the traced function, whose results are NumPy arrays"
REFUSED: dict[str, str] = {
    "backward": _GRADIENT,
    "grad": _GRADIENT,
    "grad_fn": _GRADIENT,
    "requires_grad": _GRADIENT,
    "requires_grad_": _GRADIENT,
    "retain_grad": _GRADIENT,
    "is_leaf": _GRADIENT,
    "register_hook": _GRADIENT,
    "numpy": f"use it as it is, or {_VALUES}",
    "cuda": "where a program runs is said when it is compiled: target=",
    "half": "numbers are bfloat16, float32 or float64: write x.astype('float32')",
    "data": "it has no memory of its own: use x itself, or gl.stop_gradient(x)",
    "base": "it has no memory of its own: use x itself",
    "flags": "it has no memory of its own: use x itself",
    "strides": "it has no memory of its own: use x.shape",
    "stride": "it has no memory of its own: use x.shape",
    "storage": "it has no memory of its own: use x itself",
    "data_ptr": "it has no memory of its own: use x itself",
    "ctypes": "it has no memory of its own: use x itself",
    "flat": "write x.ravel()",
    "tobytes": _VALUES,
    "dump": _VALUES,
    "dumps": _VALUES,
    "tofile": _VALUES,
    "masked_select": "its shape depends on values; write np.where(mask, x, 0)",
    "scatter": "write x.at[index].set(new), with NumPy's index: x.at[np.arange(n)[:, None], index] for dim=1",
    "scatter_add": "write x.at[index].add(new), with NumPy's index: x.at[np.arange(n)[:, None], index] for dim=1",
    "index_add": "write x.at[index].add(source), and x.at[:, index] for dim=1",
    "index_copy": "write x.at[index].set(source), and x.at[:, index] for dim=1",
    "index_fill": "write x.at[index].set(value), and x.at[:, index] for dim=1",
    "index_put": "write x.at[indices].set(values)",
    "sort": "NumPy's sorts in place, torch's gives a pair: write np.sort(x, axis), and np.argsort(x, axis)",
    "partition": "it never changes: write np.sort(x, axis)",
    "argpartition": "write np.argsort(x, axis)",
    "topk": "write values, indices = gl.numpy.top_k(x, k, axis)",
    "kthvalue": "write np.sort(x)[..., k - 1]",
    "msort": "write np.sort(x, axis=0)",
    "median": "write np.median(x, axis), which is the mean of the two in the middle, not the lower one",
    "new_zeros": "write np.zeros(shape, x.dtype)",
    "new_ones": "write np.ones(shape, x.dtype)",
    "new_full": "write np.full(shape, value, x.dtype)",
    "new_empty": "write np.zeros(shape, x.dtype)",
    "new_tensor": "write np.asarray(data, x.dtype)",
    "addmm": "write x + a @ b",
    "addcmul": "write x + value * a * b",
    "lerp": "write x + weight * (end - x)",
    "H": "all numbers are real: write x.mT",
    "mH": "all numbers are real: write x.mT",
    "imag": "all numbers are real: it is zero",
    "unfold": "write np.stack([x[i:i + n] for i in range(...)])",
    "fill": "it never changes: write x = np.full_like(x, value)",
    "itemset": "it never changes: write x = x.at[index].set(new)",
    "resize": "write x = x.reshape(shape)",
    "block_until_ready": "results of a compiled function are NumPy arrays and ready",
    "select": "write x[:, i], with the axis in its place",
    "narrow": "write x[:, start:start + length], with the axis in its place",
    "values": "a traced array is no dictionary",
    "items": "a traced array is no dictionary",
    "keys": "a traced array is no dictionary",
}
"""What to write instead of attributes that torch's tensors, or NumPy's arrays, have and a traced array cannot have."""


def refusal(name: str) -> str | None:
    """What to write instead of the attribute `name`; `None` where nothing is known of it."""
    if name in REFUSED:
        return REFUSED[name]
    if name.endswith("_") and not name.startswith("_") and len(name) > 1:
        plain = name[:-1]
        known = plain in METHODS or hasattr(np.ndarray, plain) or plain in REFUSED or plain in ("zero", "fill", "copy")
        if known:
            return (
                f"it never changes: write x = x.{plain}(...)" if plain in METHODS else "it never changes: make another"
            )
    return None
