"""Arrays as a program takes them: of a supported dtype, dense, aligned, in native byte order; copied only where need
be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import DTYPES, Array, ArrayType
from .errors import located
from .numbers import as_whole
from .tracer import Tracer, as_array


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(threads: int | None) -> int:
    """`threads`, by default one for each usable core. Raises `ValueError` unless it is 1 or more."""
    if threads is None:
        return usable_cores()
    whole = as_whole(threads)
    if whole is None or whole < 1:
        raise ValueError(located(f"threads is a whole number of 1 or more, or None for one a core; got {threads!r}"))
    return min(whole, 256)


def leaf_array(leaf: Any) -> Any:
    """A leaf of a pytree as functions compute with it: a traced one as it is, all else as an array."""
    return leaf if isinstance(leaf, Tracer) else as_array(leaf)


def dense(array: Any) -> Array:
    """The array itself where a program can read it as it is, else a copy. Raises `TypeError` for what is no array."""
    if type(array) is not np.ndarray or array.dtype not in DTYPES:
        array = as_array(array)
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


_PLAIN = {np.ndarray}


def dense_arrays(
    leaves: Sequence[Any], names: Callable[[], Sequence[str]], of_device: Callable[[Any], Any] | None = None
) -> list[Array]:
    """`dense` of each leaf. Raises `TypeError` that names the one that is no array.

    What is no array of NumPy may be one `of_device`, and stands in the list as that gives it.
    """
    if of_device is not None and any(type(leaf) is not np.ndarray for leaf in leaves):
        found = [_found(i, leaf, names, of_device) for i, leaf in enumerate(leaves)]
        rest = iter(dense_arrays([leaf for leaf, there in zip(leaves, found) if there is None], names))
        return [next(rest) if there is None else there for there in found]
    if set(map(type, leaves)) <= _PLAIN and all(dtype in DTYPES for dtype in {leaf.dtype for leaf in leaves}):
        return [leaf if leaf.flags.carray else dense(leaf) for leaf in leaves]  # many of them take a microsecond each
    try:
        return [dense(leaf) for leaf in leaves]
    except TypeError:
        for name, leaf in zip(names(), leaves):
            try:
                dense(leaf)
            except TypeError:
                raise TypeError(located(_unfit(name, leaf))) from None
        raise


def _found(i: int, leaf: Any, names: Callable[[], Sequence[str]], of_device: Callable[[Any], Any]) -> Any:
    if type(leaf) is np.ndarray:
        return None
    try:
        return of_device(leaf)
    except TypeError as error:
        raise TypeError(located(f"{names()[i]}: {error}")) from None


def _unfit(name: str, leaf: Any) -> str:
    known = ", ".join(map(str, DTYPES))
    if isinstance(leaf, (np.ndarray, np.generic)):
        return f"{name} is {leaf.dtype}, which is not supported; write {name}.astype(...) with one of {known}"
    if isinstance(leaf, ArrayType):
        return f"{name} is a spec, {leaf}; what runs needs an array"
    return f"{name} is of type {type(leaf).__name__}; use an array of one of {known}"
