"""`trace`: a function of arrays becomes a graph."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import optree

from ...ir import Array, ArrayType, Graph, interpret, type_of
from .debug import Prints, printed_values, show
from .frozen_draws import warn_of_draws
from .tracer import Trace, Tracer, TracingError, as_array, located


@dataclass(frozen=True)
class TracedFunction:
    """A graph with the pytrees of the arguments it was traced for, and of the result.

    `arrays[i]` says whether leaf `i` of the arguments is an array or a float, and so an input of the graph; other
    leaves (integers, strings) are part of the program.
    """

    graph: Graph
    in_tree: optree.PyTreeSpec
    arrays: tuple[bool, ...]
    out_tree: optree.PyTreeSpec
    prints: Prints = ()
    """What is printed after a run; what it needs are the last outputs of the graph."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result for arguments of the traced structure, computed by the interpreter."""
        leaves = self.in_tree.flatten_up_to(cast(Any, (args, kwargs)))
        inputs = [as_array(leaf) for leaf, is_array in zip(leaves, self.arrays) if is_array]
        return self.result(interpret(self.graph, *inputs))

    def result(self, outputs: Sequence[Array]) -> Any:
        """What the function returns, from the outputs of the graph, once it is printed what was to be."""
        count = self.out_tree.num_leaves
        show(self.prints, outputs[count:])
        return optree.tree_unflatten(self.out_tree, outputs[:count])


def trace(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Graph:
    """The graph of `fn(*args, **kwargs)`, as it was traced: no pass has run.

    Arguments are arrays, `spec`s, or pytrees of them; each such leaf is an input, named after the argument and the path
    to it (`batch.x`). Python numbers, strings and other objects are given to `fn` as they are, and fixed in the graph.
    Outputs are the leaves of the result, and last, named `print`, what `gl.debug.print` shows. A leaf that is a plain
    array or a number becomes a constant. So does what `numpy.random` gives, of which a `TracingWarning` names the line.
    """
    with warn_of_draws(set(), fn):
        return trace_with_structure(fn, *args, **kwargs).graph


def trace_with_structure(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TracedFunction:
    """As `trace`, with the structure of arguments and result."""
    return trace_arguments(fn, args, kwargs, lambda path: False)


def trace_arguments(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], is_float_input: Callable[[Any], bool]
) -> TracedFunction:
    """As `trace_with_structure`; a Python float is an input where `is_float_input` says so of its path in
    `(args, kwargs)`, and part of the program elsewhere.
    """
    paths, leaves, in_tree = optree.tree_flatten_with_path(cast(Any, (args, kwargs)))
    arrays = tuple(
        isinstance(leaf, (np.ndarray, np.generic, ArrayType)) or (type(leaf) is float and is_float_input(path))
        for path, leaf in zip(paths, leaves)
    )
    with Trace() as active:
        given: list[Any] = []
        for path, leaf, is_array in zip(paths, leaves, arrays):
            if isinstance(leaf, Tracer):
                raise TracingError(located("trace() takes arrays and specs, got an array that is being traced"))
            if not is_array:
                given.append(leaf)
                continue
            if type(leaf) is float:
                given.append(active.float_input(input_name(fn, path)))
                continue
            kind = leaf if isinstance(leaf, ArrayType) else type_of(as_array(leaf))
            given.append(active.input(kind, input_name(fn, path)))
        traced_args, traced_kwargs = optree.tree_unflatten(in_tree, given)
        result = fn(*traced_args, **traced_kwargs)
        out_paths, out_leaves, out_tree = optree.tree_flatten_with_path(result)
        outputs = [_output(fn, leaf) for leaf in out_leaves]
        prints = tuple(active.prints or ())
        shown = [Tracer(active, value) for value in printed_values(prints)]
        names = [*map(path_name, out_paths), *("print" for _ in shown)]
        graph = active.graph([*outputs, *shown], names)
    return TracedFunction(graph, in_tree, arrays, out_tree, prints)


def _output(fn: Callable[..., Any], leaf: Any) -> Tracer | Array:
    if isinstance(leaf, Tracer):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float)):
        return as_array(leaf)
    name = getattr(fn, "__name__", type(fn).__name__)
    what = f"an object of type {type(leaf).__name__}"
    raise TracingError(located(f"{name} returned {what}; return arrays, or pytrees of arrays"))


def path_name(path: Iterable[Any]) -> str:
    """The path to a leaf as a name of letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", ".".join(map(str, path))).rstrip(".-")


def input_name(fn: Callable[..., Any], path: Sequence[Any]) -> str:
    """The name of the input at `path` of `(args, kwargs)`: the parameter of `fn`, then the path inside the argument."""
    group, *rest = path
    if group == 1:
        return path_name(rest)
    place, *inside = rest
    return path_name((_argument_names(fn, place + 1)[place], *inside))


def _argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}.{i}" for i in range(count - len(names))]
    return names + [f"arg{i}" for i in range(len(names), count)]
