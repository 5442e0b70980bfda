"""The derivative of a custom op: traced code of the user's, which appends to the graph when a derivative is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import Builder, Value, is_float
from ...ir.op import VjpRule
from ...ir.user_kernel import Options
from .. import array_api as xp
from ..array_api.broadcasting import described
from .arrays import leaf_array
from .errors import located
from .float_argument import FloatArgument
from .tracer import ShapeError, Trace, Tracer, TracingError, current_trace


def vjp_rule(name: str, arrays: Sequence[str], vjp: Callable[..., Any] | None) -> VjpRule:
    """`Op.vjp` of a custom op whose function has parameters `arrays`; without `vjp` it refuses."""

    def rule(
        b: Builder,
        cotangents: Value | Sequence[Value],
        results: Value | Sequence[Value],
        *inputs: Value,
        options: Options,
    ) -> Sequence[Value | None]:
        if vjp is None:
            where = f", at {b.origin.source}" if b.origin.source else ""
            advice = "write vjp= where it is defined, or gl.stop_gradient(...) around its result"
            raise TracingError(
                located(f"the custom op {name} has no derivative, and its result is differentiated; {advice}{where}")
            )
        origin, outer = b.origin, current_trace()
        trace = Trace()
        trace.builder, trace.scope, trace.role = b, origin.scope, origin.role
        if outer is not None:
            trace.user_ops = outer.user_ops
        first = len(arrays) - len(inputs)
        names = arrays[first:] if first >= 0 else [""] * len(inputs)
        try:
            with trace:
                given, made, read = (_tracers(trace, x) for x in (cotangents, results, inputs))
                returned = vjp(given, made, *read, **dict(options))
                return _cotangents(trace, name, names, returned, read)
        finally:
            b.origin = origin

    return rule


def _tracers(trace: Trace, values: Value | Sequence[Value]) -> Any:
    if isinstance(values, Value):
        return Tracer(trace, values)
    return tuple(Tracer(trace, value) for value in values)


def _cotangents(
    trace: Trace, name: str, arrays: Sequence[str], returned: Any, inputs: Sequence[Tracer]
) -> list[Value | None]:
    """What the user's function returned, once it is seen to be like the inputs."""
    parts = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(parts) != len(inputs):
        raise TracingError(
            located(f"{name}: vjp returns a tuple with a cotangent for each of {len(inputs)} inputs, got {len(parts)}")
        )
    found: list[Value | None] = []
    for i, (array, x, part) in enumerate(zip(arrays, inputs, parts)):
        if part is None or not is_float(x.dtype):
            found.append(None)
            continue
        value: Any = leaf_array(part)
        if type(part) in (int, float) or isinstance(x, FloatArgument):
            value = xp.broadcast_to(xp.astype(value, x.dtype), x.shape)
        if tuple(value.shape) != x.shape or value.dtype != x.dtype:
            error = ShapeError if tuple(value.shape) != x.shape else TracingError
            what = f"input {i}{f' ({array})' if array else ''}"
            raise error(located(f"{name}: the cotangent of {what} is {described(value)}, the input {described(x)}"))
        found.append(trace.lift(value))
    return found
