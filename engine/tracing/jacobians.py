"""Jacobians and Hessians, whole or times a vector, under JAX's names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import optree

from ...ir import is_complex, is_float
from ...ir.ops import creation
from ...passes.graph.dead_code import without_dead_code
from .. import array_api as xp
from .arrays import leaf_array
from .errors import UnsupportedError
from .jvp import jvp
from .keywords import tells_keywords
from .trace import trace_arguments
from .tracer import Tracer, TracingError, as_array, current_trace, located
from .transforms import active_trace, argument_numbers, grad, transform_of, vjp, with_floats
from .vmap import map_rows

Function = Callable[..., Any]


@tells_keywords
def jacrev(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Function:
    """A function that gives the Jacobian of `fun` row by row, by reverse mode: for more arguments than results.

    The Jacobian is a pytree like the result of `fun`, with a pytree like the argument in place of each leaf (a tuple of
    them where `argnums` is a sequence); a leaf has the axes of the result's leaf, then those of the argument's. With
    `has_aux`, `fun` returns `(result, aux)` and the Jacobian comes as `(jacobian, aux)`. All rows are computed at once,
    see `vmap`, and draw the same random numbers. Raises `TypeError` for arguments or results that are not floats,
    `UnsupportedError` for `holomorphic` and `allow_int`.
    """
    return _jacobian(fun, "jacrev", argnums, has_aux, holomorphic or allow_int, _by_rows)


@tells_keywords
def jacfwd(
    fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    """A function that gives the Jacobian of `fun` column by column, by forward mode: for more results than arguments.
    See `jacrev`.
    """
    return _jacobian(fun, "jacfwd", argnums, has_aux, holomorphic, _by_columns)


@tells_keywords
def jacobian(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Function:
    """`jacrev` under another name."""
    return _jacobian(fun, "jacobian", argnums, has_aux, holomorphic or allow_int, _by_rows)


@tells_keywords
def hessian(
    fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    """A function that gives the Hessian of `fun`: `jacfwd(jacrev(fun))`, the columns of the gradient's Jacobian."""
    return jacfwd(
        jacrev(fun, argnums, has_aux=has_aux, holomorphic=holomorphic),
        argnums,
        has_aux=has_aux,
        holomorphic=holomorphic,
    )


@tells_keywords
def hessian_vector_product(fn: Function, x: Any, v: Any) -> Any:
    """The Hessian of a scalar function at `x` times `v`, without the Hessian; all three are pytrees like `x`.

    As the Hessian is symmetric, it is the pullback of `v` by the gradient: a few times what the gradient costs.
    Pearlmutter 1994, "Fast exact multiplication by the Hessian".
    """

    def product(x: Any, v: Any) -> Any:
        _, pullback = vjp(grad(fn), x)
        return pullback(v)[0]

    if current_trace() is not None:
        return product(x, v)
    primal, direction = with_floats(x, "x"), optree.tree_map(as_array, v)
    traced = trace_arguments(product, (primal, direction), {}, lambda path: True)
    return replace(traced, graph=without_dead_code(traced.graph))(primal, direction)


Make = Callable[[Function, tuple[Any, ...], bool], tuple[Any, Any]]


def _jacobian(
    fun: Function, what: str, argnums: int | Sequence[int], has_aux: bool, unsupported: bool, make: Make
) -> Function:
    if unsupported:
        raise UnsupportedError(located(f"{what}: holomorphic and allow_int are not supported; arrays are real floats"))

    @transform_of(fun, what, lambda method: _jacobian(method, what, argnums, has_aux, unsupported, make))
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        chosen = argument_numbers(argnums, len(args))
        if current_trace() is None:
            args = tuple(with_floats(arg, f"argument {i}") if i in chosen else arg for i, arg in enumerate(args))
            traced = trace_arguments(jacobian_of, args, kwargs, lambda path: path[0] == 0 and path[1] in chosen)
            return replace(traced, graph=without_dead_code(traced.graph))(*args, **kwargs)

        def of_chosen(*given: Any) -> Any:
            every = list(args)
            for i, arg in zip(chosen, given):
                every[i] = arg
            return fun(*every, **kwargs)

        for leaf in optree.tree_leaves(cast(Any, [args[i] for i in chosen])):
            _check_real(leaf, what)
        found, aux = make(of_chosen, tuple(args[i] for i in chosen), has_aux)
        if not isinstance(argnums, (list, tuple, range)):
            # The tuple of the arguments is below each leaf of the result.
            found = optree.tree_map(lambda block: block.parts[0], found)
        else:
            found = optree.tree_map(lambda block: block.parts, found)
        return (found, aux) if has_aux else found

    return jacobian_of


