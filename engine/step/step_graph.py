"""The whole training step as one graph: forward, backward, clipping and the optimizer's update."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ...ir import Array, ArrayType, DType, Graph, Value, is_float, type_of
from ...passes.autodiff.backward import add_backward
from ...passes.graph.reached import reached
from .. import array_api as xp
from ..nn import Buffer, Module, Parameter, bind
from ..nn.registration import arrays_held, torch_name
from ..optim import Optimizer, ReduceOnPlateau, StateSpec
from ..tracing import random
from ..tracing.batch_parts import in_parts
from ..tracing.errors import warn
from ..tracing.float64_entries import float64_entries
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.numbers import as_real, as_whole
from ..tracing.trace import path_name
from ..tracing.tracer import ShapeError, Trace, Tracer, TracingError, as_array, located, role
from .arguments import call_loss, check_loss, no_loss, no_model, no_optimizer
from .clipping import clipped
from .updates import Updates


@dataclass(frozen=True)
class StepGraph:
    """A training step, and where in its graph everything is.

    The inputs are, in this order: the parameters; the buffers; the optimizer's state, array by array (`exp_avg` of all
    trained parameters, then `exp_avg_sq`, ...), and the int64 scalar `step` (steps done before this one); the learning
    rate `lr`, a float64 scalar; `key`, the int64 scalar `random.key_of_seed(seed)`; the leaves of the batch. The
    outputs are the new parameters, buffers and state, each aliased with its input; the loss; the leaves of the metrics.
    """

    graph: Graph
    optimizer: Optimizer
    parameters: tuple[tuple[str, ArrayType], ...]
    buffers: tuple[tuple[str, ArrayType], ...]
    state: tuple[tuple[str, ArrayType], ...]
    """Names such as `exp_avg.0.weight`; the last is `step`."""
    state_values: tuple[float, ...]
    """What fills each array of `state` before the first step."""
    batch: tuple[tuple[str, ArrayType], ...]
    batch_tree: optree.PyTreeSpec
    metrics: tuple[tuple[str, ArrayType], ...]
    metrics_tree: optree.PyTreeSpec | None
    """`None` where the loss function returns the loss alone."""

    @property
    def parameter_range(self) -> range:
        """Places of the parameters among the inputs, and of the new ones among the outputs."""
        return range(len(self.parameters))

    @property
    def buffer_range(self) -> range:
        """Places of the buffers among the inputs and the outputs."""
        begin = self.parameter_range.stop
        return range(begin, begin + len(self.buffers))

    @property
    def state_range(self) -> range:
        """Places of the optimizer's state, `step` last, among the inputs and the outputs."""
        begin = self.buffer_range.stop
        return range(begin, begin + len(self.state))

    @property
    def lr_index(self) -> int:
        """Place of the learning rate among the inputs."""
        return self.state_range.stop

    @property
    def key_index(self) -> int:
        """Place of the key among the inputs."""
        return self.lr_index + 1

    @property
    def batch_range(self) -> range:
        """Places of the leaves of the batch among the inputs."""
        begin = self.key_index + 1
        return range(begin, begin + len(self.batch))

    @property
    def loss_index(self) -> int:
        """Place of the loss among the outputs."""
        return self.state_range.stop

    @property
    def metrics_range(self) -> range:
        """Places of the leaves of the metrics among the outputs."""
        begin = self.loss_index + 1
        return range(begin, begin + len(self.metrics))

    def initial_state(self) -> Iterator[Array]:
        """The optimizer's state before the first step, array by array."""
        return (np.full(t.shape, value, t.dtype) for (_, t), value in zip(self.state, self.state_values))


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


