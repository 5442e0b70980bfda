"""Kernels that users write over arrays: what a launch of one gives it, and the same in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.user_kernel import Options, UserKernel
from .intrinsics import ARRAY_DTYPES, word

TILE_WORD, STEP_WORD, ROWS_WORD, CODE_WORD, FIRST_ARRAY_WORD = range(5)
"""Words of the block: the tile, rows of a tile, all rows, the code of the trap, then each array."""

FUNCTIONS: dict[str, UserKernel] = {}
"""The functions that the sources of kernels name, by their symbols."""


@dataclass(frozen=True, slots=True)
class ArrayArgument:
    """An array of a kernel's, row by row in memory: its address and its lengths stand in the block.

    With `rows` a tile has some of its rows, all other arrays are whole.
    """

    dtype: str
    ndim: int
    written: bool
    rows: bool = False

    @property
    def words(self) -> int:
        """Words of the block that say where it is."""
        return 1 + self.ndim


@dataclass(frozen=True)
class ArrayKernel:
    """`int64(int64)` over a block: a user's function on arrays. Its options are fixed; `checked`, an index out of range
    stops it.
    """

    kernel: UserKernel
    arrays: Sequence[ArrayArgument]
    options: Mapping[str, Any]
    checked: bool = False

    def __call__(self, block: int) -> int:
        """The same in Python."""
        tile, step, rows, code = (word(block, i) for i in range(FIRST_ARRAY_WORD))
        first, at = tile * step, FIRST_ARRAY_WORD
        given: list[Any] = []
        for array in self.arrays:
            shape = [word(block, at + 1 + i) for i in range(array.ndim)]
            row = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(ARRAY_DTYPES[array.dtype]).itemsize
            address = word(block, at) + (first * row if array.rows else 0)
            shape[:1] = [min(step, rows - first)] if array.rows else shape[:1]
            given.append(_array_at(address, tuple(shape), ARRAY_DTYPES[array.dtype], array.written))
            at += array.words
        try:
            self.kernel.function(*given, **self.options)
        except Exception:
            return code
        return 0


def _array_at(address: int, shape: tuple[int, ...], dtype: str, written: bool) -> Any:
    size = int(np.prod(shape, dtype=np.int64))
    c_type: Any = np.ctypeslib.as_ctypes_type(dtype)
    flat = np.ctypeslib.as_array((c_type * size).from_address(address)) if size else np.empty(0, dtype)
    array = flat.reshape(shape)
    array.flags.writeable = written
    return array


def kernel_source(kernel: UserKernel, arrays: Sequence[ArrayArgument], options: Options, checked: bool = False) -> str:
    """The source of an `ArrayKernel`, as launches name kernels: it differs where the function does."""
    FUNCTIONS[kernel.symbol] = kernel
    chosen = ", ".join(f"{name!r}: {option_text(value)}" for name, value in options)
    return f"kernel = ArrayKernel({kernel.symbol}, {[*arrays]!r}, {{{chosen}}}, {checked or kernel.boundscheck})\n"


def option_text(value: Any) -> str:
    """An option in the source of a kernel, where `inf` and `nan` are names."""
    if isinstance(value, tuple):
        return f"({''.join(f'{option_text(item)}, ' for item in value)})"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return repr(value)
