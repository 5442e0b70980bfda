"""A NumPy array inside a trace that also takes traced indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from .array_methods import ArrayMethods, array_namespace
from .errors import TracingError, located


class KnownArray(np.ndarray):
    """A NumPy array, known while tracing, as the functions of `gradloom.numpy` that make arrays give it.

    It is a NumPy array in every way, and what is made of it with NumPy is one too; but `table[i]` and `table.take(i)`
    with a traced `i` are looked up in the program, and what cannot be assigned into it says so.
    """

    def __getitem__(self, key: Any) -> Any:
        return array_namespace().getitem(self, key) if _is_traced(key) else super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if _is_traced(key) or _is_traced(value):
            raise TracingError(
                located(
                    "a traced array cannot be assigned into a NumPy array, nor be the index there; write "
                    "y = np.where(mask, new, y), or make y of its parts with np.stack or np.concatenate"
                )
            )
        super().__setitem__(key, value)

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Any:
        if _is_traced(indices):
            return array_namespace().take(self, indices, axis, mode=mode)
        return super().take(indices, axis, out, mode)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array.view(KnownArray)


def _is_traced(value: Any) -> bool:
    if isinstance(value, (list, tuple, slice)):
        parts: Any = (value.start, value.stop, value.step) if isinstance(value, slice) else value
        return any(isinstance(leaf, ArrayMethods) for leaf in optree.tree_leaves(parts))
    return isinstance(value, ArrayMethods)
