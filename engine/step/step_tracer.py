"""The parts of a step as they are traced: forward, backward, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType
from ...passes.autodiff.backward import add_backward
from ...passes.graph.reached import reached
from ..compile.compile_progress import compile_phase
from ..diagnosis.watched import Watched, watched_layers
from ..nn import Buffer, Module, Parameter, bind
from ..nn.calls import CallRecorder
from ..nn.taps import Tap, Tapped, tapped_values, taps_of
from ..optim import Optimizer, ReduceOnPlateau
from ..optim.update_inputs import UpdateInputs, of_group
from ..tracing import random
from ..tracing.activations import in_precision
from ..tracing.batch_parts import in_parts
from ..tracing.precisions import is_stored_narrow
from ..tracing.tracer import Trace, Tracer, TracingError, current_trace, located, role
from ..tracing.transforms import value_and_grad
from .arguments import call_loss
from .loss_result import read_result
from .narrow_moments import narrow_specs, narrowed, widened
from .trained import Train, trained_parameters


@dataclass
class StepInputs:
    """The traced inputs of a step but for the batch; what the loss function assigns takes its place among them."""

    parameters: list[Any]
    buffers: list[Any]
    state: list[Tracer]
    step: Tracer
    rates: dict[str, Tracer]
    """By group."""
    key: Tracer


@dataclass
class Outcome:
    """Loss, metrics, and the gradients; `None` of a parameter that the loss does not read."""

    loss: Any
    gradients: list[Any]
    metrics: list[Any]
    metric_names: list[str]
    metrics_tree: optree.PyTreeSpec | None
    records: dict[str, Any]
    """What the model offers as outputs, by name."""
    taps: list[Tap]
    watched: list[Watched]
    watched_taps: list[Tap]
    skipped: tuple[str, ...]
    """Modules that cannot be watched."""


class StepTracer:
    """What is known of a step before it is traced: names, types, and the parts that are traced."""

    def __init__(
        self,
        model: Module,
        loss_fn: Callable[[Any, Any], Any],
        optimizer: Optimizer,
        train: Train = None,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.precision = precision
        self.loss_fn = loss_fn
        self.parameters: list[tuple[str, Parameter]] = model.stored_parameters()
        self.buffers: list[tuple[str, Buffer]] = model.stored_buffers()
        self.part = train is not None
        self.trained = trained_parameters(model, train)
        trained = {p for _, p in self.trained}
        self.assignable = [b for _, b in self.buffers] + [p for _, p in self.parameters if p not in trained]
        """What the loss function may assign."""
        types = {name: p.type for name, p in self.parameters}
        self.optimizer = optimizer.resolved(types, [name for name, _ in self.trained], model)
        trained_types = {name: p.type for name, p in self.trained}
        specs = self.optimizer.init_all(trained_types)
        narrow = is_stored_narrow(precision, "moments")
        self.specs = narrow_specs(self.optimizer, specs, trained_types) if narrow else specs
        self.narrow_state = {name for name, spec in self.specs.items() if spec != specs[name]}
        self.state = [(name, spec.type, spec.value) for name, spec in self.specs.items()]
        self.groups = list(self.optimizer.rates)
        self.plateaus = {g: lr for g, lr in self.optimizer.rates.items() if isinstance(lr, ReduceOnPlateau)}
        scalar = ArrayType((), np.dtype("float64"))
        for group, plateau in self.plateaus.items():
            self.state += [(of_group(name, group), scalar, value) for name, value in plateau.init().items()]
        self.state.append(("step", ArrayType((), np.dtype("int64")), 0.0))
        stored = [*(name for name, _ in self.parameters), *(name for name, _ in self.buffers)]
        self.carried_names = [*stored, *(name for name, _, _ in self.state)]

    def inputs(self, trace: Trace) -> StepInputs:
        """The inputs of the step but for the batch."""
        parameters: list[Any] = [trace.input(p.type, name) for name, p in self.parameters]
        buffers: list[Any] = [trace.input(b.type, name, writable=True) for name, b in self.buffers]
        state = [trace.input(type, name) for name, type, _ in self.state]
        scalar = ArrayType((), np.dtype("float64"))
        rates = {group: trace.input(scalar, of_group("lr", group)) for group in self.groups}
        key = trace.input(ArrayType((), np.dtype("int64")), "key")
        return StepInputs(parameters, buffers, state[:-1], state[-1], rates, key)

    def differentiate(
        self,
        trace: Trace,
        inputs: StepInputs,
        batch: Any,
        tapped: Tapped | None = None,
        watches: bool = False,
        scale: float = 1,
    ) -> Outcome:
        """Forward and backward, of `scale` times the loss; what was assigned takes its place in `inputs`. With
        `tapped`, the calls of modules that it chooses come with the cotangents of their outputs; if it `watches`, so do
        all layers that a diagnosis has.
        """
        stored = [p for _, p in self.parameters] + [b for _, b in self.buffers]
        values: dict[Any, Any] = dict(zip(stored, [*inputs.parameters, *inputs.buffers]))
        begin = len(trace.builder.nodes)
        recorder = CallRecorder(trace) if tapped is not None or watches else None
        with (
            bind(self.model, values, recorder=recorder, assignable=self.assignable) as binding,
            in_precision(self.precision, trace, values.values()),
        ):
            result = call_loss(self.loss_fn, self.model, batch, binding)
        loss, metrics, names, tree = read_result(trace, self.loss_fn, result)
        inputs.parameters = [binding.value(p) for _, p in self.parameters]
        inputs.buffers = [binding.value(b) for _, b in self.buffers]
        wrt = [values[p].value for _, p in self.trained]
        nodes = trace.builder.nodes[begin:]
        depending = reached([loss.value])
        if depending.isdisjoint(wrt):
            what = "loss_fn returned a loss that depends on no trained parameter"
            some = ", ".join(name for name, _ in self.trained[:3])
            trained = f", of which there are {len(self.trained)} here, such as {some}" if self.part else ""
            raise TracingError(located(f"{what}{trained}; compute it from what the model returns"))
        with role("backward"):
            one = trace.full(scale, (), loss.dtype)
        made = [] if recorder is None else recorder.calls
        calls = [call for call in made if tapped is not None and call.own and tapped(call)]
        watched = watched_layers(made, nodes, {p: name for name, p in self.parameters}) if watches else []
        inside = tapped_values([*calls, *(layer.call for layer in watched)], depending)
        compile_phase("gradients")
        gradients = add_backward(trace.builder, nodes, {loss.value: one.value}, [*wrt, *inside])
        read = [Tracer(trace, g) if value in depending else None for value, g in zip(wrt, gradients)]
        cotangents = dict(zip(inside, (Tracer(trace, g) for g in gradients[len(wrt) :])))
        taps, watched_taps = taps_of(calls, cotangents), taps_of([layer.call for layer in watched], cotangents)
        skipped = tuple(dict.fromkeys(call.path for call in made if call.skipped))
        return Outcome(loss, read, metrics, names, tree, binding.records, taps, watched, watched_taps, skipped)

    def loss_at(self, inputs: StepInputs, batch: Any, parts: int) -> Callable[[Mapping[str, Any]], Any]:
        """The loss of the batch, with the draws of the step, as a function of parameters by name; those that are not
        given, and the buffers, are as they stand before the step.
        """
        values: dict[Any, Any] = {p: value for (_, p), value in zip(self.parameters, inputs.parameters)}
        values |= {b: value for (_, b), value in zip(self.buffers, inputs.buffers)}
        by_name = dict(self.parameters)

        def loss_at(parameters: Mapping[str, Any]) -> Any:
            trace = current_trace()
            assert trace is not None
            given = values | {by_name[name]: value for name, value in parameters.items()}
            with (
                role("forward"),
                random.key(inputs.key + inputs.step),
                in_parts(parts),
                bind(self.model, given, assignable=self.assignable) as binding,
                in_precision(self.precision, trace, given.values()),
            ):
                result = call_loss(self.loss_fn, self.model, batch, binding)
            return read_result(trace, self.loss_fn, result)[0]

        return loss_at

    def update(
        self,
        inputs: StepInputs,
        total: Outcome,
        loss_at: Callable[[Mapping[str, Any]], Any],
        clip: Callable[[list[Any]], list[Any]],
    ) -> tuple[list[Any], list[Any]]:
        """The new parameters, and the new state with `step`. What the loss does not read (gradient `None`) stays as it
        is, and so does its state: it does not decay either.
        """

        def bounded(gradients: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(gradients, clip(list(gradients.values()))))

        def evaluate(parameters: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
            loss, gradients = value_and_grad(loss_at)(dict(parameters))
            return loss, bounded({name: gradients[name] for name in parameters})

        current = {name: value for (name, _), value in zip(self.parameters, inputs.parameters)}
        given = UpdateInputs(
            parameters={name: current[name] for name, _ in self.trained},
            gradients=bounded({name: g for (name, _), g in zip(self.trained, total.gradients) if g is not None}),
            state=widened(dict(zip(self.specs, inputs.state)), self.narrow_state),
            step=inputs.step,
            rates=inputs.rates,
            loss=total.loss,
            loss_at=loss_at,
            evaluate=evaluate,
            taps=total.taps,
        )
        new, new_state = self.optimizer.update_all(given)
        self._check(new, given.parameters, "parameter")
        self._check(new_state, given.state, "state")
        new_state = narrowed(new_state, self.narrow_state)
        state = [new_state.get(name, before) for name, before in zip(self.specs, inputs.state)]
        for plateau in self.plateaus.values():
            followed = dict(zip(plateau.init(), inputs.state[len(state) :]))
            state += plateau.advance(given.loss, followed).values()
        return list((current | new).values()), [*state, inputs.step + 1]

    def _check(self, new: Mapping[str, Any], before: Mapping[str, Any], what: str) -> None:
        """Raises `TypeError` where an optimizer gives something else than it was given."""
        kind = type(self.optimizer).__name__
        for name, value in new.items():
            if name not in before:
                raise TypeError(f"{kind} updates the {what} {name}, which there is not")
            got, wanted = (value.shape, value.dtype), (before[name].shape, before[name].dtype)
            if got != wanted:
                raise TypeError(
                    f"{kind} makes the {what} {name}, {wanted[1]} of shape {wanted[0]}, {got[1]} of shape {got[0]}; "
                    "an update keeps shapes and dtypes"
                )
