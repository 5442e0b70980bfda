"""Runs that a GPU was given and may not have done yet, and their results, for which a reader waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ...ir import Array
from .device import Device

_ERROR_BYTES = 8


class Run:
    """One run of a program. `happened` is an event behind it; `results` reads what it left in pinned memory, with the
    code of the trap that it, or a run before it, ran into.
    """

    def __init__(
        self, happened: Any, results: Callable[[], tuple[int, Mapping[int, Array]]], refusal: Callable[[int], Exception]
    ) -> None:
        self.happened, self.results, self.refusal = happened, results, refusal
        self.values: Mapping[int, Array] | None = None
        """Its results by the numbers of outputs, once it is done."""
        self.error: Exception | None = None
        """Why it was not done."""

    @property
    def settled(self) -> bool:
        """Whether it is known what became of it."""
        return self.values is not None or self.error is not None


class Runs:
    """All runs of a device that are not settled, in order.

    A kernel that traps writes its code to the word at `error`, and kernels that would overwrite what is live then do
    nothing. So a run that traps changes nothing, nor do those behind it until its error was raised: to who waits for
    its results, or to whoever uses the device next.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.undone = 0
        """How many runs were not done."""
        self._waiting: deque[Run] = deque()
        self._error = device.allocate(_ERROR_BYTES, "the error word")
        self._clear()

    @property
    def error(self) -> int:
        """The address of the error word."""
        return self._error.address

    def _clear(self) -> None:
        self.device.call("cuMemsetD8Async", self.error, 0, _ERROR_BYTES, self.device.stream)

    def add(self, run: Run) -> None:
        """A run that was just given to the device."""
        self._waiting.append(run)

    def check(self) -> None:
        """Raise the error of a run that is known to have failed. Waits for nothing."""
        with self.device.lock:
            self.device.enter()
            while self._waiting and self.device.happened(self._waiting[0].happened):
                self._settle_first()

    def check_all(self) -> None:
        """Wait for all runs, and raise the error of one that failed."""
        with self.device.lock:
            self.device.enter()
            while self._waiting:
                self.settle(self._waiting[-1])

    def settle(self, run: Run) -> None:
        """Wait for a run and those before it. Raises the error of the first that failed."""
        with self.device.lock:
            self.device.enter()
            while not run.settled:
                self.device.call("cuEventSynchronize", self._waiting[0].happened)
                self._settle_first()

    def _settle_first(self) -> None:
        run = self._waiting[0]
        code, values = run.results()
        if not code:
            run.values = values
            self._waiting.popleft()
            return
        run.error = run.refusal(code)
        later = list(self._waiting)[1:]
        for other in later:
            other.error = RuntimeError(f"this was not done, because what was given before it failed: {run.error}")
        self._waiting.clear()
        self.undone += 1 + len(later)
        self.device.synchronize()
        self._clear()
        if later:
            run.error.add_note(f"{len(later)} that were given to the GPU behind it were not done either.")
        raise run.error


class PendingArray(NDArrayOperatorsMixin):
    """A result of a run: an array of NumPy, or a scalar where it has no axes, for which the first reader waits.

    It takes part in NumPy's functions and operators, and in Python's numbers and formats. `np.asarray(result)`, and
    `float(result)`, are what to keep of it.
    """

    __slots__ = ("_run", "_runs", "_value", "_which", "dtype", "shape")

    def __init__(self, runs: Runs, run: Run, which: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._runs, self._run, self._which = runs, run, which
        self._value: Any = None
        self.shape, self.dtype = shape, dtype

    def _read(self) -> Any:
        if self._value is None:
            if self._run.error is None:
                self._runs.settle(self._run)
            if self._run.error is not None:
                raise self._run.error
            assert self._run.values is not None
            self._value = self._run.values[self._which][()]
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
