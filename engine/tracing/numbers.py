"""What counts as a number where one is wanted: Python's and NumPy's, 0-d arrays among them, and no boolean."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import BFLOAT16, kind_of

_LARGEST = float(np.finfo(np.float64).max)


def as_real(value: Any) -> int | float | None:
    """A real number as Python's own; `None` for all else: a boolean, text, a complex number, an array with axes."""
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (int, float)) and type(value) in (int, float):
        return value
    if issubclass(type(value), (int, float, np.integer, np.floating, BFLOAT16.type)):  # no traced float
        return int(value) if isinstance(value, (int, np.integer)) else float(value)
    if isinstance(value, np.ndarray) and value.ndim == 0 and kind_of(value.dtype) in "iuf":
        return as_real(value[()])
    return None


def as_rate(value: Any) -> float | None:
    """A finite number of 0 or more as Python's float; `None` for all else."""
    number = as_real(value)
    return float(number) if number is not None and 0 <= number <= _LARGEST else None


def as_whole(value: Any) -> int | None:
    """A whole number as Python's own, also one that comes as a float, such as 1e4; `None` for all else."""
    number = as_real(value)
    if isinstance(number, float):
        return int(number) if number.is_integer() else None
    return number
