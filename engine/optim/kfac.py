"""K-FAC: natural gradient steps by a Kronecker-factored curvature of every layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...ir import ArrayType
from .. import array_api as xp
from ..nn import Module
from ..nn.calls import ModuleCall
from ..nn.taps import Tap, Tapped
from ..tracing.cond import cond
from ..tracing.numbers import as_whole
from ..tracing.tracer import located
from .fisher_samples import of_gradients, of_hessian
from .kronecker_factors import (
    FactoredLayer,
    calls_of,
    damped_roots,
    factored_layers,
    input_factor,
    output_factor,
    preconditioned,
)
from .model_output import ModelOutput, is_of_model
from .optimizer import ABOVE_ZERO, NOT_NEGATIVE, PART, Optimizer, StateSpec, Within, state_name
from .quadratic_model import Plane, adapted, change_of_loss, chosen, combined, penalized_all
from .schedules import Schedule
from .update_inputs import UpdateInputs


@dataclass(frozen=True)
class KFAC(Optimizer):
    """`d = lr (μ d - α (G + λ_G)⁻¹ g (A + λ_A)⁻¹);  p += d` for the gradient g of a layer's weight and bias, as a
    matrix (out, in + 1).

    `nn.Linear`, and `nn.Conv1d`, `Conv2d` and `Conv3d` in one group, have the curvature G ⊗ A: A is the mean of a aᵀ
    over all rows a that the layer multiplies by its weight (of a convolution, its patches), with a 1 for the bias; G is
    the sum of s sᵀ over samples s of the loss's curvature by the layer's output. Both are running averages: the old one
    counts by min(1 - 1/t, `stat_decay`) in step t. λ_A = π √damping and λ_G = √damping / π, where π² is the mean
    eigenvalue of A over that of G. A layer that is called several times has the rows of all calls. With `update_every`
    the damped factors are factored in every such step only, and where the damping has doubled since.

    The other parameters, such as those of norms, embeddings and recurrent layers, and weights that several modules
    share, have a diagonal curvature D: the running average of squared samples of their gradients. They take
    g / (max(D, mean D) + damping) in place of the product.

    α and μ are those with which the quadratic model of the loss, with its exact Gauss-Newton matrix, is least; `lr` is
    how much of that step is taken. With a number as `momentum`, α is 1 and d = momentum d - lr (...).
    With `adapt_damping`, `damping` is the first one and follows the rule of Levenberg and Marquardt: it is times
    `damping_decay` after a step that the model foretold, and grows after others; a step that makes the loss of its
    batch larger is not taken. Without, it stays. `weight_decay` is an L2 penalty.

    `fisher` says which curvature is sampled: "output", the Hessian of the loss by the output of the model, which for
    cross entropy and squared errors is the Fisher matrix; loss_fn calls the model once, and each row of its output has
    a Hessian of its own, of 1024 classes at most. Or "empirical": the gradients of the entries of the batch, for a loss
    that is a mean over them.

    Martens and Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate curvature"; Grosse and
    Martens 2016, "A Kronecker-factored approximate Fisher matrix for convolution layers".
    """

    lr: float | Schedule = 0.3
    momentum: float | None = None
    damping: float = 1e-3
    stat_decay: float = 0.95
    update_every: int = 1
    weight_decay: float = 0.0
    adapt_damping: bool = True
    damping_decay: float = 0.9
    min_damping: float = 1e-12
    fisher: Literal["output", "empirical"] = "output"

    def __post_init__(self) -> None:
        self.check(
            damping=ABOVE_ZERO,
            stat_decay=PART,
            weight_decay=NOT_NEGATIVE,
            damping_decay=Within(ABOVE_ZERO.low, 1.0, closed=True),
            min_damping=ABOVE_ZERO,
            **({} if self.momentum is None else {"momentum": PART}),
        )
        if self.momentum_schedule is not None:
            raise ValueError(
                located("KFAC: a schedule that cycles the momentum is for other optimizers; write cycle_momentum=False")
            )
        self.check_choice("fisher", "output", "empirical")
        every = as_whole(self.update_every)
        if every is None or every < 1:
            raise ValueError(
                located(f"KFAC: update_every is a whole number of steps, 1 or more, got {self.update_every!r}")
            )
        object.__setattr__(self, "update_every", every)

    def resolved(
        self, parameters: Mapping[str, ArrayType], trained: Collection[str], model: Module | None = None
    ) -> Optimizer:
        found = replace(self)
        if model is not None:
            object.__setattr__(found, "_layers", factored_layers(model))
        return found

    @property
    def _layers_of_model(self) -> tuple[FactoredLayer, ...]:
        return getattr(self, "_layers", ())

    @property
    def tapped(self) -> Tapped:
        paths = {layer.path for layer in self._layers_of_model}

        def chosen(call: ModuleCall) -> bool:
            return is_of_model(call) or (call.path in paths and call.own and call.module is not None)

        return chosen

    def init_all(self, types: Mapping[str, ArrayType]) -> dict[str, StateSpec]:
        layers, others = self._split(types)
        scalar = ArrayType((), np.dtype("float64"))
        found: dict[str, StateSpec] = {}
        for layer in layers:
            weight = types[layer.weight]
            for kind, size in zip(("output_{}", "input_{}"), layer.sizes(weight)):
                square = StateSpec(ArrayType((size, size), weight.dtype))
                found[state_name(kind.format("factor"), layer.weight)] = square
                if self.update_every > 1:
                    found[state_name(kind.format("root"), layer.weight)] = square
        found |= {state_name("diagonal", name): StateSpec(types[name]) for name in others}
        if self.momentum != 0:
            found |= {state_name("last_step", name): StateSpec(type) for name, type in types.items()}
        if self.adapt_damping:
            found["damping"] = StateSpec(scalar, self.damping)
        if self.update_every > 1:
            found["root_damping"] = StateSpec(scalar, self.damping)
        return found

    def _split(self, types: Mapping[str, Any]) -> tuple[list[FactoredLayer], list[str]]:
        """The layers whose weights are among these parameters, and the parameters that are of none. Raises `ValueError`
        where there is no layer.
        """
        layers = [
            layer if layer.bias in types else replace(layer, bias=None)
            for layer in self._layers_of_model
            if layer.weight in types
        ]
        if not layers:
            raise ValueError(
                located(
                    "KFAC: no trained parameter is the weight of a layer with Kronecker factors, which nn.Linear, "
                    "nn.Conv1d, nn.Conv2d and nn.Conv3d (groups=1) are in a model of gl.compile_step; write "
                    "gl.optim.NaturalGradient() or gl.optim.Adam(1e-3)"
                )
            )
        mine = {name for layer in layers for name in layer.names()}
        return layers, [name for name in types if name not in mine]

    def update_all(self, given: UpdateInputs) -> tuple[dict[str, Any], dict[str, Any]]:
        layers, others = self._split(given.parameters)
        damping = given.state["damping"] if self.adapt_damping else np.float64(self.damping)
        gradients = penalized_all(given, self.weight_decay)
        step = _Step(self, given, ModelOutput("KFAC", given.taps), gradients, damping + self.weight_decay, {})
        moved, expected = step.moved(
            step.descent(
                [layer for layer in layers if layer.weight in gradients], [name for name in others if name in gradients]
            )
        )
        new, state = {name: given.parameters[name] + d for name, d in moved.items()}, step.state
        if self.adapt_damping:
            actual = change_of_loss(given, new, self.weight_decay)
            state["damping"], taken = adapted(
                damping, self.damping, self.damping_decay, self.min_damping, given.loss, actual, expected
            )
            moved = chosen(taken, moved, {name: xp.zeros_like(d) for name, d in moved.items()})
            new = chosen(taken, new, given.parameters)
        if self.momentum != 0:
            state |= {state_name("last_step", name): d for name, d in moved.items()}
        return new, state


@dataclass(frozen=True)
class _Step:
    """One update as it is traced: `damping` with the penalty's curvature, and the new `state` as it is made."""

    rule: KFAC
    given: UpdateInputs
    output: ModelOutput
    gradients: Mapping[str, Any]
    damping: Any
    state: dict[str, Any]

    def descent(self, layers: list[FactoredLayer], others: list[str]) -> dict[str, Any]:
        """The directions of descent."""
        calls = [calls_of(layer, self.given.taps) for layer in layers]
        samples = self._samples([tap for taps in calls for tap in taps], others)
        is_due = self._is_due()
        found: dict[str, Any] = {}
        for layer, taps in zip(layers, calls):
            outer = self._averaged("output_factor", layer.weight, output_factor(layer, taps, samples))
            inner = self._averaged("input_factor", layer.weight, input_factor(layer, taps))
            found |= preconditioned(layer, self.gradients, self._roots(layer, outer, inner, is_due))
        for name in others:
            squared = self._averaged("diagonal", name, samples[name] * samples[name])
            curvature = xp.maximum(squared, xp.mean(squared)) + xp.astype(self.damping, squared.dtype)
            found[name] = self.gradients[name] / curvature
        return {name: -found[name] for name in self.gradients}

    def _samples(self, taps: list[Tap], others: list[str]) -> dict[Any, Any]:
        """Samples of the curvature: by the calls of layers, and by the names of the other parameters."""
        of_entries = self.rule.fisher == "empirical"
        cotangents = of_gradients(self.output) if of_entries else of_hessian(self.output, "KFAC")
        to = [*(tap.call.outputs[0] for tap in taps), *(self.given.parameters[name] for name in others)]
        return dict(zip([*taps, *others], self.output.pulled_back(cotangents, to), strict=True))

    def _averaged(self, kind: str, name: str, now: Any) -> Any:
        """The running average of a part of the curvature with what this step found, if that is finite."""
        place = state_name(kind, name)
        kept = xp.astype(xp.minimum(1.0 - 1.0 / (self.given.step + 1), self.rule.stat_decay), now.dtype)
        before = self.given.state[place]
        self.state[place] = xp.where(xp.all(xp.isfinite(now)), before * kept + now * (1 - kept), before)
        return self.state[place]

    def _is_due(self) -> Any:
        """Whether this step factors the curvature of the layers."""
        if self.rule.update_every == 1:
            return True
        old = self.given.state["root_damping"]
        is_due = (self.given.step % self.rule.update_every == 0) | (self.damping > 2 * old)
        self.state["root_damping"] = xp.where(is_due, self.damping, old)
        return is_due

    def _roots(self, layer: FactoredLayer, outer: Any, inner: Any, is_due: Any) -> tuple[Any, Any]:
        """Cholesky factors of the damped curvature of a layer, of this step or of the last one that made them."""
        if self.rule.update_every == 1:
            return damped_roots(outer, inner, self.damping)
        places = [state_name(kind, layer.weight) for kind in ("output_root", "input_root")]
        old = tuple(self.given.state[place] for place in places)
        roots = cond(is_due, lambda: damped_roots(outer, inner, self.damping), lambda: old)
        self.state.update(zip(places, roots))
        return roots

    def moved(self, descent: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """The step, and by how much the quadratic model says that the loss changes."""
        last = {name: state_name("last_step", name) for name in descent}
        before = {name: self.given.state.get(last[name], xp.zeros_like(d)) for name, d in descent.items()}
        momentum = self.rule.momentum
        along, again = self.given.lr, np.float64(momentum or 0.0)
        if momentum is not None and not self.rule.adapt_damping:
            return combined(along, descent, again, before), None
        plane = Plane(self.output, self.given.parameters, self.gradients, self.damping, descent, before)
        if momentum is None:
            along, again = (self.given.lr * factor for factor in plane.least())
        return combined(along, descent, again, before), plane.at(along, again)
