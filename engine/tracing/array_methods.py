"""Python's operators and the methods of NumPy arrays, each in terms of the function of that name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import TracingError, located


@functools.cache
def array_namespace() -> Any:
    """The module `gradloom.numpy`."""
    # It is written in terms of traced arrays, so it can only be imported late.
    from .. import array_api

    return array_api


def refuse_out(name: str, out: Any, operands: Sequence[Any] = ()) -> None:
    """Raise `TracingError` where `out`, an array or a tuple of them, is to take the result of the function `name`."""
    outs: tuple[Any, ...] = out if isinstance(out, tuple) else (out,)
    if all(o is None for o in outs):
        return
    inplace = any(o is x for o in outs for x in operands)
    advice = "write y = y + x instead of y += x for a NumPy array y" if inplace else f"write y = {name}(...)"
    raise TracingError(located(f"{name} cannot write a traced result into an array (out=); {advice}"))


def _torch_names(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes torch's `dim` and `keepdim` for `axis` and `keepdims`."""

    @functools.wraps(method)
    def named(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *args, **(with_axes(kwargs) if "dim" in kwargs or "keepdim" in kwargs else kwargs))

    return named


def with_axes(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments with NumPy's `axis` and `keepdims` for torch's `dim` and `keepdim`."""
    for theirs, ours in (("dim", "axis"), ("keepdim", "keepdims")):
        if theirs in kwargs:
            if ours in kwargs:
                raise TypeError(located(f"{theirs}= and {ours}= say the same; write one of them"))
            value = kwargs.pop(theirs)
            kwargs[ours] = tuple(value) if isinstance(value, list) else value
    return kwargs


def _refuse_pair(name: str, torch: dict[str, Any]) -> None:
    if "dim" in torch or "keepdim" in torch:
        axis = torch.get("dim")
        raise TracingError(
            located(
                f"torch's x.{name}(dim) is a pair of values and indices; write x.{name}(axis={axis}), "
                f"x.arg{name}(axis={axis})"
            )
        )
    if torch:
        raise TypeError(located(f"x.{name} has no argument {next(iter(torch))!r}; it takes axis and keepdims"))


def _of_deviation(name: str, axis: Any, keepdims: bool, torch: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `var` and `std` for torch's, which divides by n - 1 where nothing is said."""
    unknown = [key for key in torch if key not in ("dim", "keepdim", "unbiased", "correction")]
    if unknown:
        raise TypeError(located(f"x.{name} has no argument {unknown[0]!r}; it takes axis, dtype, ddof and keepdims"))
    if "unbiased" not in torch and "correction" not in torch:
        dim = torch.get("dim", axis)
        raise TracingError(
            located(
                f"x.{name} divides by n here, as NumPy's, and torch's by n - 1; write x.{name}(axis={dim}, ddof=0) or "
                f"x.{name}(axis={dim}, ddof=1)"
            )
        )
    correction = torch.pop("correction", None)
    unbiased = torch.pop("unbiased", None)
    given = with_axes({key: torch[key] for key in torch})
    ddof = correction if correction is not None else int(bool(unbiased))
    return {"axis": axis, "keepdims": keepdims, **given, "ddof": ddof}


def flattened(x: Any, start_dim: Any, end_dim: Any) -> Any:
    """`x` with the axes `start_dim` to `end_dim` as one."""
    from ..array_api.broadcasting import axis_index

    first, last = axis_index(start_dim, max(x.ndim, 1)), axis_index(end_dim, max(x.ndim, 1))
    if first > last:
        raise ValueError(located(f"flatten: the first axis, {start_dim}, comes after the last, {end_dim}"))
    shape = (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])
    return array_namespace().reshape(x, shape)


def _squeezed(x: Any, dim: Any) -> Any:
    from ..array_api.broadcasting import axes_tuple

    axes = axes_tuple(dim, x.ndim)
    return array_namespace().squeeze(x, tuple(a for a in axes if x.shape[a] == 1))


