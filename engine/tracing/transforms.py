"""Derivatives and checkpoints of functions of arrays: `grad`, `value_and_grad`, `vjp`, `checkpoint`, `save`,
`stop_gradient`.

Inside a trace they add to it; outside, they trace their function and compute at once, with NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import optree

from ...ir import ArrayType, Node, Op, Value, is_complex, is_float, is_inexact
from ...ir.ops import complex_numbers
from ...ir.ops import elementwise as ew
from ...passes.autodiff.backward import add_backward
from ..array_api.broadcasting import integer
from .arrays import leaf_array
from .float_argument import FloatArgument
from .keywords import tells_keywords
from .mutable_arrays import Memory
from .trace import TracedFunction, path_name, trace_arguments
from .tracer import ShapeError, Trace, Tracer, TracingError, as_array, current_trace, emit, located


@tells_keywords
def value_and_grad(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives `fn`'s value and its gradient with respect to the arguments `argnums`.

    `fn` returns a float scalar, or `(scalar, aux)` with `has_aux`. The gradient is a pytree like the argument, a tuple
    of them where `argnums` is a sequence. Of a complex argument z = x + iy it is ∂fn/∂x + i ∂fn/∂y, so that
    `z - rate * gradient` descends: PyTorch's convention, and the conjugate of JAX's. Raises `TypeError` for arguments
    that are not floats or complex numbers, `ShapeError` for a result that is not a scalar.
    """

    @transform_of(fn, "value_and_grad", lambda method: value_and_grad(method, argnums, has_aux))
    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None:
            chosen = argument_numbers(argnums, len(args))
            args = tuple(with_floats(arg, f"argument {i}") if i in chosen else arg for i, arg in enumerate(args))
            traced = trace_arguments(gradient_of, args, kwargs, lambda path: path[0] == 0 and path[1] in chosen)
            return traced(*args, **kwargs)
        return _value_and_grad(active_trace(), fn, argnums, has_aux, args, kwargs)

    return gradient_of


@tells_keywords
def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `fn`, or `(gradient, aux)` with `has_aux`. See `value_and_grad`."""
    like = transform_of(fn, "grad", lambda method: grad(method, argnums, has_aux))
    both = value_and_grad(fn, argnums, has_aux)

    @like
    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return gradient_of


@tells_keywords
def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """`fn(*primals)` and the function that pulls a cotangent of it back to a tuple of cotangents of the primals.

    The cotangent is a pytree like the result, with its shapes and dtypes. With `has_aux`, `fn` returns `(result, aux)`
    and `vjp` gives `(result, pullback, aux)`. Of complex numbers it is the conjugate transpose of the Jacobian that
    multiplies the cotangent, as in PyTorch. Raises `TypeError` for primals that are not floats or complex numbers.
    """
    if current_trace() is not None:
        return _vjp(active_trace(), fn, primals, has_aux)
    arrays = tuple(with_floats(primal, f"argument {i}") for i, primal in enumerate(primals))

    def forward(*given: Any) -> Any:
        out, _, *aux = _vjp(active_trace(), fn, given, has_aux)
        return out, *aux

    result = trace_arguments(forward, arrays, {}, lambda path: True)(*arrays)
    compiled: list[TracedFunction] = []

    def pullback(cotangent: Any) -> Any:
        def both(given: tuple[Any, ...], seed: Any) -> Any:
            return _vjp(active_trace(), fn, given, has_aux)[1](seed)

        if current_trace() is not None:
            return both(arrays, cotangent)
        seed = optree.tree_map(as_array, cotangent)
        if not compiled:
            traced = trace_arguments(both, (arrays, seed), {}, lambda path: True)
            compiled.append(replace(traced, prints=()))  # the forward has printed it
        return compiled[0](arrays, seed)

    return (result[0], pullback, *result[1:])


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose intermediate values are computed again in the backward pass instead of being kept.

    What `fn` gives to `save` is kept all the same.
    """

    @transform_of(fn, "checkpoint", checkpoint)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is None:
            return fn(*args, **kwargs)
        with trace.checkpointed():
            return fn(*args, **kwargs)

    return checkpointed


def save(x: Any) -> Any:
    """`x` (a pytree of arrays), to be kept for the backward pass where that needs it, and never computed again:
    neither inside `checkpoint` nor under a budget. What is made of it may be.

    It costs a copy where nothing else computes with `x` in the same loop.
    """
    return optree.tree_map(lambda leaf: _same_kind(ew.save, leaf), x)


