"""The carries of loops while they are written: pytrees that keep their structure, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ...ir import DType, Value
from .. import array_api as xp
from ..array_api.broadcasting import described
from .arrays import leaf_array
from .float_argument import FloatArgument
from .trace import path_name
from .tracer import ShapeError, Trace, Tracer, TracingError, located


class Carry:
    """The carry of a loop, as it begins: its leaves by `names`, and what a step must return.

    `loop` and `function` are what errors call the loop and the function that returns the carry.
    """

    def __init__(self, trace: Trace, init: Any, loop: str, function: str) -> None:
        paths, leaves, self.tree = optree.tree_flatten_with_path(init)
        self.names = [leaf_name("the carry", path) for path in paths]
        self.starts = [traced(trace, leaf) for leaf in leaves]
        self.loop = loop
        self.function = function
        self.values = [Value(x.value.type) for x in self.starts]
        """What stands for the carry in the body."""

    def inside(self, trace: Trace) -> list[Any]:
        """The leaves in the body, which is `trace`."""
        return [Tracer(trace, value) for value in self.values]

    def whole(self, leaves: Any) -> Any:
        """A carry of these leaves."""
        return optree.tree_unflatten(self.tree, leaves)

    def leaves(self, carry: Any) -> list[Any]:
        """The leaves of a carry that a step returns, once it is seen to be like the one that it began with."""
        leaves, after_tree = optree.tree_flatten(carry)
        what = f"{self.loop}: the carry"
        if after_tree != self.tree:
            raise TracingError(located(f"{what} begins as {self.tree}, but {self.function} returns {after_tree}"))
        results: list[Any] = []
        for name, value, leaf in zip(self.names, self.values, leaves):
            expected = value.type
            new = as_dtype(leaf, expected.dtype) if is_weak(leaf) else result(leaf, f"{self.loop}: {self.function}")
            begins = f"{self.loop}: {name} begins as {_shown(value)}, but {self.function} returns {described(new)}"
            if tuple(new.shape) != expected.shape:
                raise ShapeError(located(f"{begins}; it keeps its shape from step to step"))
            if new.dtype != expected.dtype:
                hint = f"begin with {new.dtype}, or return .astype({str(expected.dtype)!r})"
                raise TracingError(located(f"{begins}; {hint}"))
            results.append(new)
        return results


def with_types(init: Any, trace: Trace, body: Trace, step: Callable[[Any], Any]) -> Any:
    """`init` with arrays for the Python numbers in it, of the dtypes that a `step`, written in `body`, gives them."""
    leaves, tree = optree.tree_flatten(init)
    weak = [is_weak(leaf) for leaf in leaves]
    if not any(weak):
        return init
    with body:
        # A number that meets an array takes its dtype: one step shows which.
        carry = [
            leaf if weak_leaf else Tracer(body, Value(traced(trace, leaf).value.type))
            for leaf, weak_leaf in zip(leaves, weak)
        ]
        after, after_tree = optree.tree_flatten(step(optree.tree_unflatten(tree, carry)))
    if after_tree != tree:
        return init
    typed = [
        as_dtype(leaf, new.dtype) if weak_leaf and isinstance(new, (Tracer, np.ndarray, np.generic)) else leaf
        for leaf, new, weak_leaf in zip(leaves, after, weak)
    ]
    return optree.tree_unflatten(tree, typed)


def check_function(what: str, name: str, function: Any, instead: str) -> None:
    """Raises `TypeError` where an argument is no function."""
    if not callable(function):
        raise TypeError(located(f"{what}: {name} is a function, got {type(function).__name__}; write {instead}"))


def is_weak(leaf: Any) -> bool:
    """Whether a leaf is a number that takes the dtype of what it meets."""
    return type(leaf) in (bool, int, float, FloatArgument)


def as_dtype(number: Any, dtype: DType) -> Any:
    """A weak number as `dtype`."""
    return xp.astype(number, dtype) if isinstance(number, Tracer) else np.asarray(number, dtype)


def leaf_name(what: str, path: Any) -> str:
    """The name of a leaf in errors."""
    name = path_name(path)
    return f"{what} at {name}" if name else what


def traced(trace: Trace, leaf: Any) -> Tracer:
    """A leaf as an array of the program."""
    return Tracer(trace, trace.lift(leaf_array(leaf)))


def result(leaf: Any, who: str) -> Any:
    """A leaf of what a function returned, as an array; `who` is the function."""
    if not isinstance(leaf, (Tracer, np.ndarray, np.generic, bool, int, float)):
        raise TracingError(located(f"{who} returns pytrees of arrays, got an object of type {type(leaf).__name__}"))
    return leaf_array(leaf)


def _shown(value: Value) -> str:
    return f"{value.type.shape} {value.type.dtype}"
