"""Torch's spellings of methods on traced arrays: those that mean one thing are taken, the others say what to write.

Where a name is NumPy's too, it means what NumPy says: `x.repeat(2)` repeats elements, `x.var()` divides by n,
`x.max(1)` is the values alone, and `x.transpose(0, 1)` of two axes is a permutation. `x.transpose(1, 2)` of any other
number of axes, which is no permutation, exchanges the two, and so does `x.transpose(dim0=0, dim1=1)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir import is_complex, is_float
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


def _grid(x: Any, dim: int, index: Any) -> tuple[tuple[Any, ...], Callable[[Any], Any]]:
    """Where the elements of an `index` along `dim` lie in `x`, and how a source is cut to them."""
    place = _place(x, dim)
    index = array_namespace().asarray(index)
    if index.ndim != x.ndim or any(n > x.shape[a] for a, n in enumerate(index.shape) if a != place):
        raise ShapeError(located(f"scatter: the index of shape {index.shape} does not fit {x.shape} along {dim}"))
    grid = [np.arange(n).reshape([-1 if a == b else 1 for b in range(x.ndim)]) for a, n in enumerate(index.shape)]
    shape = index.shape

    def cut(source: Any) -> Any:
        return source[tuple(slice(0, n) for n in shape)] if np.ndim(source) else source

    return tuple(index if a == place else own for a, own in enumerate(grid)), cut


def scatter(x: Any, dim: int, index: Any, src: Any = None, *, value: Any = None) -> Any:
    """`x` with elements of `src`, or `value`, at the places along `dim` that `index` names."""
    where, cut = _grid(x, dim, index)
    return x.at[where].set(cut(value if src is None else src))


def scatter_add(x: Any, dim: int, index: Any, src: Any) -> Any:
    """`x` with elements of `src` added at the places along `dim` that `index` names."""
    where, cut = _grid(x, dim, index)
    return x.at[where].add(cut(src))


def _along(x: Any, dim: int, index: Any) -> tuple[Any, ...]:
    return (*(slice(None) for _ in range(_place(x, dim))), index)


def select(x: Any, dim: int, index: Any) -> Any:
    """The part of `x` at one place along `dim`, without that axis."""
    return x[_along(x, dim, index)]


def narrow(x: Any, dim: int, start: int, length: int) -> Any:
    """The part of `x` of a length along `dim`, from `start` on."""
    begin = start if start >= 0 else start + x.shape[_place(x, dim)]
    return x[_along(x, dim, slice(begin, begin + length))]


class TopK(NamedTuple):
    """What torch's `topk` returns."""

    values: Any
    indices: Any


def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> TopK:
    """The `k` largest elements along `dim`, or the smallest, in order, and where they are."""
    values, indices = array_namespace().top_k(x if largest else -x, k, dim)
    return TopK(values if largest else -values, indices)


def unflatten(x: Any, dim: int, sizes: Sequence[int]) -> Any:
    """The axis `dim` as several of these lengths."""
    place = _place(x, dim)
    return array_namespace().reshape(x, (*x.shape[:place], *sizes, *x.shape[place + 1 :]))