class ArrayMethods:
    """What an array answers by functions of the array namespace; the array itself is `self`."""

    __slots__ = ()
    __hash__ = object.__hash__

    # Operators.

    def __add__(self, other: Any) -> Any:
        return array_namespace().add(self, other)

    def __radd__(self, other: Any) -> Any:
        return array_namespace().add(other, self)

    def __sub__(self, other: Any) -> Any:
        return array_namespace().subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return array_namespace().subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return array_namespace().multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return array_namespace().multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return array_namespace().divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return array_namespace().divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return array_namespace().floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return array_namespace().floor_divide(other, self)

    def __mod__(self, other: Any) -> Any:
        return array_namespace().remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return array_namespace().remainder(other, self)

    def __divmod__(self, other: Any) -> Any:
        return array_namespace().divmod(self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return array_namespace().divmod(other, self)

    def __pow__(self, other: Any) -> Any:
        return array_namespace().pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return array_namespace().pow(other, self)

    def __matmul__(self, other: Any) -> Any:
        return array_namespace().matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return array_namespace().matmul(other, self)

    def __and__(self, other: Any) -> Any:
        return array_namespace().bitwise_and(self, other)

    def __rand__(self, other: Any) -> Any:
        return array_namespace().bitwise_and(other, self)

    def __or__(self, other: Any) -> Any:
        return array_namespace().bitwise_or(self, other)

    def __ror__(self, other: Any) -> Any:
        return array_namespace().bitwise_or(other, self)

    def __xor__(self, other: Any) -> Any:
        return array_namespace().bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Any:
        return array_namespace().bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Any:
        return array_namespace().bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Any:
        return array_namespace().bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Any:
        return array_namespace().bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Any:
        return array_namespace().bitwise_right_shift(other, self)

    def __neg__(self) -> Any:
        return array_namespace().negative(self)

    def __pos__(self) -> Any:
        return array_namespace().positive(self)

    def __abs__(self) -> Any:
        return array_namespace().abs(self)

    def __invert__(self) -> Any:
        return array_namespace().bitwise_invert(self)

    def __eq__(self, other: object) -> Any:
        return array_namespace().equal(self, other)

    def __ne__(self, other: object) -> Any:
        return array_namespace().not_equal(self, other)

    def __lt__(self, other: Any) -> Any:
        return array_namespace().less(self, other)

    def __le__(self, other: Any) -> Any:
        return array_namespace().less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return array_namespace().greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return array_namespace().greater_equal(self, other)

    def __getitem__(self, key: Any) -> Any:
        return array_namespace().getitem(self, key)

    # Methods of NumPy arrays; each is the function of that name, with its arguments in NumPy's order.

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        """The elements as another dtype; the array itself where it has that, with `copy=False`.

        Raises `TypeError` where `casting` does not allow it.
        """
        result = array_namespace().astype(self, dtype, copy=copy)
        given: Any = self
        if not np.can_cast(given.dtype, result.dtype, casting):
            raise TypeError(located(f"x.astype: casting={casting!r} makes no {result.dtype} of {given.dtype}"))
        return result

    def to_device(self, device: str, /, *, stream: None = None) -> Any:
        """The array itself: `device` is "cpu", and a program runs where it was compiled for."""
        if stream is not None:
            raise ValueError(located(f"x.to_device: stream is None, got {stream!r}"))
        return array_namespace().asarray(self, device=device)

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """`numpy.reshape`; the shape is one tuple or several integers."""
        return array_namespace().reshape(self, shape[0] if len(shape) == 1 else shape, order=order)

    def transpose(self, *axes: Any, dim0: int | None = None, dim1: int | None = None) -> Any:
        """`numpy.transpose`; the axes are one tuple or several integers.

        Two axes that are no permutation, as of an array of three axes, are exchanged, as in torch, and so are `dim0`
        and `dim1`. Of an array of two axes `x.transpose(0, 1)` is NumPy's, which changes nothing.
        """
        pair = tuple(axis for axis in (dim0, dim1) if axis is not None)
        if pair or (len(axes) == 2 and getattr(self, "ndim", 2) != 2):
            return array_namespace().swapaxes(self, *axes, *pair)
        given = axes[0] if len(axes) == 1 and not hasattr(axes[0], "__index__") else axes or None
        return array_namespace().transpose(self, given)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """`numpy.swapaxes`."""
        return array_namespace().swapaxes(self, axis1, axis2)

    def ravel(self, order: str = "C") -> Any:
        """`numpy.ravel`."""
        return array_namespace().ravel(self, order=order)

    def flatten(self, *args: Any, order: str = "C", start_dim: int = 0, end_dim: int = -1) -> Any:
        """A copy with all axes as one; as in torch, `flatten(start_dim, end_dim)` joins two axes and those between."""
        if args and isinstance(args[0], str):
            order, args = args[0], args[1:]
        start_dim, end_dim = (args[0] if args else start_dim), (args[1] if len(args) > 1 else end_dim)
        if start_dim == 0 and end_dim == -1:
            return array_namespace().ravel(array_namespace().copy(self), order=order)
        return flattened(self, start_dim, end_dim)

    def squeeze(self, axis: Any = None, *, dim: Any = None) -> Any:
        """`numpy.squeeze`. As in torch, `dim` may name axes of other lengths, which stay."""
        return array_namespace().squeeze(self, axis) if dim is None else _squeezed(self, dim)

    def repeat(self, repeats: Any, axis: int | None = None, *more: int) -> Any:
        """`numpy.repeat`: elements are repeated. Torch's `repeat` is `numpy.tile`."""
        if more:
            sizes = (repeats, axis, *more)
            what = f"x.repeat{sizes} is torch's, and NumPy's repeats elements"
            raise TracingError(located(f"{what}; write np.tile(x, {sizes})"))
        return array_namespace().repeat(self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Any:
        """`numpy.take`."""
        refuse_out("x.take", out)
        return array_namespace().take(self, indices, axis, mode=mode)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        """`numpy.diagonal`."""
        return array_namespace().diagonal(self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
        """`numpy.trace`."""
        refuse_out("x.trace", out)
        return array_namespace().trace(self, offset, axis1, axis2, dtype)

    def dot(self, other: Any, out: None = None) -> Any:
        """`numpy.dot`."""
        refuse_out("x.dot", out)
        return array_namespace().dot(self, other)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Any:
        """`numpy.clip`."""
        refuse_out("x.clip", out)
        return array_namespace().clip(self, min, max)

    def conj(self) -> Any:
        """`numpy.conj`."""
        return array_namespace().conj(self)

    def conjugate(self) -> Any:
        """`numpy.conjugate`."""
        return array_namespace().conjugate(self)

    def round(self, decimals: int = 0, out: None = None) -> Any:
        """`numpy.round`."""
        refuse_out("x.round", out)
        return array_namespace().round(self, decimals)

    @_torch_names
    def sum(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        """`numpy.sum`."""
        refuse_out("x.sum", out)
        return array_namespace().sum(self, axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)

    @_torch_names
    def prod(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        """`numpy.prod`."""
        refuse_out("x.prod", out)
        return array_namespace().prod(self, axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)

    @_torch_names
    def mean(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True
    ) -> Any:
        """`numpy.mean`."""
        refuse_out("x.mean", out)
        return array_namespace().mean(self, axis, dtype=dtype, keepdims=keepdims, where=where)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        **torch: Any,
    ) -> Any:
        """`numpy.var`, of n - `ddof`. With torch's `dim`, `correction` (or `unbiased`) must be given."""
        refuse_out("x.var", out)
        if torch:
            return array_namespace().var(self, **_of_deviation("var", axis, keepdims, torch))
        return array_namespace().var(self, axis, dtype, ddof=ddof, keepdims=keepdims)

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        ddof: float = 0,
        keepdims: bool = False,
        **torch: Any,
    ) -> Any:
        """`numpy.std`, of n - `ddof`. With torch's `dim`, `correction` (or `unbiased`) must be given."""
        refuse_out("x.std", out)
        if torch:
            return array_namespace().std(self, **_of_deviation("std", axis, keepdims, torch))
        return array_namespace().std(self, axis, dtype, ddof=ddof, keepdims=keepdims)

    def max(
        self,
        axis: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
        **torch: Any,
    ) -> Any:
        """`numpy.max`: the values alone."""
        _refuse_pair("max", torch)
        refuse_out("x.max", out)
        return array_namespace().max(self, axis, keepdims=keepdims, initial=initial, where=where)

    def min(
        self,
        axis: Any = None,
        out: None = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
        **torch: Any,
    ) -> Any:
        """`numpy.min`: the values alone."""
        _refuse_pair("min", torch)
        refuse_out("x.min", out)
        return array_namespace().min(self, axis, keepdims=keepdims, initial=initial, where=where)

    @_torch_names
    def argmax(self, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
        """`numpy.argmax`."""
        refuse_out("x.argmax", out)
        return array_namespace().argmax(self, axis, keepdims=keepdims)

    @_torch_names
    def argmin(self, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
        """`numpy.argmin`."""
        refuse_out("x.argmin", out)
        return array_namespace().argmin(self, axis, keepdims=keepdims)

    @_torch_names
    def any(self, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True) -> Any:
        """`numpy.any`."""
        refuse_out("x.any", out)
        return array_namespace().any(self, axis, keepdims=keepdims, where=where)

    @_torch_names
    def all(self, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = True) -> Any:
        """`numpy.all`."""
        refuse_out("x.all", out)
        return array_namespace().all(self, axis, keepdims=keepdims, where=where)

    @_torch_names
    def cumsum(self, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
        """`numpy.cumsum`."""
        refuse_out("x.cumsum", out)
        return array_namespace().cumsum(self, axis, dtype=dtype)

    @_torch_names
    def cumprod(self, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
        """`numpy.cumprod`."""
        refuse_out("x.cumprod", out)
        return array_namespace().cumprod(self, axis, dtype=dtype)

    def argpartition(self, kth: Any, axis: int | None = -1, kind: str = "introselect", order: None = None) -> Any:
        """`numpy.argpartition`."""
        return array_namespace().argpartition(self, kth, axis, kind, order)

    def choose(self, choices: Any, out: None = None, mode: str = "raise") -> Any:
        """`numpy.choose`."""
        refuse_out("x.choose", out)
        return array_namespace().choose(self, choices, mode=mode)

    def compress(self, condition: Any, axis: int | None = None, out: None = None) -> Any:
        """`numpy.compress`."""
        refuse_out("x.compress", out)
        return array_namespace().compress(condition, self, axis)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Any:
        """`numpy.searchsorted`."""
        return array_namespace().searchsorted(self, v, side, sorter)

    @_torch_names
    def argsort(
        self,
        axis: int | None = -1,
        kind: str | bool | None = None,
        order: None = None,
        *,
        stable: bool | None = None,
        descending: bool = False,
    ) -> Any:
        """`numpy.argsort`; torch's `descending`, which may stand second, is understood too."""
        if isinstance(kind, bool):
            kind, descending = None, kind
        return array_namespace().argsort(self, axis, kind, order, stable=stable, descending=descending)
