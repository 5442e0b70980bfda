"""A function of a model in evaluation as a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, Graph
from ..nn import Module, bind
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.trace import path_name
from ..tracing.tracer import Trace
from .leaves import flattened, leaf_input, leaf_type
from .loss_result import check_array, place_words
from .trace_warnings import warn_of_float64


@dataclass(frozen=True)
class PredictGraph:
    """A function of a model in evaluation: its inputs are the parameters, the buffers, the leaves of the arguments."""

    graph: Graph
    parameters: tuple[tuple[str, ArrayType], ...]
    buffers: tuple[tuple[str, ArrayType], ...]
    arguments: tuple[tuple[str, ArrayType], ...]
    arguments_tree: optree.PyTreeSpec
    result_tree: optree.PyTreeSpec

    @property
    def parameter_range(self) -> range:
        """Places of the parameters among the inputs."""
        return range(len(self.parameters))

    @property
    def buffer_range(self) -> range:
        """Places of the buffers among the inputs."""
        return range(len(self.parameters), len(self.parameters) + len(self.buffers))

    @property
    def argument_range(self) -> range:
        """Places of the leaves of the arguments among the inputs."""
        return range(self.buffer_range.stop, self.buffer_range.stop + len(self.arguments))


def trace_predict(
    model: Module, fn: Callable[..., Any], args: Sequence[Any], warned: set[str] | None = None
) -> PredictGraph:
    """Trace `fn(model, *args)` in evaluation; `args` are pytrees of arrays, numbers or specs, all of whose leaves are
    inputs. `warned` has the warnings that were given before.
    """
    warned = set() if warned is None else warned
    parameters, buffers = model.stored_parameters(), model.stored_buffers()
    names, leaves, tree = flattened(tuple(args), "argument")
    types = [leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    with warn_of_draws(warned, model, fn), Trace() as trace:
        values: dict[Any, Any] = {stored: trace.input(stored.type, name) for name, stored in [*parameters, *buffers]}
        arrays = [leaf_input(trace, leaf, t, name) for leaf, t, name in zip(leaves, types, names)]
        with bind(model, values, "eval"):
            result = fn(model, *optree.tree_unflatten(tree, arrays))
        paths, results, result_tree = optree.tree_flatten_with_path(result)
        for path, leaf in zip(paths, results):
            check_array(leaf, f"the result{place_words(path)}")
        graph = trace.graph(results, [path_name(path) for path in paths])
    if all(t.dtype != np.dtype("float64") or not t.shape for t in types):
        warn_of_float64(graph, trace, [p for _, p in parameters], None, warned)
    return PredictGraph(
        graph,
        tuple((name, p.type) for name, p in parameters),
        tuple((name, b.type) for name, b in buffers),
        tuple(zip(names, types)),
        tree,
        result_tree,
    )
