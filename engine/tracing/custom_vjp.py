"""`custom_vjp`: a function whose derivative the user writes."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import optree

from ...ir import Graph, Value, is_inexact
from ...ir.ops import custom_vjp as op
from .. import array_api as xp
from ..array_api.broadcasting import described, integer
from .arrays import leaf_array
from .errors import UnsupportedError
from .float_argument import FloatArgument
from .trace import path_name
from .tracer import ShapeError, Trace, Tracer, TracingError, current_trace, located
from .transforms import conjugated

_DEEPEST = 2
"""How often a function may stand inside its own `forward` and `backward` before it is `fun` alone."""


class _Depth(threading.local):
    def __init__(self) -> None:
        self.depth = 0


class custom_vjp:
    """`fun` with a derivative of the user's own, as `jax.custom_vjp`.

        @gl.custom_vjp
        def clipped(x):
            return x

        def forward(x):
            return x, x  # the result, and what backward wants to know

        def backward(kept, cotangent):
            return (np.clip(cotangent, -1, 1),)

        clipped.defvjp(forward, backward)

    `forward` takes the arguments of `fun`. `backward` takes what it kept and the cotangent of the result, a pytree like
    the result, and returns a tuple with the cotangent of each argument: a pytree like the argument, or `None` for
    zeros. Arguments, results and what is kept are pytrees. Arguments of the places `nondiff_argnums` have no cotangent:
    `backward` is given them first. So do integers and objects that are no arrays, for which it returns anything.

    Inside a program `forward` stands for `fun`; what it makes for `backward` alone is dead code where no derivative is
    taken. Derivatives of derivatives are those of what `forward` and `backward` compute; where these call the function
    itself, it has its own derivative up to the second order, and that of `fun` in higher ones. `jvp` transposes
    `backward`, which is linear in the cotangent. Nothing flows into traced arrays that the three read from around them.
    Raises `TracingError` or `ShapeError` where what `backward` returns does not fit the arguments.
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        if not callable(fun):
            raise TypeError(
                located(f"custom_vjp takes a function, got {type(fun).__name__}; write @gl.custom_vjp above it")
            )
        functools.update_wrapper(self, fun, updated=())
        self.fun = fun
        given = list(nondiff_argnums) if isinstance(nondiff_argnums, (list, tuple, range)) else [nondiff_argnums]
        self.nondiff_argnums = tuple(integer(i, "nondiff_argnums") for i in given)
        self.inside = _Depth()
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Define the derivative by `fwd`, `arguments -> (result, kept)`, and `bwd`, `(kept, cotangent) -> cotangents`.

        Raises `UnsupportedError` for `symbolic_zeros`: a cotangent that is known to be zero is an array of zeros.
        """
        if symbolic_zeros:
            raise UnsupportedError(located("defvjp: symbolic_zeros is not supported; leave it away: zeros are arrays"))
        if not (callable(fwd) and callable(bwd)):
            raise TypeError(located("defvjp takes two functions; write defvjp(fwd, bwd)"))
        # What is not read is not computed, so `optimize_remat` holds always.
        self.forward, self.backward = fwd, bwd

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`fun(*args, **kwargs)`."""
        name = getattr(self.fun, "__name__", type(self.fun).__name__)
        if self.forward is None or self.backward is None:
            raise AttributeError(located(f"{name} has no derivative; write {name}.defvjp(forward, backward)"))
        args = _positional(self.fun, name, args, kwargs)
        trace = current_trace()
        if trace is None or self.inside.depth == _DEEPEST:
            return self.fun(*args)
        fixed = [i % len(args) for i in self.nondiff_argnums]
        self.inside.depth += 1
        try:
            return _Call(trace, name, args, fixed).run(self.forward, self.backward)
        finally:
            self.inside.depth -= 1