def stop_gradient(x: Any) -> Any:
    """`x` (a pytree of arrays), through which no gradient flows."""
    return optree.tree_map(lambda leaf: _same_kind(ew.stop_gradient, leaf), x)


def _same_kind(op: Op, leaf: Any) -> Any:
    """`op` of a traced array; a float argument stays one."""
    if not isinstance(leaf, Tracer):
        return leaf
    result = emit(op, leaf)
    return FloatArgument(result.owner, result.value) if isinstance(leaf, FloatArgument) else result


class _Transformed:
    """A transformed function. As a method of a class it is the transform of the bound method: `self` is no argument of
    the transform.
    """

    def __init__(
        self, call: Callable[..., Any], fn: Callable[..., Any], what: str, again: Callable[[Callable[..., Any]], Any]
    ) -> None:
        # `updated=()`: the attributes of a callable object are its own.
        functools.update_wrapper(self, fn, updated=())
        self._call = call
        self._fn = fn
        self._what = what
        self._again = again

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self._what} of {getattr(self._fn, '__name__', None) or repr(self._fn)}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        bind = getattr(self._fn, "__get__", None)
        return self if instance is None or bind is None else self._again(bind(instance, owner))


def transform_of(
    fn: Callable[..., Any], what: str, again: Callable[[Callable[..., Any]], Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the transform `what` of `fn`; `again` applies that to another function."""
    if not callable(fn):
        raise TypeError(
            located(f"{what} takes a function, got {type(fn).__name__}; write {what}(f)(x), not {what}(f(x))")
        )
    return lambda call: _Transformed(call, fn, what, again)


def active_trace() -> Trace:
    """The trace that is being written, where there is known to be one."""
    trace = current_trace()
    assert trace is not None
    return trace


def argument_numbers(argnums: int | Sequence[int], count: int) -> list[int]:
    """The places that `argnums` names among `count` arguments. Raises `TypeError` where there is none such."""
    given = list(argnums) if isinstance(argnums, (list, tuple, range)) else [argnums]
    numbers = [integer(number, "argnums") for number in given]
    for i in numbers:
        if not -count <= i < count:
            raise TypeError(located(f"argnums {argnums} for a call with {count} positional arguments"))
    return [i % count for i in numbers]


def with_floats(arg: Any, what: str) -> Any:
    """An argument to differentiate, all of whose leaves are inputs: arrays and Python floats."""
    return optree.tree_map(lambda leaf: _as_input(leaf, what), arg)


def _as_input(leaf: Any, what: str) -> Any:
    if isinstance(leaf, (Tracer, ArrayType)) or type(leaf) is float:
        return leaf
    try:
        return as_array(leaf)
    except TypeError as error:
        if isinstance(leaf, (np.ndarray, np.generic)) or hasattr(leaf, "__array__"):
            raise TypeError(located(f"grad needs float inputs: {error}")) from None
        kind = type(leaf).__name__
        raise TypeError(
            located(f"grad needs float inputs, {what} is of type {kind}; choose others with argnums=, or close over it")
        ) from None


def fresh_leaves(trace: Trace, arg: Any, what: str) -> tuple[Any, list[Value]]:
    """A copy of every leaf of an argument: derivatives are with respect to these, not to what `fn` closes over."""
    paths, leaves, tree = optree.tree_flatten_with_path(arg)
    copies: list[Tracer] = []
    for path, leaf in zip(paths, leaves):
        array = leaf if isinstance(leaf, Tracer) else as_array(_as_input(leaf, what))
        if not is_inexact(array.dtype):
            name = f"{what} at {path_name(path)}" if path else what
            given = f"{array.dtype}{list(array.shape)}"
            raise TypeError(located(f"grad needs float inputs, {name} is {given}; write x.astype('float64')"))
        copied = emit(ew.copy, Tracer(trace, trace.lift(array)))
        is_weak = type(leaf) is float or isinstance(leaf, FloatArgument)
        if not is_weak:
            copied.memory = Memory(copied.value, "it is an argument, and the caller's")
        copies.append(FloatArgument(trace, copied.value) if is_weak else copied)
    return optree.tree_unflatten(tree, copies), [copied.value for copied in copies]


def pull_back(trace: Trace, nodes: Sequence[Node], seeds: dict[Value, Value], wrt: Sequence[Value]) -> list[Tracer]:
    """The cotangents of `wrt`, zeros where none reaches one, from those of the keys of `seeds`.

    Those of complex numbers are PyTorch's, the conjugates of what a graph computes with: see `conjugated`.
    """
    begin = len(trace.builder.nodes)
    trace.builder.origin = trace.origin()
    seeds = {value: conjugated(trace, seed) for value, seed in seeds.items()}
    cotangents = [conjugated(trace, value) for value in add_backward(trace.builder, nodes, seeds, wrt)]
    if trace.region:
        # A derivative taken inside a checkpoint belongs to it, and is computed again with it.
        for node in trace.builder.nodes[begin:]:
            node.origin = replace(node.origin, checkpoint=trace.region)
    return [Tracer(trace, value) for value in cotangents]


def conjugated(trace: Trace, cotangent: Value) -> Value:
    """A cotangent in the other convention: ∂L/∂x + i ∂L/∂y, which users are given and give, or ∂L/∂x - i ∂L/∂y, which
    graphs compute with, see `ir/ops/complex_numbers.py`.
    """
    if not is_complex(cotangent.type.dtype):
        return cotangent
    return trace.builder.emit(complex_numbers.conj, cotangent)


def _value_and_grad(
    trace: Trace,
    fn: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Any]:
    chosen = argument_numbers(argnums, len(args))
    given, wrt = list(args), dict[int, list[Value]]()
    for i in chosen:
        given[i], wrt[i] = fresh_leaves(trace, args[i], f"argument {i}")
    begin = len(trace.builder.nodes)
    result = fn(*given, **kwargs)
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise TracingError(located("grad with has_aux=True needs a function that returns (loss, aux)"))
    loss = result[0] if has_aux else result
    value = scalar_loss(trace, loss)
    nodes = trace.builder.nodes[begin:]
    one = trace.full(1, (), value.dtype)
    flat = pull_back(trace, nodes, {value.value: one.value}, [v for i in chosen for v in wrt[i]])
    gradients: list[Any] = []
    for i in chosen:
        gradients.append(optree.tree_unflatten(optree.tree_structure(args[i]), flat[: len(wrt[i])]))
        flat = flat[len(wrt[i]) :]
    return result, tuple(gradients) if isinstance(argnums, (list, tuple, range)) else gradients[0]


def scalar_loss(trace: Trace, loss: Any) -> Tracer:
    """A loss as a float scalar of the program. Raises `TracingError` or `ShapeError` for anything else."""
    if not isinstance(loss, (Tracer, np.ndarray, np.generic, float)):
        raise TracingError(located(f"grad needs a function that returns a scalar array, got {type(loss).__name__}"))
    array = Tracer(trace, trace.lift(loss))
    if array.shape:
        advice = "take its mean or sum"
        raise ShapeError(located(f"grad needs a scalar, the function returned shape {array.shape}; {advice}"))
    if not is_float(array.dtype):
        advice = "; write loss.real, or abs(loss)" if is_complex(array.dtype) else ""
        raise TracingError(located(f"grad needs a float scalar, the function returned {array.dtype}{advice}"))
    return array


def _vjp(trace: Trace, fn: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> tuple[Any, ...]:
    pairs = [fresh_leaves(trace, primal, f"argument {i}") for i, primal in enumerate(primals)]
    begin = len(trace.builder.nodes)
    result = fn(*(given for given, _ in pairs))
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        raise TracingError(located("vjp with has_aux=True needs a function that returns (result, aux)"))
    out, aux = result if has_aux else (result, None)
    leaves, tree = optree.tree_flatten(cast(Any, out))
    outputs = [Tracer(trace, trace.lift(leaf)) for leaf in leaves]
    nodes = trace.builder.nodes[begin:]

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        given, given_tree = optree.tree_flatten(cotangent)
        if given_tree != tree:
            raise TracingError(located(f"the cotangent has the structure {given_tree}, the result {tree}"))
        seeds: dict[Value, Value] = {}
        for output, leaf in zip(outputs, given):
            seed = leaf_array(leaf)
            if seed.shape != output.shape or (is_inexact(output.dtype) and seed.dtype != output.dtype):
                raise ShapeError(
                    located(f"the cotangent is {seed.shape} {seed.dtype}, the result {output.shape} {output.dtype}")
                )
            if is_inexact(output.dtype):
                value = trace.lift(seed)
                before = seeds.get(output.value)
                seeds[output.value] = value if before is None else trace.emit_node(ew.add, before, value).output
        flat = pull_back(trace, nodes, seeds, [v for _, values in pairs for v in values])
        cotangents: list[Any] = []
        for primal, (_, values) in zip(primals, pairs):
            cotangents.append(optree.tree_unflatten(optree.tree_structure(primal), flat[: len(values)]))
            flat = flat[len(values) :]
        return tuple(cotangents)

    return (out, pullback, aux) if has_aux else (out, pullback)