def _check_real(leaf: Any, what: str) -> None:
    dtype = leaf_array(leaf).dtype
    if is_complex(dtype):
        advice = "write it as a function of x.real and x.imag"
        raise TracingError(located(f"{what} takes derivatives by real numbers, got {dtype}; {advice}"))


class _Block:
    """The Jacobian of one leaf of the result with respect to each argument; a leaf of pytrees."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts


def _by_rows(fun: Function, primals: tuple[Any, ...], has_aux: bool) -> tuple[Any, Any]:
    result, _, *aux = vjp(fun, *primals, has_aux=has_aux)
    leaves, tree = optree.tree_flatten(cast(Any, result))
    leaves = [_float_leaf(leaf) for leaf in leaves]

    def row(seeds: Any) -> Any:
        # Traced again: what does not depend on the seeds is written once more, and is one with the first or dead.
        _, pullback, *_ = vjp(fun, *primals, has_aux=has_aux)
        return pullback(optree.tree_unflatten(tree, seeds))

    rows = map_rows(row, 0)(_unit_arrays(leaves))
    blocks: list[_Block] = []
    for at, leaf in zip(_places(leaves), leaves):
        parts = optree.tree_map(lambda x, at=at, leaf=leaf: xp.reshape(x[at], (*leaf.shape, *x.shape[1:])), rows)
        blocks.append(_Block(cast(Any, parts)))
    return optree.tree_unflatten(tree, blocks), aux[0] if aux else None


def _by_columns(fun: Function, primals: tuple[Any, ...], has_aux: bool) -> tuple[Any, Any]:
    result, aux = fun(*primals) if has_aux else (fun(*primals), None)
    outputs, result_tree = optree.tree_flatten(cast(Any, result))
    for output in outputs:
        _float_leaf(output)
    leaves, tree = optree.tree_flatten(cast(Any, primals))
    leaves = [leaf_array(leaf) for leaf in leaves]

    def column(tangents: Any) -> Any:
        return jvp(fun, primals, cast(Any, optree.tree_unflatten(tree, tangents)), has_aux=has_aux)[1]

    columns = optree.tree_leaves(map_rows(column, -1)(_unit_arrays(leaves)))
    blocks: list[_Block] = []
    for x in columns:
        parts = [xp.reshape(x[..., at], (*x.shape[:-1], *leaf.shape)) for at, leaf in zip(_places(leaves), leaves)]
        blocks.append(_Block(cast(Any, optree.tree_unflatten(tree, parts))))
    return optree.tree_unflatten(result_tree, blocks), aux


def _places(leaves: Sequence[Any]) -> list[slice]:
    """The elements of each array, where the elements of all stand in a row."""
    ends = list(itertools.accumulate((leaf.size for leaf in leaves), initial=0))
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _counted(count: int, axis: int) -> Tracer:
    """0, 1, 2, ... along one of two axes, as a value of the program."""
    trace = active_trace()
    attrs = {"shape": (count, count), "axis": axis, "dtype": np.dtype("int64")}
    return Tracer(trace, trace.emit_node(creation.iota, **attrs).output)


def _unit_arrays(leaves: Sequence[Any]) -> list[Any]:
    """For each element of all arrays, 1 there and 0 elsewhere, as arrays of their shapes; made as the program runs."""
    count = sum(leaf.size for leaf in leaves)
    row, column = (_counted(count, axis) for axis in (0, 1))
    units = xp.equal(row, column)
    return [
        xp.reshape(xp.astype(units[:, at], leaf.dtype), (count, *leaf.shape))
        for at, leaf in zip(_places(leaves), leaves)
    ]


def _float_leaf(leaf: Any) -> Any:
    array = leaf_array(leaf)
    if not is_float(array.dtype):
        raise TracingError(located(f"a Jacobian is of float results, the function returned {array.dtype}"))
    return array
