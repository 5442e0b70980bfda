"""What a step gives out beside its loss and metrics: the norm of the gradients, and values that the model records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optree

from ...ir.near_names import nearest_names
from ...ir.printable import brief
from ..nn.name_patterns import chooses
from ..tracing.trace import path_name
from ..tracing.tracer import Trace, Tracer, TracingError, located, role
from .clipping import PLAIN, Totals, norm_of
from .step_tracer import Outcome

GRADIENT_NORM = "gradient_norm"
"""The name of the 2-norm of all gradients together, before clipping."""

Outputs = str | Sequence[str]


def checked_outputs(outputs: Any) -> tuple[str, ...]:
    """The patterns that a user gave. Raises `TypeError` for what are none."""
    patterns = (outputs,) if isinstance(outputs, str) else outputs
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(p, str) for p in patterns):
        what = f"outputs is {GRADIENT_NORM!r}, a name or pattern of what nn.record names, or a list of them"
        raise TypeError(located(f"{what}, got {brief(repr(outputs))}"))
    return tuple(patterns)


def with_outputs(trace: Trace, total: Outcome, patterns: Sequence[str], totals: Totals = PLAIN) -> Outcome:
    """The outcome with what `patterns` choose among its metrics. Raises `ValueError` where one chooses nothing, or a
    name is that of a metric, and `TracingError` where the metrics are no dict.
    """
    there = [GRADIENT_NORM, *total.records]
    for pattern in patterns:
        if not any(chooses(pattern, [name]) for name in there):
            near = ", ".join(nearest_names(pattern, there, 6))
            what = f"outputs: {pattern!r} names nothing that the step has; there are {near}"
            raise ValueError(located(f"{what}; nn.record(name, array) in the model offers more"))
    metrics: Any = {}
    if total.metrics_tree is not None:
        metrics = optree.tree_unflatten(total.metrics_tree, total.metrics)
    if not isinstance(metrics, Mapping):
        kind = type(metrics).__name__
        what = f"outputs stand among the metrics, which loss_fn returns as a {kind}"
        raise TracingError(located(f"{what}; return them as a dict"))
    chosen = {name: _value(trace, total, name, totals) for name in there if any(chooses(p, [name]) for p in patterns)}
    twice = [name for name in chosen if name in metrics]
    if twice:
        raise ValueError(located(f"outputs: {twice[0]!r} is the name of a metric of loss_fn too; rename that"))
    together: Any = {**metrics, **chosen}
    paths, leaves, tree = optree.tree_flatten_with_path(together)
    return replace(total, metrics=list(leaves), metric_names=[path_name(p) for p in paths], metrics_tree=tree)


def _value(trace: Trace, total: Outcome, name: str, totals: Totals) -> Tracer:
    if name == GRADIENT_NORM:
        with role("optimizer"):
            return norm_of([gradient for gradient in total.gradients if gradient is not None], totals)
    value = total.records[name]
    if isinstance(value, Tracer) and value.owner is not trace:
        what = f"outputs: {name!r} is recorded in the body of a loop, whose arrays are only inside"
        raise TracingError(located(f"{what}; return it from there, and record it behind the loop"))
    return Tracer(trace, trace.lift(value))
