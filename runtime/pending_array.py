"""Results of runs that a device was given and may not have done yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..ir import Array, DType


class PendingArray(NDArrayOperatorsMixin):
    """An array of NumPy, or a scalar where it has no axes, that `read` gives: its first reader waits.

    It takes part in NumPy's functions and operators, and in Python's numbers and formats. `np.asarray(result)`, and
    `float(result)`, are what to keep of it.
    """

    __slots__ = ("_reads", "_value", "dtype", "shape")

    def __init__(self, read: Callable[[], Array], shape: tuple[int, ...], dtype: DType) -> None:
        self._reads, self.shape, self.dtype = read, shape, dtype
        self._value: Any = None

    def _read(self) -> Any:
        if self._value is None:
            self._value = self._reads()[()]
            del self._reads
        return self._value

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._read(), name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._read(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            options["out"] = tuple(_known(each) for each in options["out"])
        return getattr(ufunc, method)(*map(_known, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*_all_known(args), **{name: _all_known(value) for name, value in kwargs.items()})

    def __getitem__(self, key: Any) -> Any:
        return self._read()[key]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Any:
        return iter(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __complex__(self) -> complex:
        return complex(self._read())

    def __index__(self) -> int:
        return self._read().__index__()

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._read(), digits) if digits is not None else round(self._read())

    def __hash__(self) -> int:
        return hash(self._read())

    def __repr__(self) -> str:
        return repr(self._read())

    def __str__(self) -> str:
        return str(self._read())

    def __format__(self, how: str) -> str:
        return format(self._read(), how)

    def __copy__(self) -> Any:
        return self._read().copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self._read().copy()

    def __reduce__(self) -> Any:
        return self._read().__reduce__()


def _known(value: Any) -> Any:
    return value._read() if isinstance(value, PendingArray) else value


def _all_known(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_all_known, value))
    return _known(value)