def _positional(fun: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments by place."""
    if not kwargs:
        return args
    bound = inspect.signature(fun).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        only = ", ".join(bound.kwargs)
        raise TypeError(located(f"{name}: a custom_vjp function is called by position, but {only} has a name only"))
    return bound.args


class _Call:
    """One call in `trace`; `wrt` are the traced floats among the arguments that have a cotangent."""

    def __init__(self, trace: Trace, name: str, args: tuple[Any, ...], fixed: Sequence[int]) -> None:
        self.trace = trace
        self.name = name
        self.args = args
        self.fixed = [args[i] for i in fixed]
        self.free = [i for i in range(len(args)) if i not in fixed]
        # `None` is a leaf, so that the cotangent `None` can stand for any tree.
        self.trees = [optree.tree_structure(args[i], none_is_leaf=True) for i in self.free]
        self.wrt = [leaf for i in self.free for leaf in optree.tree_leaves(args[i]) if _has_cotangent(leaf)]

    def run(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
        trace = self.trace
        arguments = [trace.lift(leaf) for leaf in self.wrt]
        pair = forward(*self.args)
        if not (isinstance(pair, tuple) and len(pair) == 2):
            came = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
            raise TracingError(located(f"{self.name}: forward returns a pair (result, kept), got {came}"))
        result, kept = pair
        leaves, tree = optree.tree_flatten(cast(Any, result))
        values = [trace.lift(leaf) for leaf in leaves]
        if not values or not arguments:
            return result
        inner = Trace(trace)
        inner.role = "backward"
        cotangents = [Value(v.type, name=f"cotangent{i}") for i, v in enumerate(values)]
        with inner:
            given = optree.tree_unflatten(tree, [Tracer(inner, conjugated(inner, v)) for v in cotangents])
            found = self.cotangents(backward(*self.fixed, kept, given))
            gradients = [conjugated(inner, inner.lift(x)) for x in found]
        graph = Graph([*inner.captures.values(), *cotangents], inner.builder.nodes, gradients)
        counts = {"values": len(values), "arguments": len(arguments)}
        node = trace.emit_node(op.custom_vjp, *values, *arguments, *inner.captures, backward=graph, **counts)
        return optree.tree_unflatten(tree, [Tracer(trace, v) for v in node.outputs])

    def cotangents(self, returned: Any) -> list[Any]:
        """The cotangents of `wrt` among what `backward` returned."""
        if not isinstance(returned, (tuple, list)) or len(returned) != len(self.free):
            came = f"{len(returned)} of them" if isinstance(returned, (tuple, list)) else type(returned).__name__
            count = len(self.free)
            raise TracingError(
                located(
                    f"{self.name}: backward returns a tuple with a cotangent for each of {count} arguments, got {came}"
                )
            )
        results: list[Any] = []
        for i, tree, cotangent in zip(self.free, self.trees, returned):
            paths, leaves, _ = optree.tree_flatten_with_path(self.args[i], none_is_leaf=True)
            places = [".".join((str(i), path_name(path))).rstrip(".") for path in paths]
            given = [None] * len(leaves) if cotangent is None else self.flattened(i, tree, cotangent)
            results += [self.fitting(*it) for it in zip(places, leaves, given) if _has_cotangent(it[1])]
        return results

    def flattened(self, place: int, tree: optree.PyTreeSpec, cotangent: Any) -> list[Any]:
        try:
            return tree.flatten_up_to(cotangent)
        except ValueError:
            found = optree.tree_structure(cotangent, none_is_leaf=True)
            what = f"the cotangent of argument {place} has the structure {found}, the argument {tree}"
            raise TracingError(located(f"{self.name}: {what}")) from None

    def fitting(self, place: str, leaf: Tracer, cotangent: Any) -> Any:
        """The cotangent of one argument, once it is seen to be like it."""
        if cotangent is None:
            return np.zeros(leaf.shape, leaf.dtype)
        array: Any = leaf_array(cotangent)
        if type(cotangent) in (int, float) or isinstance(leaf, FloatArgument):
            array = xp.astype(array, leaf.dtype)
        if tuple(array.shape) != leaf.shape or array.dtype != leaf.dtype:
            error = ShapeError if tuple(array.shape) != leaf.shape else TracingError
            what = f"the cotangent of argument {place} is {described(array)}, the argument {described(leaf)}"
            raise error(located(f"{self.name}: {what}"))
        return array


def _has_cotangent(leaf: Any) -> bool:
    return isinstance(leaf, Tracer) and is_inexact(leaf.dtype)
