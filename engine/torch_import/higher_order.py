"""Parts of an exported graph that are graphs themselves: modes of torch, branches and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import is_float
from .. import array_api as xp
from ..tracing.cond import cond
from ..tracing.errors import UnsupportedError, located
from ..tracing.scan import scan
from ..tracing.tracer import Tracer
from ..tracing.transforms import stop_gradient
from ..tracing.while_loop import while_loop

Run = Callable[[Any, Sequence[Any]], list[Any]]
"""Traces a graph for values of its placeholders."""


def is_higher_order(target: Any) -> bool:
    """Whether the target of a node takes graphs."""
    return any(kind.__name__ == "HigherOrderOperator" for kind in type(target).__mro__)


def traced_part(name: str, args: Sequence[Any], run: Run) -> Any:
    """What a node of a higher-order op gives. Raises `UnsupportedError` for those that there are not here."""
    function = _TRACED.get(name)
    if function is not None:
        return function(run, *args)
    instead = "there are torch.cond, while_loop, scan and map"
    raise UnsupportedError(located(f"{name}, control flow of torch, is not supported; {instead}"))


def _in_mode_of_gradients(run: Run, enabled: bool, part: Any, *inputs: Any) -> Any:
    results = run(part, inputs)
    return results if enabled else [_without_gradient(x) for x in results]


def _without_gradient(x: Any) -> Any:
    return stop_gradient(x) if isinstance(x, Tracer) and is_float(x.dtype) else x


def _in_autocast(run: Run, device: str, dtype: Any, enabled: bool, _: Any, part: Any, *inputs: Any) -> Any:
    """Autocast of another device than the module's changes nothing, as in torch."""
    if enabled and device == "cpu":
        instead = "export the module without it, and write gl.compile_step(..., precision='bf16')"
        raise UnsupportedError(located(f"torch.autocast inside a module is not supported; {instead}"))
    return run(part, inputs)


def _cond(run: Run, predicate: Any, true_part: Any, false_part: Any, operands: Sequence[Any] = ()) -> Any:
    if not isinstance(predicate, Tracer):
        return run(true_part if bool(predicate) else false_part, operands)

    def branch(part: Any) -> Callable[..., Any]:
        return lambda *given: tuple(map(xp.asarray, run(part, given)))

    return cond(xp.reshape(predicate, ()), branch(true_part), branch(false_part), *operands)


def _while_loop(run: Run, condition: Any, body: Any, carried: Sequence[Any], more: Sequence[Any] = ()) -> Any:
    def goes_on(state: Any) -> Any:
        return xp.reshape(run(condition, [*state, *more])[0], ())

    return while_loop(goes_on, lambda state: tuple(run(body, [*state, *more])), tuple(map(xp.asarray, carried)))


def _scan(run: Run, step: Any, init: Sequence[Any], xs: Sequence[Any], more: Sequence[Any] = ()) -> Any:
    count = len(init)

    def one(state: Any, x: Any) -> Any:
        results = run(step, [*state, *x, *more])
        return tuple(results[:count]), tuple(results[count:])

    last, collected = scan(one, tuple(map(xp.asarray, init)), tuple(xs))
    return [*last, *collected]


def _map(run: Run, function: Any, xs: Sequence[Any], more: Sequence[Any] = ()) -> Any:
    return _scan(run, function, (), xs, more)


_TRACED: dict[str, Callable[..., Any]] = {
    "wrap_with_set_grad_enabled": _in_mode_of_gradients,
    "wrap_with_autocast": _in_autocast,
    "cond": _cond,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
}
