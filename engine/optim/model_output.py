"""The output of a model in a step, and the curvature of the loss as a function of it.

Where a model gives z and the loss is L(z), the Gauss-Newton matrix of the loss is Jᵀ H J: J are the derivatives of z by
the parameters, H is the Hessian of L by z alone. It is positive semidefinite where L is convex, and it is the Fisher
matrix where L is a negative log-likelihood of an exponential family with z its natural parameters, as cross entropy
and the squared error are. Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent";
Martens 2020, "New insights and perspectives on the natural gradient method".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir import Value
from ...ir.ops import elementwise as ew
from ...passes.autodiff.backward import pull_back
from ..nn.calls import ModuleCall
from ..nn.taps import Tap
from ..tracing.tracer import Trace, Tracer, current_trace, located


def is_of_model(call: ModuleCall) -> bool:
    """Whether a call is one of the model itself, with its own values."""
    return call.path == "" and call.own and call.module is not None


class ModelOutput:
    """What the model gave to the loss of this step, and derivatives of and by it.

    Raises `ValueError` where the loss function does not call the model exactly once, and where the loss reads none of
    what that gave.
    """

    def __init__(self, optimizer: str, taps: Sequence[Tap]) -> None:
        calls = [tap for tap in taps if is_of_model(tap.call)]
        what = f"{optimizer}: its curvature is that of the loss as a function of what model(...) gives"
        if len(calls) != 1 or calls[0].call.skipped:
            why = calls[0].call.skipped if len(calls) == 1 else f"loss_fn called the model {len(calls)} times"
            raise ValueError(located(f"{what}, so loss_fn calls it once, and not in a loop; here {why}"))
        pairs = zip(calls[0].call.outputs, calls[0].cotangents)
        read = [(output, cotangent) for output, cotangent in pairs if cotangent is not None]
        if not read:
            raise ValueError(located(f"{what}, and here the loss reads none of it"))
        if any(node.origin.checkpoint for output, _ in read if (node := output.value.node) is not None):
            raise NotImplementedError(
                located(f"{what}, which gl.checkpoint computes twice; checkpoint its parts instead")
            )
        trace = current_trace()
        assert trace is not None
        self._trace = trace
        self.arrays: list[Tracer] = [output for output, _ in read]
        """The arrays among the model's results that the loss reads."""
        self.cotangents: list[Tracer] = [cotangent for _, cotangent in read]
        """The derivatives of the loss by them."""

    def times_hessian(self, directions: Sequence[Any]) -> list[Any]:
        """H times `directions`, which are like `arrays`."""
        given = _seeds(self._trace, self.cotangents, directions)
        found = pull_back(self._trace.builder, _nodes(self._trace), given, [x.value for x in self.arrays])
        return [self._or_zeros(value, like) for value, like in zip(found, self.arrays)]

    def pulled_back(self, directions: Sequence[Any], to: Sequence[Tracer]) -> list[Any]:
        """The cotangents of the arrays `to`, which the model computes with, for those of its output."""
        given = _seeds(self._trace, self.arrays, directions)
        found = pull_back(self._trace.builder, _nodes(self._trace), given, [x.value for x in to])
        return [self._or_zeros(value, like) for value, like in zip(found, to)]

    def pushed_forward(self, tangents: Mapping[str, Any], parameters: Mapping[str, Tracer]) -> list[Any]:
        """J times the `tangents` of these parameters, like `arrays`.

        The pullback is linear in its cotangent, so that its own pullback is J. Townsend 2017, "A new trick for
        calculating Jacobian vector products".
        """
        builder = self._trace.builder
        zeros = [self._trace.full(0, x.shape, x.dtype) for x in self.arrays]
        nodes, begin = _nodes(self._trace), len(builder.nodes)
        seeds = [builder.emit(ew.copy, zero.value) for zero in zeros]
        given: dict[Value, Value] = {}
        for x, seed in zip(self.arrays, seeds):
            given[x.value] = seed
        names = list(tangents)
        pulled = pull_back(builder, nodes, given, [parameters[name].value for name in names])
        along: dict[Value, Value] = {}
        for name, value in zip(names, pulled):
            if value is not None:
                tangent = self._trace.lift(tangents[name])
                along[value] = builder.emit(ew.add, along[value], tangent) if value in along else tangent
        found = pull_back(builder, builder.nodes[begin:], along, seeds)
        return [self._or_zeros(value, like) for value, like in zip(found, self.arrays)]

    def _or_zeros(self, value: Value | None, like: Tracer) -> Any:
        return self._trace.full(0, like.shape, like.dtype) if value is None else Tracer(self._trace, value)


def _seeds(trace: Trace, of: Sequence[Tracer], directions: Sequence[Any]) -> dict[Value, Value]:
    given: dict[Value, Value] = {}
    for x, direction in zip(of, directions):
        seed = trace.lift(direction)
        given[x.value] = trace.builder.emit(ew.add, given[x.value], seed) if x.value in given else seed
    return given


def _nodes(trace: Trace) -> list[Any]:
    return list(trace.builder.nodes)