def trace_step(
    model: Module,
    loss_fn: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    batch: Any,
    *,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    warned: set[str] | None = None,
) -> StepGraph:
    """Trace one training step of `model` for batches like `batch`, a pytree of arrays or specs.

    `loss_fn(model, batch)` returns the loss, a float scalar, or `(loss, metrics)` with a pytree of arrays. Gradients
    are clipped element by element to ±`clip_value`, then as a whole to the 2-norm `clip_norm`. With `accumulate=k` the
    batch is meant to run in k equal parts (see `passes/tiling/accumulate.py`): the graph is that of the whole batch,
    but for batch norm, which takes statistics of each part. `warned` has the warnings that were given before.
    """
    _check_options(model, optimizer, loss_fn, clip_norm, clip_value, accumulate)
    accumulate, clip_norm, clip_value = int(accumulate), as_real(clip_norm), as_real(clip_value)
    warned = set() if warned is None else warned
    trainer = _StepTracer(model, loss_fn, optimizer)
    names, leaves, tree = _flatten(batch, "batch")
    types = [_leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    _warn_of_precision(names, types, trainer.parameters, warned)
    _check_parts(names, types, accumulate)
    with warn_of_draws(warned, model, loss_fn), Trace() as trace:
        inputs = trainer.inputs(trace)
        arrays = [_input(trace, leaf, t, name) for leaf, t, name in zip(leaves, types, names)]
        with random.key(inputs.key + inputs.step), in_parts(accumulate) as parts:
            total = trainer.differentiate(trace, inputs, optree.tree_unflatten(tree, arrays))
        with role("optimizer"):
            read = [g for g in total.gradients if g is not None]
            bounded = iter(clipped(read, clip_norm, clip_value))
            gradients = [None if g is None else next(bounded) for g in total.gradients]
            new_parameters, new_state = trainer.update(trace, inputs, gradients, total.loss)
        outputs = [*new_parameters, *inputs.buffers, *new_state, total.loss, *total.metrics]
        output_names = [*trainer.carried_names, "loss", *(name or "metrics" for name in total.metric_names)]
        graph = trace.graph(outputs, output_names, {i: i for i in range(len(trainer.carried_names))})
    _warn_of_arrays(model, trace, warned)
    if all(t.dtype != np.dtype("float64") or not t.shape for t in types):
        _warn_of_float64(graph, trace, [p for _, p in trainer.parameters], total.loss.value, warned)
    if accumulate > 1 and parts.lines:
        _warn_once(
            f"accumulate={accumulate}: batch norm at {parts.lines[0]} takes its statistics from each of {accumulate} "
            "parts of the batch, and its running statistics move once for each; the loss and all else are those of the "
            "whole batch. Write nn.GroupNorm in its place, or accumulate=1, if that is not meant",
            warned,
        )
    return StepGraph(
        graph,
        optimizer,
        tuple((name, p.type) for name, p in trainer.parameters),
        tuple((name, b.type) for name, b in trainer.buffers),
        tuple((name, t) for name, t, _ in trainer.state),
        tuple(value for _, _, value in trainer.state),
        tuple(zip(names, types)),
        tree,
        tuple((name, v.type) for name, v in zip(total.metric_names, graph.outputs[len(trainer.carried_names) + 1 :])),
        total.metrics_tree,
    )


def trace_predict(
    model: Module, fn: Callable[..., Any], args: Sequence[Any], warned: set[str] | None = None
) -> PredictGraph:
    """Trace `fn(model, *args)` in evaluation; `args` are pytrees of arrays, numbers or specs, all of whose leaves are
    inputs. `warned` has the warnings that were given before.
    """
    warned = set() if warned is None else warned
    parameters, buffers = model.stored_parameters(), model.stored_buffers()
    names, leaves, tree = _flatten(tuple(args), "argument")
    types = [_leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    with warn_of_draws(warned, model, fn), Trace() as trace:
        values: dict[Any, Any] = {stored: trace.input(stored.type, name) for name, stored in [*parameters, *buffers]}
        arrays = [_input(trace, leaf, t, name) for leaf, t, name in zip(leaves, types, names)]
        with bind(model, values, "eval"):
            result = fn(model, *optree.tree_unflatten(tree, arrays))
        paths, results, result_tree = optree.tree_flatten_with_path(result)
        for path, leaf in zip(paths, results):
            _check_array(leaf, f"the result{_at(path)}")
        graph = trace.graph(results, [path_name(path) for path in paths])
    if all(t.dtype != np.dtype("float64") or not t.shape for t in types):
        _warn_of_float64(graph, trace, [p for _, p in parameters], None, warned)
    return PredictGraph(
        graph,
        tuple((name, p.type) for name, p in parameters),
        tuple((name, b.type) for name, b in buffers),
        tuple(zip(names, types)),
        tree,
        result_tree,
    )


def _input(trace: Trace, leaf: Any, type: ArrayType, name: str) -> Tracer:
    """An input for a leaf of a batch or an argument; a Python float is weak, as NumPy has it."""
    if builtins.type(leaf) is not float:
        return trace.input(type, name)
    return trace.float_input(name, "close over a number that is to be known while tracing, instead of giving it here")


@dataclass
class _Inputs:
    parameters: list[Tracer]
    buffers: list[Any]
    state: list[Tracer]
    step: Tracer
    lr: Tracer
    key: Tracer


@dataclass
class _Outcome:
    """Loss, metrics, and the gradients; `None` of a parameter that the loss does not read."""

    loss: Any
    gradients: list[Any]
    metrics: list[Any]
    metric_names: list[str]
    metrics_tree: optree.PyTreeSpec | None


class _StepTracer:
    """What is known of a step before it is traced: names, types, and the parts that are traced."""

    def __init__(self, model: Module, loss_fn: Callable[[Any, Any], Any], optimizer: Optimizer) -> None:
        self.model = model
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.parameters: list[tuple[str, Parameter]] = model.stored_parameters()
        self.buffers: list[tuple[str, Buffer]] = model.stored_buffers()
        self.trained = [(name, p) for name, p in self.parameters if p.requires_grad]
        if not self.trained:
            what = "all parameters of the model are frozen" if self.parameters else "the model has no parameters"
            raise ValueError(f"there is nothing to train: {what}")
        self.specs = [_state_of(optimizer, name, p) for name, p in self.trained]
        self.shared = optimizer.init_shared()
        kinds = dict.fromkeys(kind for specs in self.specs for kind in specs)
        own = [(kind, i) for kind in kinds for i, specs in enumerate(self.specs) if kind in specs]
        self.places = {place: k for k, place in enumerate(own)}
        """Where in the state each array is, by kind and the number of its parameter."""
        self.state = [
            (f"{kind}.{self.trained[i][0]}", self.specs[i][kind].type, self.specs[i][kind].value) for kind, i in own
        ]
        self.state += [(name, spec.type, spec.value) for name, spec in self.shared.items()]
        self.plateau = optimizer.lr if isinstance(optimizer.lr, ReduceOnPlateau) else None
        if self.plateau is not None:
            scalar = ArrayType((), np.dtype("float64"))
            self.state += [(name, scalar, value) for name, value in self.plateau.init().items()]
        self.state.append(("step", ArrayType((), np.dtype("int64")), 0.0))
        stored = [*(name for name, _ in self.parameters), *(name for name, _ in self.buffers)]
        self.carried_names = [*stored, *(name for name, _, _ in self.state)]

    def inputs(self, trace: Trace) -> _Inputs:
        """The inputs of the step but for the batch."""
        parameters = [trace.input(p.type, name) for name, p in self.parameters]
        buffers: list[Any] = [trace.input(b.type, name, writable=True) for name, b in self.buffers]
        state = [trace.input(type, name) for name, type, _ in self.state]
        lr = trace.input(ArrayType((), np.dtype("float64")), "lr")
        key = trace.input(ArrayType((), np.dtype("int64")), "key")
        return _Inputs(parameters, buffers, state[:-1], state[-1], lr, key)

    def differentiate(self, trace: Trace, inputs: _Inputs, batch: Any) -> _Outcome:
        """Forward and backward; the buffers in `inputs` become the new ones."""
        stored = [p for _, p in self.parameters] + [b for _, b in self.buffers]
        values: dict[Any, Any] = dict(zip(stored, [*inputs.parameters, *inputs.buffers]))
        begin = len(trace.builder.nodes)
        with bind(self.model, values) as binding:
            result = call_loss(self.loss_fn, self.model, batch, binding)
        loss, metrics, names, tree = _read_result(trace, self.loss_fn, result)
        inputs.buffers = [binding.buffer(b) for _, b in self.buffers]
        wrt = [values[p].value for _, p in self.trained]
        nodes = trace.builder.nodes[begin:]
        depending = reached([loss.value])
        if depending.isdisjoint(wrt):
            what = "loss_fn returned a loss that depends on no trained parameter"
            raise TracingError(located(f"{what}; compute it from what the model returns"))
        with role("backward"):
            one = trace.full(1, (), loss.dtype)
        gradients = add_backward(trace.builder, nodes, {loss.value: one.value}, wrt)
        read = [Tracer(trace, g) if value in depending else None for value, g in zip(wrt, gradients)]
        return _Outcome(loss, read, metrics, names, tree)

    def update(
        self, trace: Trace, inputs: _Inputs, gradients: Sequence[Any], loss: Tracer
    ) -> tuple[list[Any], list[Any]]:
        """The new parameters, and the new state with `step`. What the loss does not read (gradient `None`) stays as it
        is, and so does its state: it does not decay either.
        """
        held = dict(zip(self.shared, inputs.state[len(self.places) :]))
        added, shared = self.optimizer.advance(inputs.step, inputs.lr, held)
        scalars: dict[DType, Mapping[str, Any]] = {}
        update = Updates(trace, self.optimizer)
        new_state = [*inputs.state[: len(self.places)], *(shared[name] for name in self.shared)]
        if self.plateau is not None:
            followed = dict(zip(self.plateau.init(), inputs.state[len(new_state) :]))
            new_state += self.plateau.advance(loss, followed).values()
        new: dict[Parameter, Any] = {}
        current = {p: value for (_, p), value in zip(self.parameters, inputs.parameters)}
        for i, ((name, parameter), gradient) in enumerate(zip(self.trained, gradients)):
            if gradient is None:
                continue
            dtype = parameter.dtype
            if dtype not in scalars:
                own = self.optimizer.scalars(inputs.step, inputs.lr, dtype)
                scalars[dtype] = {**own, **{key: xp.astype(value, dtype) for key, value in added.items()}}
            places = {kind: self.places[kind, i] for kind in self.specs[i]}
            state = {kind: inputs.state[place] for kind, place in places.items()}
            path = name.rpartition(".")[0]
            new[parameter], updated = update(path, current[parameter], gradient, state, scalars[dtype])
            for kind, place in places.items():
                new_state[place] = updated[kind]
        return [new.get(p, current[p]) for _, p in self.parameters], [*new_state, inputs.step + 1]


def _state_of(optimizer: Optimizer, name: str, parameter: Parameter) -> dict[str, StateSpec]:
    """The state arrays of a parameter. Raises `ValueError` that names it where the optimizer's rule is not for it."""
    try:
        return optimizer.init(parameter.type)
    except ValueError as error:
        raise ValueError(located(f"{name}: {error}")) from None


def _computed_at(loss: Tracer) -> str:
    return f" (computed at {loss.value.node.origin.source})" if loss.value.node else ""


def _read_result(
    trace: Trace, loss_fn: Any, result: Any
) -> tuple[Tracer, list[Any], list[str], optree.PyTreeSpec | None]:
    """Loss and metrics out of what the loss function returned. Raises where they are no such."""
    loss: Any = result
    metrics: Any = ()
    if isinstance(result, tuple):
        if len(result) != 2:
            raise TracingError(located(f"loss_fn returned {len(result)} values; return the loss, or (loss, metrics)"))
        loss, metrics = result
    if not isinstance(loss, (Tracer, np.ndarray, np.generic, float)):
        raise TracingError(located(no_loss(loss_fn, f"it returned {type(loss).__name__}", loss)))
    traced = Tracer(trace, trace.lift(loss))
    if traced.shape:
        what = f"loss_fn must return a scalar, its loss has shape {traced.shape}{_computed_at(traced)}"
        raise ShapeError(located(f"{what}; take .mean() or .sum()"))
    if not is_float(traced.dtype):
        raise TracingError(located(no_loss(loss_fn, f"its loss is {traced.dtype}{_computed_at(traced)}", loss)))
    if not isinstance(result, tuple):
        return traced, [], [], None
    paths, leaves, tree = optree.tree_flatten_with_path(metrics)
    for path, leaf in zip(paths, leaves):
        _check_array(leaf, f"the metric{_at(path)}")
    arrays = [Tracer(trace, trace.lift(leaf)) for leaf in leaves]
    return traced, arrays, [path_name(path) for path in paths], tree


def _check_array(leaf: Any, what: str) -> None:
    if not isinstance(leaf, (Tracer, np.ndarray, np.generic, bool, int, float)):
        raise TracingError(located(f"{what} is of type {type(leaf).__name__}; return arrays, or pytrees of arrays"))


def _at(path: tuple[Any, ...]) -> str:
    return f" {path_name(path)}" if path else ""


def _check_options(
    model: Any, optimizer: Any, loss_fn: Any, clip_norm: float | None, clip_value: float | None, accumulate: int
) -> None:
    if not isinstance(model, Module):
        raise TypeError(located(no_model(model)))
    check_loss(loss_fn)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(located(no_optimizer(optimizer)))
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None and not 0 < (as_real(value) or 0) < math.inf:
            raise ValueError(f"{name} is a number above 0, got {value!r}")
    if (as_whole(accumulate) or 0) < 1:
        raise ValueError(f"accumulate is a whole number of 1 or more, got {accumulate!r}")


def _flatten(tree: Any, what: str) -> tuple[list[str], list[Any], optree.PyTreeSpec]:
    paths, leaves, structure = optree.tree_flatten_with_path(tree)
    return [path_name((what, *path)) for path in paths], list(leaves), structure


def _leaf_type(name: str, leaf: Any) -> ArrayType:
    if isinstance(leaf, ArrayType):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float)):
        return type_of(as_array(leaf))
    if torch_name(leaf) is not None:
        return type_of(as_array(leaf))
    raise TypeError(f"{name} is of type {type(leaf).__name__}; use arrays or specs, gl.spec(shape, dtype)")


