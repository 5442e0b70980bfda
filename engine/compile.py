"""`compile`: a function of arrays becomes native code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ..ir import Array, ArrayType
from ..passes.pipeline import plan_graph
from ..runtime.executable import Executable
from ..runtime.fork_lock import fork_lock
from .arrays import check_target, dense_arrays, thread_count
from .trace import TracedFunction, input_name, trace_with_structure
from .tracer import Tracer, current_trace


class CompiledFunction:
    """A function, compiled for each signature (structure, shapes, dtypes, other arguments) it is called with."""

    def __init__(self, fn: Callable[..., Any], threads: int) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn = fn
        self._threads = threads
        self._signatures: dict[Any, _Signature] = {}
        self._lock = fork_lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, as NumPy arrays."""
        if current_trace() is not None:
            return self._fn(*args, **kwargs)  # part of a larger program
        leaves, tree = optree.tree_flatten((args, kwargs))  # pyright: ignore[reportArgumentType]
        given: list[Any] = []
        key: list[Any] = [tree]
        for leaf in leaves:
            if isinstance(leaf, (np.ndarray, np.generic)):
                given.append(leaf)
                key.append(None)
            elif isinstance(leaf, Tracer):
                return self._fn(*args, **kwargs)  # says that its trace has ended
            else:
                key.append(_fixed(leaf, self._fn))
        arrays = dense_arrays(given, lambda: self._names(args, kwargs))
        key += [(array.shape, array.dtype) for array in arrays]
        signature = self._signatures.get(tuple(key)) or self._new_signature(tuple(key), args, kwargs)
        return signature.run(arrays)

    def _new_signature(self, key: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Signature:
        with self._lock:
            if key not in self._signatures:  # another thread may have been here first
                traced = trace_with_structure(self._fn, *args, **kwargs)
                self._signatures[key] = _Signature(traced, self._threads)
            return self._signatures[key]

    def _names(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        """Names of the arguments that are arrays."""
        paths, leaves, _ = optree.tree_flatten_with_path((args, kwargs))  # pyright: ignore[reportArgumentType]
        arrays = (isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves)
        return [input_name(self._fn, path) for path, is_array in zip(paths, arrays) if is_array]


def _fixed(leaf: Any, fn: Callable[..., Any]) -> Any:
    """An argument that is part of the program, as a key: 1, 1.0 and True are equal, and so are 0.0 and -0.0, but they
    do not make the same program.
    """
    if isinstance(leaf, float):
        return type(leaf), leaf.hex()
    if isinstance(leaf, ArrayType):
        raise TypeError(
            "a compiled function computes with arrays, got a spec; to compile ahead call it with "
            "np.zeros(spec.shape, spec.dtype), to see the graph use gl.trace"
        )
    try:
        hash(leaf)
    except TypeError:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(
            f"{name} was given a {type(leaf).__name__}, which is no array and has no hash; what is no array is fixed "
            "in the compiled program: pass something immutable, such as a frozen dataclass, or close over it"
        ) from None
    return type(leaf), leaf


class _Signature:
    """Machine code for one signature."""

    def __init__(self, traced: TracedFunction, threads: int) -> None:
        self._out_tree = traced.out_tree
        self._executable = Executable(plan_graph(traced.graph, threads))
        self._out_types = [(v.type.shape, v.type.dtype) for v in traced.graph.outputs]
        self._lock = fork_lock()

    def run(self, arrays: list[Array]) -> Any:
        executable = self._executable
        results: list[Array] = [np.empty(shape, dtype) for shape, dtype in self._out_types]
        with self._lock:
            executable.run(arrays, results)
        return optree.tree_unflatten(self._out_tree, results)


def compile(fn: Callable[..., Any], target: str = "cpu", threads: int | None = None) -> CompiledFunction:
    """`fn` as native code: a callable that takes what `fn` takes and returns NumPy arrays.

    It is traced and compiled at the first call with each signature: the shapes and dtypes of all arrays, and the values
    of all else, which must be hashable. What `fn` closes over is fixed at that call. `threads` bounds the number of
    threads (default: one for each usable core); the result has the same bits for any number. Calls from several Python
    threads are safe; calls of one signature wait for each other. Called while something else is traced, it becomes part
    of that.

    Raises `ValueError` for another target than "cpu", and when called whatever tracing raises; `IndexError` where an
    index that is known only then is out of range, `ValueError` where an integer is raised to a negative power.
    """
    check_target(target)
    if not callable(fn):
        raise TypeError(f"compile takes a function, got {type(fn).__name__}")
    return CompiledFunction(fn, thread_count(threads))
