"""Loss functions made of loss functions: with a penalty on the gradient, and at the worst place nearby."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import array_api as xp
from ..tracing.custom_vjp import custom_vjp
from ..tracing.keywords import tells_keywords
from ..tracing.numbers import as_real
from ..tracing.tracer import Trace, Tracer, TracingError, current_trace, located
from ..tracing.transforms import pull_back, scalar_loss, stop_gradient
from .binding import Binding, bind, binding_of, current_value
from .parameter import Parameter

LossFunction = Callable[[Any, Any], Any]


@tells_keywords
def gradient_penalty(loss_fn: LossFunction, weight: float, squared: bool = True) -> LossFunction:
    """The loss function `loss_fn(model, batch)` plus `weight` times ‖∇loss‖², or ‖∇loss‖ where not `squared`: the norm
    of the gradient with respect to all parameters that are trained.

        step = gl.compile_step(model, nn.gradient_penalty(loss_fn, 0.01), optimizer, batch)

    The derivative of the penalty is one of second order, a Hessian-vector product. Metrics stay as they are. With
    `squared` it is the regularization that is implicit in gradient descent of a large rate: Barrett and Dherin 2021,
    "Implicit gradient regularization"; without, that of Zhao et al. 2022, "Penalizing gradient norm for efficiently
    improving generalization in deep learning".
    """
    factor = _number("gradient_penalty", "weight", weight)

    @functools.wraps(loss_fn)
    def penalized(model: Any, batch: Any) -> Any:
        first = _FirstPass.of("gradient_penalty", loss_fn, model, batch)
        total = _sum_of_squares(first.gradients)
        return first.with_loss(first.loss + factor * (total if squared else _root(total)))

    return penalized


@tells_keywords
def sharpness_aware(loss_fn: LossFunction, rho: float = 0.05, adaptive: bool = False) -> LossFunction:
    """The loss function `loss_fn(model, batch)` with the gradient that it has at θ + ε, for sharpness-aware
    minimization: ε = rho · ∇loss / ‖∇loss‖ is where the loss grows most, and takes no part in the derivative.

        step = gl.compile_step(model, nn.sharpness_aware(loss_fn, rho=0.05), optimizer, batch)

    Value and metrics are those at θ, and what a layer such as batch norm counts along is counted there. With `adaptive`
    a parameter moves in proportion to its size: ε = rho · θ² ∇loss / ‖θ ∇loss‖. The forward and the backward run twice;
    each forward draws its own random numbers. Foret et al. 2021, "Sharpness-aware minimization"; Kwon et al. 2021,
    "ASAM".
    """
    radius = _number("sharpness_aware", "rho", rho)

    @functools.wraps(loss_fn)
    def sharpened(model: Any, batch: Any) -> Any:
        first = _FirstPass.of("sharpness_aware", loss_fn, model, batch)
        values = [stop_gradient(value) for value in first.values]
        slopes = [stop_gradient(gradient) for gradient in first.gradients]
        scaled = [xp.abs(v) * g for v, g in zip(values, slopes)] if adaptive else slopes
        step = radius / (_root(_sum_of_squares(scaled)) + 1e-12)
        ways = [xp.square(v) * g for v, g in zip(values, slopes)] if adaptive else slopes
        moved = [value + xp.astype(step, value.dtype) * way for value, way in zip(first.values, ways)]
        buffers = {buffer: current_value(buffer) for _, buffer in model.stored_buffers()}
        with bind(model, {**dict(zip(first.parameters, moved)), **buffers}, first.binding.mode):
            there = loss_fn(model, batch)
        there = there[0] if isinstance(there, tuple) else there
        return first.with_loss(_with_gradient_of(first.loss, scalar_loss(first.trace, there)))

    return sharpened


@dataclass(frozen=True)
class _FirstPass:
    """The loss at the parameters as they are, and its gradient."""

    trace: Trace
    binding: Binding
    parameters: list[Parameter]
    values: list[Tracer]
    loss: Tracer
    gradients: list[Tracer]
    rest: tuple[Any, ...]

    @staticmethod
    def of(what: str, loss_fn: LossFunction, model: Any, batch: Any) -> _FirstPass:
        trace, binding = current_trace(), binding_of(model)
        if trace is None or binding is None:
            instead = "it is a loss function of gl.compile_step, or of gl.grad with nn.functional_call inside"
            raise TracingError(located(f"{what} needs a model whose parameters have values; {instead}"))
        # What a step does not train may be assigned in it.
        trained = [p for _, p in model.stored_parameters() if p.requires_grad and p not in binding.assignable]
        values = [Tracer(trace, trace.lift(current_value(p))) for p in trained]
        begin = len(trace.builder.nodes)
        result = loss_fn(model, batch)
        loss, *rest = result if isinstance(result, tuple) else (result,)
        total = scalar_loss(trace, loss)
        one = trace.full(1, (), total.dtype)
        nodes = trace.builder.nodes[begin:]
        gradients = pull_back(trace, nodes, {total.value: one.value}, [value.value for value in values])
        return _FirstPass(trace, binding, trained, values, total, gradients, tuple(rest))

    def with_loss(self, loss: Any) -> Any:
        """What the loss function returned, with another loss."""
        return (loss, *self.rest) if self.rest else loss


@custom_vjp
def _with_gradient_of(value: Any, other: Any) -> Any:
    """`value`, with the derivative of `other`."""
    return value


_with_gradient_of.defvjp(lambda value, other: (value, None), lambda kept, cotangent: (None, cotangent))


def _sum_of_squares(arrays: Sequence[Any]) -> Any:
    total: Any = 0.0
    for array in arrays:
        total = total + xp.sum(xp.square(array))
    return total


def _root(x: Any) -> Any:
    """The square root, with the derivative 0 at 0, where every gradient is zero."""
    is_zero = x == 0
    return xp.where(is_zero, 0, xp.sqrt(xp.where(is_zero, 1, x)))


def _number(what: str, name: str, given: Any) -> float:
    number = as_real(given)
    if number is None or not 0 <= number < math.inf:
        raise ValueError(located(f"{what}: {name} is 0 or more, got {given!r}"))
    return float(number)
