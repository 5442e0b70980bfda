"""`jvp`: the directional derivative of a function, from two pullbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import optree

from ...ir import Value, is_float
from ...ir.ops import elementwise as ew
from ...passes.graph.dead_code import without_dead_code
from .. import array_api as xp
from .float_argument import FloatArgument
from .trace import path_name, trace_arguments
from .tracer import ShapeError, Trace, Tracer, TracingError, as_array, current_trace, located
from .transforms import active_trace, pull_back, vjp_in_trace, with_floats


def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """`fun(*primals)` and its derivative in the direction of `tangents`: the Jacobian times these.

    Primals and tangents are tuples or lists of pytrees, with the same structures, shapes and dtypes. The tangent of the
    result is a pytree like the result; an integer has the tangent 0. With `has_aux`, `fun` returns `(result, aux)` and
    `jvp` gives `(result, tangent, aux)`. Raises `TypeError` for primals that are not floats, `TracingError` or
    `ShapeError` where the tangents do not fit.

    A pullback is linear in the cotangent, so the pullback of the pullback is the Jacobian itself (Townsend 2017, "A new
    trick for calculating Jacobian vector products"). What the first pullback computes of the cotangent is dead code.
    """
    if not callable(fun):
        raise TypeError(f"jvp takes a function, got {type(fun).__name__}; write jvp(f, (x,), (v,))")
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
    out, pullback, *aux = vjp_in_trace(trace, fun, primals, has_aux)
    leaves, tree = optree.tree_flatten(cast(Any, out))
    outputs = [Tracer(trace, trace.lift(leaf)) for leaf in leaves]
    # The cotangent of which the pullback is a linear function; its value is read by nothing that is kept.
    begin = len(trace.builder.nodes)
    zeros = [trace.full(0, output.shape, output.dtype) for output in outputs]
    seeds = [Tracer(trace, trace.emit_node(ew.copy, zero.value).output) for zero in zeros]
    pulled = [trace.lift(leaf) for leaf in optree.tree_leaves(pullback(optree.tree_unflatten(tree, seeds)))]
    along: dict[Value, Value] = {}
    for value, direction in zip(pulled, directions, strict=True):
        # Two primals may have one cotangent, as those of a sum have.
        before = along.get(value)
        along[value] = direction if before is None else trace.emit_node(ew.add, before, direction).output
    floats = [i for i, output in enumerate(outputs) if is_float(output.dtype)]
    found = pull_back(trace, trace.builder.nodes[begin:], along, [seeds[i].value for i in floats])
    results = list(zeros)
    for i, tangent in zip(floats, found):
        results[i] = tangent
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
        array: Any = leaf if isinstance(leaf, Tracer) else as_array(leaf)
        tangent: Any = direction if isinstance(direction, Tracer) else as_array(direction)
        if type(direction) in (int, float) or isinstance(direction, FloatArgument):
            tangent = xp.astype(direction, array.dtype)
        if tangent.shape != array.shape:
            what = f"the tangent at {path_name(path)} has shape {tangent.shape}, the primal {array.shape}"
            raise ShapeError(located(f"jvp: {what}"))
        if tangent.dtype != array.dtype and is_float(array.dtype):
            what = f"the tangent at {path_name(path)} is {tangent.dtype}, the primal {array.dtype}"
            raise TracingError(located(f"jvp: {what}; write v.astype('{array.dtype}')"))
        directions.append(trace.lift(tangent))
    return directions
