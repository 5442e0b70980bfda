"""A function of a model as a graph: its results, and what it assigns to parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, Graph
from ..nn import Module, bind
from ..tracing import random
from ..tracing.activations import in_precision
from ..tracing.debug import Prints, printed_values
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.trace import path_name
from ..tracing.tracer import Trace, Tracer
from .arguments import note_names
from .leaves import flattened, leaf_input, leaf_type
from .loss_result import check_array, place_words
from .narrow_parameters import as_float32, check_not_assigned
from .shards import Shards
from .trace_warnings import warn_of_float64


@dataclass(frozen=True)
class PredictGraph:
    """A function of a model: its inputs are the parameters, the buffers, the key of its draws, an int64 scalar, and the
    leaves of the arguments. Its outputs are the leaves of the result, what it prints, and the new values of what it
    assigns, each aliased with its input.
    """

    graph: Graph
    parameters: tuple[tuple[str, ArrayType], ...]
    buffers: tuple[tuple[str, ArrayType], ...]
    arguments: tuple[tuple[str, ArrayType], ...]
    arguments_tree: optree.PyTreeSpec
    result_tree: optree.PyTreeSpec
    prints: Prints

    @property
    def parameter_range(self) -> range:
        """Places of the parameters among the inputs."""
        return range(len(self.parameters))

    @property
    def buffer_range(self) -> range:
        """Places of the buffers among the inputs."""
        return range(len(self.parameters), len(self.parameters) + len(self.buffers))

    @property
    def key_index(self) -> int:
        """Place of the key among the inputs."""
        return self.buffer_range.stop

    @property
    def argument_range(self) -> range:
        """Places of the leaves of the arguments among the inputs."""
        return range(self.key_index + 1, self.key_index + 1 + len(self.arguments))

    @property
    def result_types(self) -> list[ArrayType]:
        """The types of the leaves of the result, and of what is printed: the first outputs."""
        count = self.result_tree.num_leaves + len(printed_values(self.prints))
        return [value.type for value in self.graph.outputs[:count]]


def trace_predict(
    model: Module,
    fn: Callable[..., Any],
    args: Sequence[Any],
    warned: set[str] | None = None,
    training: bool = False,
    precision: str = "fp32",
    stored: Mapping[str, ArrayType] | None = None,
    shards: Shards | None = None,
    sharded: Collection[str] = (),
) -> PredictGraph:
    """Trace `fn(model, *args)` in evaluation, or in training; `args` are pytrees of arrays, numbers or specs, all of
    whose leaves are inputs. `precision` as of `trace_step`; `stored` are the types of parameters in memory, where these
    are not those of the model; `shards`, how ranks hold those that are `sharded`. `warned` has the warnings that were
    given before.
    """
    warned = set() if warned is None else warned
    parameters, buffers = model.stored_parameters(), model.stored_buffers()
    names, leaves, tree = flattened(tuple(args), "argument")
    types = [leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    with warn_of_draws(warned, model, fn), Trace() as trace:
        types_in_memory = {name: p.type for name, p in parameters} | dict(stored or {})
        inputs = {name: trace.input(types_in_memory[name], name) for name, _ in parameters}
        values: dict[Any, Any] = {
            p: as_float32(
                inputs[name] if shards is None or name not in sharded else shards.whole(inputs[name], p.type), p.type
            )
            for name, p in parameters
        }
        values |= {b: trace.input(b.type, name, writable=True) for name, b in buffers}
        key = trace.input(ArrayType((), np.dtype("int64")), "key")
        arrays = [leaf_input(trace, leaf, t, name) for leaf, t, name in zip(leaves, types, names)]
        with (
            random.key(key),
            bind(model, values, "train" if training else "eval", assignable=values) as binding,
            in_precision(precision, trace, values.values()),
        ):
            given = optree.tree_unflatten(tree, arrays)
            try:
                result = fn(model, *given)
            except LookupError as error:
                for argument in given:
                    note_names(error, argument, "the argument")
                raise
        paths, results, result_tree = optree.tree_flatten_with_path(result)
        for path, leaf in zip(paths, results):
            check_array(leaf, f"the result{place_words(path)}")
        held = [(name, i, binding.updates.get(stored)) for i, (name, stored) in enumerate([*parameters, *buffers])]
        assigned = [(name, i, value) for name, i, value in held if value is not None]
        narrow = {name: types_in_memory[name] for name, p in parameters if types_in_memory[name] != p.type}
        check_not_assigned([name for name, _, _ in assigned], narrow, "the function")
        prints = tuple(trace.prints or ())
        shown = [Tracer(trace, value) for value in printed_values(prints)]
        outputs = [*results, *shown, *(value for _, _, value in assigned)]
        output_names = [*map(path_name, paths), *("print" for _ in shown), *(name for name, _, _ in assigned)]
        aliases = {len(results) + len(shown) + k: i for k, (_, i, _) in enumerate(assigned)}
        graph = trace.graph(outputs, output_names, aliases)
    if all(t.dtype != np.dtype("float64") or not t.shape for t in types):
        warn_of_float64(graph, trace, [p for _, p in parameters], None, warned)
    return PredictGraph(
        graph,
        tuple(types_in_memory.items()),
        tuple((name, b.type) for name, b in buffers),
        tuple(zip(names, types)),
        tree,
        result_tree,
        prints,
    )