def _new(name: str) -> Callable[..., Any]:
    """An array of `x`'s dtype, unless another is given: torch's `new_zeros(2, 3)` and `new_zeros((2, 3))`."""

    def method(x: Any, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        if requires_grad:
            raise TracingError(located(f"x.new_{name}(requires_grad=True): {_GRADIENT}"))
        like = x.dtype if dtype is None else numpy_dtype(dtype)
        return getattr(array_namespace(), name)(_lengths(size), dtype=like)

    return method


def new_full(x: Any, size: Sequence[int], fill_value: Any, dtype: Any = None) -> Any:
    """An array of one value, of `x`'s dtype unless another is given."""
    return array_namespace().full(tuple(size), fill_value, dtype=x.dtype if dtype is None else numpy_dtype(dtype))


def _of_linalg(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(array_namespace().linalg, name)(x, *args, **kwargs)


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


def _of_special(name: str) -> Callable[..., Any]:
    return lambda x, *args: getattr(array_namespace().special, name)(x, *args)


def logit(x: Any, eps: float | None = None) -> Any:
    """`log(x / (1 - x))`, of x between `eps` and `1 - eps` where that is given."""
    return array_namespace().special.logit(x if eps is None else array_namespace().clip(x, eps, 1 - eps))


_SAME = """
abs absolute add allclose arccosh arcsinh arctan2 arctanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor broadcast_to ceil cos cosh count_nonzero deg2rad diag diff divide equal erf exp exp2
expm1 fix fliplr flipud float_power floor floor_divide fmax fmin fmod greater greater_equal heaviside hypot inner
isclose isfinite isinf isnan kron less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or
logical_xor matmul maximum minimum moveaxis multiply nan_to_num nanmean nansum negative not_equal outer positive pow
rad2deg reciprocal remainder roll rot90 sign sin sinc sinh sqrt square subtract tan tanh tile tril triu true_divide
trunc vdot
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

_OF_SPECIAL = {
    "lgamma": "gammaln", "igamma": "gammainc", "igammac": "gammaincc", "mvlgamma": "multigammaln",
    **{name: name for name in ("digamma", "erfc", "erfinv", "i0", "xlogy")},
}  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    **{name: _of_special(ours) for name, ours in _OF_SPECIAL.items()},
    "polygamma": lambda x, n: array_namespace().special.polygamma(n, x),
    "logit": logit,
    **{name: _by_name(name) for name in _SAME.split()},
    **{name: _by_name(ours) for name, ours in _RENAMED.items()},
    **{name: _as(dtype) for name, dtype in _CASTS.items()},
    **{name: _of_functional(name) for name in ("relu", "sigmoid", "softmax", "log_softmax", "hardshrink", "prelu")},
    **{name: _of_linalg(name) for name in ("cholesky", "det", "slogdet")},
    **{f"new_{name}": _new(name) for name in ("zeros", "ones", "empty")},
    "addcdiv": lambda x, tensor1, tensor2, value=1: x + value * (tensor1 / tensor2),
    "addcmul": lambda x, tensor1, tensor2, value=1: x + value * (tensor1 * tensor2),
    "addmm": lambda x, mat1, mat2, beta=1, alpha=1: beta * x + alpha * (mat1 @ mat2),
    "addmv": lambda x, mat, vec, beta=1, alpha=1: beta * x + alpha * (mat @ vec),
    "baddbmm": lambda x, batch1, batch2, beta=1, alpha=1: beta * x + alpha * (batch1 @ batch2),
    "chunk": chunk,
    "clamp_max": lambda x, max: array_namespace().minimum(x, max),
    "clamp_min": lambda x, min: array_namespace().maximum(x, min),
    "clone": lambda x: array_namespace().copy(x),
    "contiguous": lambda x: x,
    "cpu": lambda x: x,
    "detach": detach,
    "element_size": lambda x: x.dtype.itemsize,
    "dim": lambda x: x.ndim,
    "ndimension": lambda x: x.ndim,
    "numel": lambda x: x.size,
    "nelement": lambda x: x.size,
    "expand": expand,
    "flip": lambda x, *dims, **dim: array_namespace().flip(x, _lengths([*dims, *dim.values()])),
    "expand_as": lambda x, other: expand(x, array_namespace().shape(other)),
    "gather": gather,
    "index_add": lambda x, dim, index, source, alpha=1: x.at[_along(x, dim, index)].add(alpha * source),
    "index_copy": lambda x, dim, index, tensor: x.at[_along(x, dim, index)].set(tensor),
    "index_fill": lambda x, dim, index, value: x.at[_along(x, dim, index)].set(value),
    "index_select": index_select,
    "inverse": _of_linalg("inv"),
    "is_complex": lambda x: is_complex(x.dtype),
    "is_contiguous": lambda x: True,
    "is_floating_point": lambda x: is_float(x.dtype),
    "lerp": lambda x, end, weight: x + weight * (end - x),
    "logsumexp": logsumexp,
    "masked_fill": masked_fill,
    "narrow": narrow,
    "new_full": new_full,
    "norm": norm,
    "permute": permute,
    "reshape_as": lambda x, other: array_namespace().reshape(x, array_namespace().shape(other)),
    "repeat_interleave": lambda x, repeats, dim=None: array_namespace().repeat(x, repeats, dim),
    "rsqrt": lambda x: 1 / array_namespace().sqrt(x),
    "scatter": scatter,
    "scatter_add": scatter_add,
    "select": select,
    "split": split,
    "split_with_sizes": split,
    "t": lambda x: x.T,
    "take_along_dim": lambda x, indices, dim=None: array_namespace().take_along_axis(x, indices, axis=dim),
    "to": to,
    "topk": topk,
    "type": lambda x, dtype: to(x, dtype),
    "type_as": lambda x, other: to(x, other),
    "unbind": unbind,
    "unflatten": unflatten,
    "unsqueeze": unsqueeze,
    "view": view,
    "view_as": lambda x, other: array_namespace().reshape(x, array_namespace().shape(other)),
    "where": where,
}  # fmt: skip
"""What each of torch's methods does; those of NumPy's arrays are methods of the traced array itself."""

_GRADIENT = "derivatives are of functions: write gl.grad(f)(x), or gl.compile_step(model, loss_fn, ...) for a model"
_DEVICE_WORDS = "where a program runs is said when it is compiled: target="
_RANDOM = "draw by gl.random, which has the names of jax.random"
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
    "cuda": _DEVICE_WORDS,
    "get_device": _DEVICE_WORDS,
    "is_cpu": _DEVICE_WORDS,
    "is_cuda": _DEVICE_WORDS,
    "is_mps": _DEVICE_WORDS,
    "pin_memory": _DEVICE_WORDS,
    "eig": "write np.linalg.eig(x)",
    "lu": "write gl.numpy.linalg.lu(x)",
    "qr": "write np.linalg.qr(x)",
    "svd": "write np.linalg.svd(x, full_matrices=False), which gives V transposed",
    **dict.fromkeys(("bernoulli", "multinomial", "normal", "uniform", "random", "exponential"), _RANDOM),
    "lstsq": "write np.linalg.lstsq(x, b)",
    "matrix_exp": "write gl.numpy.linalg.expm(x)",
    "pinverse": "write np.linalg.pinv(x)",
    "bincount": "write np.bincount(x, minlength=n)",
    "cov": "write np.cov(x)",
    "frac": "write x - np.trunc(x)",
    "logdet": "write np.linalg.slogdet(x)[1]",
    "quantile": "write np.quantile(x, q, axis)",
    "scatter_reduce": "write x.at[index].max(new), min, multiply or add, with NumPy's index",
    "masked_scatter": "its places depend on values; write np.where(mask, new, x) with new of x's shape",
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
    **dict.fromkeys(("byteswap", "setflags"), "it has no memory of its own: use x itself"),
    **dict.fromkeys(("getfield", "setfield"), "it has no fields: pass one array for each"),
    "put": "it never changes: write x = np.put(x, places, values, inplace=False), or x.at[index].set(new)",
    "to_device": "where a program runs is said when it is compiled: target=",
    "tobytes": _VALUES,
    "dump": _VALUES,
    "dumps": _VALUES,
    "tofile": _VALUES,
    "masked_select": "its shape depends on values; write np.where(mask, x, 0)",
    "index_put": "write x.at[indices].set(values)",
    "sort": "NumPy's sorts in place, torch's gives a pair: write np.sort(x, axis), and np.argsort(x, axis)",
    "partition": "it never changes: write np.sort(x, axis)",
    "kthvalue": "write np.sort(x)[..., k - 1]",
    "msort": "write np.sort(x, axis=0)",
    "median": "write np.median(x, axis), which is the mean of the two in the middle, not the lower one",
    "new_tensor": "write np.asarray(data, x.dtype)",
    "H": "write x.mT.conj()",
    "mH": "write x.mT.conj()",
    "unfold": "write np.stack([x[i:i + n] for i in range(...)])",
    "fill": "it never changes: write x = np.full_like(x, value)",
    "itemset": "it never changes: write x = x.at[index].set(new)",
    "resize": "write x = x.reshape(shape)",
    "block_until_ready": "results of a compiled function are NumPy arrays and ready",
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
