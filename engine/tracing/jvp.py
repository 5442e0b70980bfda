"""`jvp`: the directional derivative of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import optree

from ...ir import Value, is_inexact
from ...passes.autodiff.forward import push_forward
from ...passes.graph.dead_code import without_dead_code
from .. import array_api as xp
from .arrays import leaf_array
from .float_argument import FloatArgument
from .keywords import tells_keywords
from .trace import path_name, trace_arguments
from .tracer import ShapeError, Trace, Tracer, TracingError, as_array, current_trace, located
from .transforms import active_trace, fresh_leaves, with_floats


@tells_keywords
def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """`fun(*primals)` and its derivative in the direction of `tangents`: the Jacobian times these.

    Primals and tangents are tuples or lists of pytrees, with the same structures, shapes and dtypes. The tangent of the
    result is a pytree like the result; an integer has the tangent 0. With `has_aux`, `fun` returns `(result, aux)` and
    `jvp` gives `(result, tangent, aux)`. Raises `TypeError` for primals that are not floats, `TracingError` or
    `ShapeError` where the tangents do not fit.

    It costs about as much as two calls of `fun`, also through loops, of which nothing is stacked; through `while_loop`
    too.
    """
    if not callable(fun):
        raise TypeError(located(f"jvp takes a function, got {type(fun).__name__}; write jvp(f, (x,), (v,))"))
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            kind = type(given).__name__
            raise TypeError(located(f"jvp: {name} is a tuple with one entry for each argument, got {kind}; write (x,)"))
    if current_trace() is not None:
        return _jvp(active_trace(), fun, primals, tangents, has_aux)
    arrays = tuple(with_floats(primal, f"argument {i}") for i, primal in enumerate(primals))

    def whole(given: Any, directions: Any) -> Any:
        return _jvp(active_trace(), fun, given, directions, has_aux)

    directions = tuple(optree.tree_map(_as_input, tangent) for tangent in tangents)
    traced = trace_arguments(whole, (arrays, directions), {}, lambda path: True)
    return replace(traced, graph=without_dead_code(traced.graph))(arrays, directions)


def _jvp(
    trace: Trace, fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool
) -> tuple[Any, ...]:
    directions = _directions(trace, tuple(primals), tuple(tangents))
    pairs = [fresh_leaves(trace, primal, f"argument {i}") for i, primal in enumerate(primals)]
    begin = len(trace.builder.nodes)
    result = fun(*(given for given, _ in pairs))
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise TracingError(located("jvp with has_aux=True needs a function that returns (result, aux)"))
    out, *aux = result if has_aux else (result,)
    leaves, tree = optree.tree_flatten(cast(Any, out))
    outputs = [Tracer(trace, trace.lift(leaf)) for leaf in leaves]
    along = dict(zip((value for _, values in pairs for value in values), directions, strict=True))
    push_forward(trace.builder, trace.builder.nodes[begin:], along)
    found = [along.get(output.value) for output in outputs]
    results = [
        trace.full(0, output.shape, output.dtype) if tangent is None else Tracer(trace, tangent)
        for output, tangent in zip(outputs, found)
    ]
    return (out, optree.tree_unflatten(tree, results), *aux)


def _as_input(leaf: Any) -> Any:
    """A leaf of the tangents as an input; a number takes the dtype of its primal later."""
    return float(leaf) if type(leaf) in (int, float) else as_array(leaf)


def _directions(trace: Trace, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> list[Value]:
    """The leaves of the tangents, once they are seen to be like those of the primals."""
    paths, leaves, tree = optree.tree_flatten_with_path(cast(Any, primals))
    given, given_tree = optree.tree_flatten(cast(Any, tangents))
    if given_tree != tree:
        raise TracingError(located(f"jvp: the tangents have the structure {given_tree}, the primals {tree}"))
    directions: list[Value] = []
    for path, leaf, direction in zip(paths, leaves, given):
        array: Any = leaf_array(leaf)
        tangent: Any = leaf_array(direction)
        if type(direction) in (int, float) or isinstance(direction, FloatArgument):
            tangent = xp.astype(direction, array.dtype)
        if tangent.shape != array.shape:
            what = f"the tangent at {path_name(path)} has shape {tangent.shape}, the primal {array.shape}"
            raise ShapeError(located(f"jvp: {what}"))
        if tangent.dtype != array.dtype and is_inexact(array.dtype):
            what = f"the tangent at {path_name(path)} is {tangent.dtype}, the primal {array.dtype}"
            raise TracingError(located(f"jvp: {what}; write v.astype('{array.dtype}')"))
        directions.append(trace.lift(tangent))
    return directions
