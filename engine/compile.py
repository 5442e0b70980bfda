"""`compile`: a function of arrays becomes native code."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ..ir import Array, ArrayType
from ..passes.pipeline import plan_graph
from ..runtime.executable import Executable
from .arrays import check_target, dense, thread_count
from .trace import TracedFunction, trace_with_structure
from .tracer import Tracer, as_array


class CompiledFunction:
    """A function that was compiled for each signature (structure, shapes, dtypes, other arguments) it was called with."""

    def __init__(self, fn: Callable[..., Any], threads: int) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._threads = threads
        self._compiled: dict[Any, _Signature] = {}
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, as NumPy arrays."""
        leaves, tree = optree.tree_flatten((args, kwargs))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._fn(*args, **kwargs)  # part of a larger program
        key = (tree, *map(_leaf_key, leaves))
        signature = self._compiled.get(key)
        if signature is None:
            with self._lock:
                signature = self._compiled.get(key)
                if signature is None:
                    if any(isinstance(leaf, ArrayType) for leaf in leaves):
                        raise TypeError(
                            "a compiled function computes with arrays, got a spec; to compile ahead call it with "
                            "np.zeros(spec.shape, spec.dtype), to see the graph use gl.trace"
                        )
                    signature = self._compiled[key] = _Signature(
                        trace_with_structure(self._fn, *args, **kwargs), self._threads
                    )
        return signature.run(leaves)


def _leaf_key(leaf: Any) -> Any:
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.shape, leaf.dtype
    # 1, 1.0 and True are equal, but not the same program.
    try:
        hash(leaf)
    except TypeError:
        return type(leaf), id(leaf)
    return type(leaf), leaf


class _Signature:
    """Machine code for one signature."""

    def __init__(self, traced: TracedFunction, threads: int) -> None:
        self.traced = traced
        self.executable = Executable(plan_graph(traced.graph, threads))
        self.lock = threading.Lock()

    def run(self, leaves: list[Any]) -> Any:
        executable, graph = self.executable, self.traced.graph
        given = [dense(as_array(leaf)) for leaf, is_array in zip(leaves, self.traced.arrays) if is_array]
        results: list[Array] = [np.empty(v.type.shape, v.type.dtype) for v in graph.outputs]
        with self.lock:
            for i, array in enumerate(given):
                executable.bind_input(i, array)
            for i, array in enumerate(results):
                executable.bind_output(i, array)
            executable.run()
            executable.release()
        return optree.tree_unflatten(self.traced.out_tree, results)


def compile(fn: Callable[..., Any], target: str = "cpu", threads: int | None = None) -> CompiledFunction:
    """`fn` as native code: a callable that takes what `fn` takes and returns NumPy arrays.

    It is traced and compiled at the first call with each signature: the shapes and dtypes of all arrays, and the values of
    all else. `threads` bounds the number of threads (default: one for each usable core); the result has the same bits for
    any number. Calls from several Python threads are safe; calls of one signature wait for each other.

    Raises `ValueError` for another target than "cpu", and when called whatever tracing raises; `IndexError` where an index
    that is known only then is out of range.
    """
    check_target(target)
    if not callable(fn):
        raise TypeError(f"compile takes a function, got {type(fn).__name__}")
    return CompiledFunction(fn, thread_count(threads))
