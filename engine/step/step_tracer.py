"""The parts of a step as they are traced: forward, backward, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, Node, Value
from ...ir.ops import movement
from ...passes.autodiff.backward import add_backward
from ...passes.graph.reached import reached
from .. import array_api as xp
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
from ..tracing.precisions import stored_dtype
from ..tracing.tracer import Trace, Tracer, TracingError, current_trace, located, role
from ..tracing.transforms import value_and_grad
from .arguments import call_loss
from .clipping import PLAIN, Totals
from .loss_result import read_result
from .loss_scaling import SCALE, SKIPPED, LossScaling, all_finite
from .narrow_moments import narrow_specs, narrowed, widened
from .narrow_parameters import as_float32, as_stored, check_not_assigned, master_name, stored_types
from .shards import Shards, owners, updated_whole
from .trained import Train, trained_parameters


@dataclass
class StepInputs:
    """The traced inputs of a step but for the batch; what the loss function assigns takes its place among them."""

    stored: list[Tracer]
    """The parameters as they lie in memory."""
    parameters: list[Any]
    """The parameters as they are computed with."""
    buffers: list[Any]
    state: dict[str, Tracer]
    """By name, without `step`."""
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
    finite: Any = None
    """Whether all gradients are finite, where the loss is scaled."""
    scaling: dict[str, Any] = field(default_factory=dict)
    """The new state of the scale of the loss."""


class StepTracer:
    """What is known of a step before it is traced: names, types, and the parts that are traced."""

    def __init__(
        self,
        model: Module,
        loss_fn: Callable[[Any, Any], Any],
        optimizer: Optimizer,
        train: Train = None,
        precision: str = "fp32",
        scaling: LossScaling | None = None,
        shards: Shards | None = None,
        held: Shards | None = None,
    ) -> None:
        """`shards` are those of state and gradients, `held` those of parameters, where ranks have any."""
        self.model = model
        self.shards, self.held = shards, held
        self.precision = precision
        self.scaling = scaling
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
        self.stored_types = stored_types(types, stored_dtype(precision, "parameters"))
        if held is not None:
            self.stored_types = {name: held.type(t) for name, t in self.stored_types.items()}
        trained_types = {name: p.type for name, p in self.trained}
        narrow = [name for name, t in trained_types.items() if t.dtype != self.stored_types[name].dtype]
        self.masters = {name: master_name(name) for name in narrow}
        """The names of masters by those of their parameters."""
        specs = self.optimizer.init_all(trained_types)
        self.whole_state = {name: spec.type for name, spec in specs.items() if spec.type.shape}
        """The types of the state of which each rank has a shard, where there are shards."""
        self.updated_whole: Collection[str] = frozenset()
        """The parameters whose update reads all of them, of which ranks put their shards together."""
        if shards is not None:
            self.updated_whole = updated_whole(self.optimizer, trained_types, specs)
            trained_types = {n: t if n in self.updated_whole else shards.type(t) for n, t in trained_types.items()}
            specs = self.optimizer.init_all(trained_types)
        narrow = stored_dtype(precision, "moments")
        self.specs = specs if narrow is None else narrow_specs(self.optimizer, specs, trained_types, narrow)
        self.narrow_state = {name: spec.type.dtype for name, spec in self.specs.items() if spec != specs[name]}
        of = owners(trained_types, self.specs) if self.updated_whole else {}
        self.gathered = {n: self.specs[n].type for n, path in of.items() if path in self.updated_whole}
        """The types of the state that updates read whole, of what has axes."""
        self.gathered = {name: type for name, type in self.gathered.items() if type.shape}
        self.state = [
            (name, shards.type(spec.type) if shards is not None and name in self.gathered else spec.type, spec.value)
            for name, spec in self.specs.items()
        ]
        self.groups = list(self.optimizer.rates)
        self.plateaus = {g: lr for g, lr in self.optimizer.rates.items() if isinstance(lr, ReduceOnPlateau)}
        scalar = ArrayType((), np.dtype("float64"))
        for group, plateau in self.plateaus.items():
            self.state += [(of_group(name, group), scalar, value) for name, value in plateau.init().items()]
        whole = {master: types[name] for name, master in self.masters.items()}
        self.whole_state |= whole
        self.state += [(master, t if shards is None else shards.type(t), 0.0) for master, t in whole.items()]
        if scaling is not None:
            self.state += [(name, type, value) for name, (type, value) in scaling.init().items()]
        self.state.append(("step", ArrayType((), np.dtype("int64")), 0.0))
        stored = [*(name for name, _ in self.parameters), *(name for name, _ in self.buffers)]
        self.carried_names = [*stored, *(name for name, _, _ in self.state)]

    def inputs(self, trace: Trace) -> StepInputs:
        """The inputs of the step but for the batch."""
        stored = [trace.input(self.stored_types[name], name) for name, _ in self.parameters]
        parameters = [self._whole(x, p.type) for x, (_, p) in zip(stored, self.parameters)]
        buffers: list[Any] = [trace.input(b.type, name, writable=True) for name, b in self.buffers]
        *state, step = [(name, trace.input(type, name)) for name, type, _ in self.state]
        scalar = ArrayType((), np.dtype("float64"))
        rates = {group: trace.input(scalar, of_group("lr", group)) for group in self.groups}
        key = trace.input(ArrayType((), np.dtype("int64")), "key")
        return StepInputs(stored, parameters, buffers, dict(state), step[1], rates, key)

    def _whole(self, stored: Any, type: ArrayType) -> Any:
        """A parameter as it is computed with."""
        return as_float32(stored if self.held is None else self.held.whole(stored, type), type)

    def as_held(self, name: str, master: Any) -> Any:
        """A master as ranks hold its parameter: whole, or in shards."""
        cut = self.shards is not None and self.held is None
        return self.shards.whole(master, self.whole_state[self.masters[name]]) if self.shards and cut else master

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
        assigned = [name for name, p in self.parameters if binding.value(p) is not values[p]]
        narrow = {name: self.stored_types[name] for name, p in self.parameters if self.stored_types[name] != p.type}
        if self.held is not None and assigned:
            what = f"the loss function assigns {assigned[0]}, of which each rank has a shard"
            raise NotImplementedError(located(f"{what}; write shard='gradients', which leaves parameters whole"))
        check_not_assigned(assigned, narrow, "the loss function")
        inputs.parameters = [binding.value(p) for _, p in self.parameters]
        inputs.buffers = [binding.value(b) for _, b in self.buffers]
        wrt, reshapes = _before_reshapes([values[p].value for _, p in self.trained])
        nodes = [*reshapes, *trace.builder.nodes[begin:]]
        depending = reached([loss.value])
        if depending.isdisjoint(wrt):
            what = "loss_fn returned a loss that depends on no trained parameter"
            some = ", ".join(name for name, _ in self.trained[:3])
            trained = f", of which there are {len(self.trained)} here, such as {some}" if self.part else ""
            raise TracingError(located(f"{what}{trained}; compute it from what the model returns"))
        with role("backward"):
            one = trace.full(scale, (), loss.dtype)
            if self.scaling is not None:
                one = xp.astype(inputs.state[SCALE], loss.dtype)
                one = one if scale == 1 else one * np.asarray(scale, loss.dtype)[()]
        made = [] if recorder is None else recorder.calls
        calls = [call for call in made if tapped is not None and call.own and tapped(call)]
        watched = watched_layers(made, nodes, {p: name for name, p in self.parameters}) if watches else []
        inside = tapped_values([*calls, *(layer.call for layer in watched)], depending)
        compile_phase("gradients")
        gradients = add_backward(trace.builder, nodes, {loss.value: one.value}, [*wrt, *inside])
        unscaled = [self._unscaled(inputs, Tracer(trace, g)) for g in gradients]
        read = [g if value in depending else None for value, g in zip(wrt, unscaled)]
        cotangents = dict(zip(inside, unscaled[len(wrt) :]))
        taps, watched_taps = taps_of(calls, cotangents), taps_of([layer.call for layer in watched], cotangents)
        skipped = tuple(dict.fromkeys(call.path for call in made if call.skipped))
        records = dict(binding.records)
        return Outcome(loss, read, metrics, names, tree, records, taps, watched, watched_taps, skipped)

    def judged(self, inputs: StepInputs, total: Outcome, totals: Totals = PLAIN) -> Outcome:
        """The outcome with what its gradients make of the scale of the loss, where it is scaled."""
        if self.scaling is None:
            return total
        with role("optimizer"):
            finite = all_finite([g for g in total.gradients if g is not None], totals)
            scaling = self.scaling.advance(finite, inputs.state)
        records = total.records | {SCALE: inputs.state[SCALE], SKIPPED: scaling[SKIPPED]}
        return replace(total, finite=finite, scaling=scaling, records=records)

    def _unscaled(self, inputs: StepInputs, gradient: Any) -> Any:
        """A gradient, or a cotangent, of the loss itself."""
        if self.scaling is None:
            return gradient
        with role("backward"):
            return gradient * xp.astype(1 / inputs.state[SCALE], gradient.dtype)

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
            given = values | {by_name[name]: self._rounded(name, value) for name, value in parameters.items()}
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
        masters = {name: inputs.state[master] for name, master in self.masters.items()}
        held = {name: inputs.state[name] for name in self.specs}
        gradients = bounded({name: g for (name, _), g in zip(self.trained, total.gradients) if g is not None})
        if self.shards is not None:
            cut = dict(zip(current, inputs.stored)) if self.held is not None else None
            current |= {
                name: self.shards.own(current[name]) if cut is None else cut[name]
                for name, _ in self.trained
                if name not in self.updated_whole
            }
            held |= {name: self.shards.whole(held[name], type) for name, type in self.gathered.items()}
            types = {name: p.type for name, p in self.trained if name in self.updated_whole}
            gradients |= {n: self.shards.whole(gradients[n], t) for n, t in types.items() if n in gradients}
            masters |= {n: self.shards.whole(masters[n], t) for n, t in types.items() if n in masters}
        given = UpdateInputs(
            parameters={name: masters.get(name, current[name]) for name, _ in self.trained},
            gradients=gradients,
            state=widened(held, self.narrow_state),
            step=inputs.step if self.scaling is None else inputs.step - inputs.state[SKIPPED],
            rates=inputs.rates,
            loss=total.loss,
            loss_at=loss_at,
            evaluate=evaluate,
            taps=total.taps,
        )
        new, new_state = self.optimizer.update_all(given)
        self._check(new, given.parameters, "parameter")
        self._check(new_state, given.state, "state")
        if self.scaling is not None:
            new, new_state = (
                {name: xp.where(total.finite, value, before[name]) for name, value in values.items()}
                for values, before in ((new, given.parameters), (new_state, given.state))
            )
        state = inputs.state | narrowed(new_state, self.narrow_state) | total.scaling
        if self.shards is not None:
            state |= {name: self.shards.own(state[name]) for name in self.gathered}
        for group, plateau in self.plateaus.items():
            followed = {name: inputs.state[of_group(name, group)] for name in plateau.init()}
            state |= {of_group(name, group): x for name, x in plateau.advance(given.loss, followed).items()}
        for name, value in new.items():
            if name in self.masters:
                own = self.shards.own(value) if self.shards and name in self.updated_whole else value
                state[self.masters[name]] = own
        if self.held is not None:
            new = {name: self.held.own(x) if name in self.updated_whole else x for name, x in new.items()}
        new = {name: as_stored(value, self.stored_types[name]) for name, value in new.items()}
        if self.shards is not None and self.held is None:
            types = {name: p.type for name, p in self.trained if name not in self.updated_whole}
            new = {name: self.shards.whole(x, types[name]) if name in types else x for name, x in new.items()}
        return self._written(inputs, new), [*state.values(), inputs.step + 1]

    def _written(self, inputs: StepInputs, new: Mapping[str, Any]) -> list[Any]:
        """The parameters as they are to lie in memory."""
        written: list[Any] = []
        for (name, _), stored, value in zip(self.parameters, inputs.stored, inputs.parameters):
            narrow = self.stored_types[name]
            if name in new:
                written.append(new[name])
            else:  # what is no float32, and no shard, may have been assigned
                kept = self.held is not None or value.dtype != narrow.dtype
                written.append(stored if kept else value)
        return written

    def _rounded(self, name: str, value: Any) -> Any:
        """A parameter that an optimizer asks for, as it would be computed with."""
        return as_float32(as_stored(value, self.stored_types[name]), ArrayType(value.shape, value.dtype))

    def _check(self, new: Mapping[str, Any], before: Mapping[str, Any], what: str) -> None:
        """Raises `TypeError` where an optimizer gives something else than it was given."""
        kind = type(self.optimizer).__name__
        for name, value in new.items():
            if name not in before:
                raise TypeError(located(f"{kind} updates the {what} {name}, which there is not"))
            got, wanted = (value.shape, value.dtype), (before[name].shape, before[name].dtype)
            if got != wanted:
                raise TypeError(
                    located(
                        f"{kind} makes the {what} {name}, {wanted[1]} of shape {wanted[0]}, {got[1]} of shape "
                        f"{got[0]}; an update keeps shapes and dtypes"
                    )
                )


def _before_reshapes(parameters: Sequence[Value]) -> tuple[list[Value], list[Node]]:
    """What is differentiated by for parameters, some of which are shards gathered and reshaped, and these reshapes.
    Where a model reshapes one once more, the trace reads what lies before the first reshape.
    """
    found: list[Value] = []
    reshapes: list[Node] = []
    for value in parameters:
        node = value.node
        if node is not None and node.op is movement.reshape:
            reshapes.append(node)
            value = node.inputs[0]
        found.append(value)
    return found, reshapes