def _warn_of_precision(
    names: Sequence[str], types: Sequence[ArrayType], parameters: Sequence[tuple[str, Parameter]], warned: set[str]
) -> None:
    if any(p.dtype == np.dtype("float64") for _, p in parameters):
        return
    for name, t in zip(names, types):
        if t.dtype == np.dtype("float64") and t.shape:
            _warn_once(
                f"{name} is float64 and the parameters are float32: by NumPy's rules everything computed from it is "
                "float64, in twice the memory; write .astype('float32') if that is not meant",
                warned,
            )


def _warn_of_arrays(model: Module, trace: Trace, warned: set[str]) -> None:
    """Tell of floating-point arrays that a module holds as plain attributes, or in lists, dicts and objects, and that
    its forward computes with.
    """
    used = {_address(array): value for array, value in trace.constants if array.size > 1 and array.dtype.kind == "f"}
    for path, held in arrays_held(model) if used else ():
        is_array = isinstance(held, np.ndarray)
        value = used.get(_address(held) if is_array else held.data_ptr())
        if value is None:
            continue
        at = f", used at {value.node.origin.source}," if value.node and value.node.origin.source else ""
        name = path.rpartition(".")[2] if "[" not in path and "(" not in path else "name"
        what, given = ("NumPy array", "array") if is_array else ("tensor of torch", "tensor.numpy()")
        _warn_once(
            f"{type(model).__name__}: {path} is a {what}{at} which is a constant of the step and not trained; "
            f"write self.{name} = nn.Parameter({given}) to train it, or nn.Buffer({given}) to keep it as it is",
            warned,
        )


