"""What calls of LAPACK take: the routine of a dtype, and how a matrix stands in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...passes.graph.views import View
from .launch import Routine


def lapack_routine(name: str, dtype: np.dtype[Any]) -> Routine:
    """The routine for this dtype."""
    return Routine(("s" if dtype.itemsize == 4 else "d") + name)


def matrix_strides(view: View) -> list[int]:
    """Bytes from row to row of a matrix, and elements from column to column."""
    return [view.strides[-2] * view.base.type.dtype.itemsize, view.strides[-1]]
