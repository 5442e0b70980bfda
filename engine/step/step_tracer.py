"""The parts of a step as they are traced: forward, backward, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, DType
from ...passes.autodiff.backward import add_backward
from ...passes.graph.reached import reached
from .. import array_api as xp
from ..nn import Buffer, Module, Parameter, bind
from ..nn.calls import CallRecorder
from ..nn.taps import Tap, Tapped, tapped_values, taps_of
from ..optim import Optimizer, ReduceOnPlateau, StateSpec
from ..tracing.tracer import Trace, Tracer, TracingError, located, role
from .arguments import call_loss
from .loss_result import read_result
from .updates import Updates


@dataclass
class StepInputs:
    parameters: list[Tracer]
    buffers: list[Any]
    state: list[Tracer]
    step: Tracer
    lr: Tracer
    key: Tracer


@dataclass
class Outcome:
    """Loss, metrics, and the gradients; `None` of a parameter that the loss does not read."""

    loss: Any
    gradients: list[Any]
    metrics: list[Any]
    metric_names: list[str]
    metrics_tree: optree.PyTreeSpec | None
    taps: list[Tap]


class StepTracer:
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

    def inputs(self, trace: Trace) -> StepInputs:
        """The inputs of the step but for the batch."""
        parameters = [trace.input(p.type, name) for name, p in self.parameters]
        buffers: list[Any] = [trace.input(b.type, name, writable=True) for name, b in self.buffers]
        state = [trace.input(type, name) for name, type, _ in self.state]
        lr = trace.input(ArrayType((), np.dtype("float64")), "lr")
        key = trace.input(ArrayType((), np.dtype("int64")), "key")
        return StepInputs(parameters, buffers, state[:-1], state[-1], lr, key)

    def differentiate(self, trace: Trace, inputs: StepInputs, batch: Any, tapped: Tapped | None = None) -> Outcome:
        """Forward and backward; the buffers in `inputs` become the new ones. With `tapped`, the calls of modules that
        it chooses come with the cotangents of their outputs.
        """
        stored = [p for _, p in self.parameters] + [b for _, b in self.buffers]
        values: dict[Any, Any] = dict(zip(stored, [*inputs.parameters, *inputs.buffers]))
        begin = len(trace.builder.nodes)
        recorder = None if tapped is None else CallRecorder(trace)
        with bind(self.model, values, recorder=recorder) as binding:
            result = call_loss(self.loss_fn, self.model, batch, binding)
        loss, metrics, names, tree = read_result(trace, self.loss_fn, result)
        inputs.buffers = [binding.buffer(b) for _, b in self.buffers]
        wrt = [values[p].value for _, p in self.trained]
        nodes = trace.builder.nodes[begin:]
        depending = reached([loss.value])
        if depending.isdisjoint(wrt):
            what = "loss_fn returned a loss that depends on no trained parameter"
            raise TracingError(located(f"{what}; compute it from what the model returns"))
        with role("backward"):
            one = trace.full(1, (), loss.dtype)
        calls = [] if recorder is None or tapped is None else [call for call in recorder.calls if tapped(call)]
        inside = tapped_values(calls, depending)
        gradients = add_backward(trace.builder, nodes, {loss.value: one.value}, [*wrt, *inside])
        read = [Tracer(trace, g) if value in depending else None for value, g in zip(wrt, gradients)]
        cotangents = dict(zip(inside, (Tracer(trace, g) for g in gradients[len(wrt) :])))
        return Outcome(loss, read, metrics, names, tree, taps_of(calls, cotangents))

    def update(
        self, trace: Trace, inputs: StepInputs, gradients: Sequence[Any], loss: Tracer
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