def _address(array: Array) -> int:
    """Where an array's first element lies."""
    return array.__array_interface__["data"][0]


def _warn_of_float64(
    graph: Graph, trace: Trace, parameters: Sequence[Parameter], loss: Value | None, warned: set[str]
) -> None:
    """Warn of every line where float64 enters a model with parameters of float32, unless it was given such arrays."""
    wide = [value for value in graph.inputs if value.type.dtype == np.dtype("float64")]
    if not any(p.dtype == np.dtype("float32") for p in parameters):
        return
    for entry in float64_entries(graph, trace.doubles, wide, loss):
        if entry.line not in warned:
            warned.add(entry.line)
            warn(entry.message())


def _warn_once(message: str, warned: set[str]) -> None:
    """Warn once of what is so for every batch of a step."""
    if message not in warned:
        warned.add(message)
        warnings.warn(message, UserWarning, stacklevel=4)


def _check_parts(names: Sequence[str], types: Sequence[ArrayType], parts: int) -> None:
    """Raise `ShapeError` where the first axis of a leaf does not fall into so many parts. A scalar is for all."""
    for name, t in zip(names, types):
        if t.shape and t.shape[0] % parts:
            raise ShapeError(
                f"accumulate={parts} does not divide the first axis of {name}, which has shape {t.shape}; give batches "
                f"of a multiple of {parts} examples, such as the {t.shape[0] // parts * parts} first of these"
                if t.shape[0] >= parts
                else f"accumulate={parts} does not divide the first axis of {name}, which has shape {t.shape}; a batch "
                f"needs {parts} examples at least"
            )
