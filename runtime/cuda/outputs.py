"""Outputs of a program that lie in its arena."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Array
from ..pending_array import PendingArray
from .device_array import DeviceArray


class ArenaOutput:
    """An output of a program as the engine reads it after a run: `output[()]` of a number and `output.copy()` of an
    array are the result of the last run, for which their reader waits; a large one is read at once.
    """

    def __init__(self, array: DeviceArray, last: Callable[[], PendingArray | None]) -> None:
        self._array, self._last = array, last
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def copy(self) -> Array | PendingArray:
        """The result of the last run."""
        pending = self._last()
        return self._array.copy() if pending is None else pending

    def __getitem__(self, key: Any) -> Any:
        return self.copy() if key == () else self.copy()[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.copy(), dtype=dtype)

    def __float__(self) -> float:
        return float(self.copy())

    def astype(self, dtype: Any) -> Array:
        """The result of the last run, as another dtype."""
        return np.asarray(self).astype(dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)
