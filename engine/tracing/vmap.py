"""`vmap`: a function of one example becomes a function of many at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import optree

from ...ir import ArrayType, Value
from ...passes.graph.dead_code import without_dead_code
from ...passes.vmap.rules import RULES
from ...passes.vmap.vectorizer import Vectorizer
from .. import array_api as xp
from ..array_api.broadcasting import axis_index, integer
from .arrays import leaf_array
from .debug import PrintedLoop, Prints
from .errors import UnsupportedError
from .keywords import tells_keywords
from .random import keys as stream_keys
from .trace import input_name, path_name, trace_arguments
from .tracer import ShapeError, Trace, Tracer, TracingError, current_trace, located
from .transforms import active_trace, transform_of

Axes = Any
"""An axis, `None`, or a pytree of these that is a prefix of the tree that it is for."""


@tells_keywords
def vmap(
    fun: Callable[..., Any],
    in_axes: Axes = 0,
    out_axes: Axes = 0,
    axis_name: Hashable | None = None,
    axis_size: int | None = None,
    spmd_axis_name: Hashable | None = None,
) -> Callable[..., Any]:
    """`fun` of one example as a function of many, as `jax.vmap`.

    `in_axes` says which axis of each argument has the examples: an integer for all arguments, or a tuple with one entry
    for each, which is an integer, `None` for what is the same for all examples, or a pytree of these that is a prefix
    of the argument. Negative axes count from the end. Arguments by name have them along axis 0. `out_axes` says where
    the results have them; `None` is for a result that does not depend on the example. `axis_size` is needed where no
    argument has an axis.

    `fun` is traced once, and each node is written for all examples: what does not depend on the example is computed
    once, a product becomes one product, and a loop one loop. Each example draws random numbers of its own, from a key
    of its own; from a key that is given inside `fun` all draw the same. Raises `ShapeError` that names the arguments
    whose lengths differ, `TypeError` for an argument without axes.
    """
    for name, given in (("axis_name", axis_name), ("spmd_axis_name", spmd_axis_name)):
        if given is not None:
            raise UnsupportedError(located(f"vmap: {name} is not supported; reduce the result over the examples' axis"))
    return _mapped(fun, "vmap", in_axes, out_axes, axis_size, own_draws=True)


def map_rows(fun: Callable[..., Any], out_axes: int) -> Callable[..., Any]:
    """`fun` for each entry of the first axis of its argument; all draw the same random numbers, as one call does."""
    return _mapped(fun, "vmap", 0, out_axes, None, own_draws=False)


def _mapped(
    fun: Callable[..., Any], what: str, in_axes: Axes, out_axes: Axes, axis_size: int | None, own_draws: bool
) -> Callable[..., Any]:
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    if not (in_axes is None or isinstance(in_axes, (int, np.integer, tuple))):
        raise TypeError(
            located(f"{what}: in_axes is an integer, None or a tuple, one entry for each argument, got {in_axes!r}")
        )

    @transform_of(fun, what, lambda method: _mapped(method, what, in_axes, out_axes, axis_size, own_draws))
    def mapped(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None:
            traced = trace_arguments(mapped, args, kwargs, lambda path: False)
            return replace(traced, graph=without_dead_code(traced.graph))(*args, **kwargs)
        call = _Call(active_trace(), fun, what, in_axes, axis_size, args, kwargs)
        return call.run(out_axes, own_draws)

    return mapped


class _Call:
    """One call in `trace`: the leaves of the arguments, and the axis of each that has the examples."""

    def __init__(
        self,
        trace: Trace,
        fun: Callable[..., Any],
        what: str,
        in_axes: Axes,
        axis_size: int | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.trace = trace
        self.fun = fun
        self.what = what
        self.paths, self.leaves, self.tree = optree.tree_flatten_with_path(cast(Any, (args, kwargs)), none_is_leaf=True)
        self.axes = self._axes(in_axes, args)
        self.count = self._count(axis_size)

    def _axes(self, in_axes: Axes, args: tuple[Any, ...]) -> list[int | None]:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise ValueError(located(f"{self.what}: in_axes has {len(in_axes)} entries for {len(args)} arguments"))
        given = _for_leaves(self.what, "in_axes", in_axes, args)
        given += [0] * (len(self.leaves) - len(given))  # what is given by name
        return [
            None if axis is None or leaf is None else self._axis(path, leaf, axis)
            for path, leaf, axis in zip(self.paths, self.leaves, given, strict=True)
        ]

    def _axis(self, path: Any, leaf: Any, axis: Any) -> int:
        name = input_name(self.fun, path)
        advice = "in_axes=None is for an argument that is the same for all examples"
        if not isinstance(leaf, (Tracer, np.ndarray)):
            raise TypeError(located(f"{self.what}: {name} is of type {type(leaf).__name__} and has no axis; {advice}"))
        if not leaf.shape:
            raise TypeError(located(f"{self.what}: {name} is a scalar and has no axis; {advice}"))
        place = integer(axis, f"{self.what}: an axis of in_axes")
        if not -len(leaf.shape) <= place < len(leaf.shape):
            raise ValueError(located(f"{self.what}: {name} has shape {tuple(leaf.shape)} and no axis {place}"))
        return place % len(leaf.shape)

    def _count(self, given: int | None) -> int:
        lengths: dict[str, int] = {}
        if given is not None:
            lengths["axis_size"] = integer(given, f"{self.what}: axis_size")
            if lengths["axis_size"] < 0:
                raise ValueError(located(f"{self.what}: axis_size is 0 or more, got {given}"))
        for path, leaf, axis in zip(self.paths, self.leaves, self.axes):
            if axis is not None:
                lengths[f"axis {axis} of {input_name(self.fun, path)}"] = leaf.shape[axis]
        if not lengths:
            raise ValueError(located(f"{self.what}: no argument has the examples; write axis_size=10, or in_axes"))
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise ShapeError(located(f"{self.what}: the number of examples differs: {listed}"))
        return next(iter(lengths.values()))

    def run(self, out_axes: Axes, own_draws: bool) -> Any:
        trace = self.trace
        vectorizer = Vectorizer(trace.builder, self.count, RULES)
        wholes = [leaf if axis is None else self._to_front(leaf, axis) for leaf, axis in zip(self.leaves, self.axes)]
        with trace.inlined() as inner:
            inner.prints = None if trace.prints is None else []

            def key(around: stream_keys.Keyed) -> Tracer:
                return self._example(vectorizer, inner, stream_keys.keys_of_steps(around, trace, self.count))

            given = [
                whole if axis is None else self._example(vectorizer, inner, whole)
                for whole, axis in zip(wholes, self.axes)
            ]
            args, kwargs = cast(Any, optree.tree_unflatten(self.tree, given))
            if own_draws:
                with stream_keys.key_when_drawn(key):
                    result = self.fun(*args, **kwargs)
            else:
                result = self.fun(*args, **kwargs)
            paths, leaves, tree = optree.tree_flatten_with_path(result)
            values = [inner.lift(self._result(leaf)) for leaf in leaves]
        for outer, value in inner.captures.items():
            vectorizer.enter(value, outer, False)
        trace.builder.origin = trace.origin()
        vectorizer.run(inner.builder.nodes)
        self._print(vectorizer, inner.prints or [])
        axes = _for_leaves(self.what, "out_axes", out_axes, result)
        outputs = [self._output(vectorizer, *it) for it in zip(paths, values, axes, strict=True)]
        return optree.tree_unflatten(tree, outputs)

    def _print(self, vectorizer: Vectorizer, prints: Prints) -> None:
        """Print for each example what it does; once what is the same for all."""
        if self.trace.prints is None:
            return
        for one in prints:
            if vectorizer.mapped.isdisjoint(one.values):
                made = replace(one, values=tuple(vectorizer.made[value] for value in one.values))
            else:
                wholes = tuple(map(vectorizer.whole, one.values))
                made = PrintedLoop((one,), self.count, False, wholes)
            self.trace.prints.append(made)

    def _to_front(self, leaf: Any, axis: int) -> Tracer:
        moved = xp.moveaxis(leaf_array(leaf), axis, 0)
        return Tracer(self.trace, self.trace.lift(moved))

    def _example(self, vectorizer: Vectorizer, inner: Trace, whole: Tracer) -> Tracer:
        """What stands for one example of `whole`."""
        value = Value(ArrayType(whole.shape[1:], whole.dtype), name=whole.value.name)
        vectorizer.enter(value, whole.value, True)
        return Tracer(inner, value)

    def _result(self, leaf: Any) -> Any:
        if isinstance(leaf, (Tracer, np.ndarray, np.generic, bool, int, float)):
            return leaf
        name = getattr(self.fun, "__name__", type(self.fun).__name__)
        what = f"{name} returned an object of type {type(leaf).__name__}"
        raise TracingError(located(f"{self.what}: {what}; return arrays, or pytrees of arrays"))

    def _output(self, vectorizer: Vectorizer, path: Any, value: Value, axis: Any) -> Tracer:
        if axis is None:
            if value in vectorizer.mapped:
                name = path_name(path) or "the result"
                raise ValueError(located(f"{self.what}: out_axes is None for {name}, which depends on the example"))
            return Tracer(self.trace, vectorizer.made[value])
        whole = Tracer(self.trace, vectorizer.whole(value))
        return Tracer(self.trace, xp.moveaxis(whole, 0, axis_index(axis, len(whole.shape))).value)


def _for_leaves(what: str, name: str, axes: Axes, tree: Any) -> list[Any]:
    """An axis for each leaf of a tree, of a prefix of it."""
    # `None` is an axis like others; where it is a leaf of the tree, it has none.
    is_result = name == "out_axes"
    try:
        whole = optree.tree_broadcast_prefix(axes, tree, none_is_leaf=True)
    except ValueError:
        shape = optree.tree_structure(tree)
        kind = "the result" if is_result else "the arguments"
        raise ValueError(located(f"{what}: {name} {axes!r} is no prefix of {kind}, {shape}")) from None
    found = optree.tree_leaves(whole, none_is_leaf=True)
    if not is_result:
        return found
    leaves = optree.tree_leaves(tree, none_is_leaf=True)
    return [axis for axis, leaf in zip(found, leaves, strict=True) if leaf is not None]
