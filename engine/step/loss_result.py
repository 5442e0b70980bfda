"""What a loss function or a bound function returned, read and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from ...ir import is_float
from ..tracing.trace import path_name
from ..tracing.tracer import ShapeError, Trace, Tracer, TracingError, located
from .arguments import no_loss


def read_result(
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
        check_array(leaf, f"the metric{place_words(path)}")
    arrays = [Tracer(trace, trace.lift(leaf)) for leaf in leaves]
    return traced, arrays, [path_name(path) for path in paths], tree


def check_array(leaf: Any, what: str) -> None:
    """Raise `TracingError` unless a leaf of what the user's function returned is an array or a number."""
    if not isinstance(leaf, (Tracer, np.ndarray, np.generic, bool, int, float)):
        raise TracingError(located(f"{what} is of type {type(leaf).__name__}; return arrays, or pytrees of arrays"))


def place_words(path: tuple[Any, ...]) -> str:
    """The place of a leaf, to stand behind what the pytree is called."""
    return f" {path_name(path)}" if path else ""


def _computed_at(loss: Tracer) -> str:
    return f" (computed at {loss.value.node.origin.source})" if loss.value.node else ""
