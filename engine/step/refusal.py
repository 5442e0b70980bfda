"""What is said where a step does not fit its budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...passes.remat.candidates import planner_words
from ...passes.variants import variant_words
from ..report.text import live_at_peak, wrapped
from ..report.wording import human
from ..tracing.errors import located
from .largest_batch import BatchSearch

if TYPE_CHECKING:
    from .plans import StepPlans

_MOST_LIVE = 8
"""Rows of what is alive, in a refusal."""
_WIDTH = 70
"""Columns of a refusal's sentences: the first one stands behind a word."""
_ALL_LOOKED_AT = 2_000
"""Nodes of a step of which a refusal looks for the largest batch to the end."""
_LOOKS = 2
"""Smallest plans of other batches that the refusal of a larger one looks for: each takes as long as the step's own."""


class MemoryBudgetError(MemoryError):
    """The step does not fit the budget.

    The message says what it needs, the least that would fit (in smaller tiles of the batch, if need be), what stands in
    the way, the largest batch that would fit, and what larger budgets cost. `least_bytes` is the smallest `memory` that
    fits, `largest_batch` the largest length of the batch's first axis that fits the budget as it is, or of a step of
    thousands of nodes one that fits, of which the message says how near it is; 0 where none does, None where it was not
    looked for, as for a function that is bound to a step.
    """

    def __init__(self, message: str, least_bytes: int, largest_batch: int | None = None) -> None:
        super().__init__(message)
        self.least_bytes = least_bytes
        self.largest_batch = largest_batch

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.least_bytes, self.largest_batch)


def refusal(plans: StepPlans, limit: int) -> MemoryBudgetError:
    """Why the step does not fit `limit` bytes, and what would help."""
    least = plans.least().report
    search = plans.batch_search(limit, math.inf if len(plans.traced.graph.nodes) <= _ALL_LOOKED_AT else _LOOKS)
    parts = [
        located(
            f"the step needs {least.total_bytes:,} bytes ({human(least.total_bytes)}) at least, "
            f"{human(plans.unbounded_bytes)} without recomputing; the budget is {limit:,} ({human(limit)})"
        ),
        f"the smallest plan has parameters {human(least.parameter_bytes)}, optimizer state "
        f"{human(least.state_bytes)}, constants {human(least.constant_bytes)}, arena {human(least.arena_bytes)}",
        f"the least that fits is memory={least.total_bytes}; {_advice(plans, limit, search)}",
    ]
    if least.other_bits:
        parts.append(f"the smallest plan {least.other_bits}")
    parts += [f"planner: {planner_words(least.planner)}", f"variant: {variant_words(least.variant)}"]
    lines = [wrapped(text, width=_WIDTH) for text in parts]
    title = "what is alive when the smallest plan needs the most:"
    lines.append(live_at_peak(least.printable(), title, _MOST_LIVE))
    lines.append("what larger budgets cost:")
    if least.other_bits:
        lines.append(f"  memory={least.total_bytes} ({human(least.total_bytes)}): {least.slowdown:.1%} more time")
    for point in reversed(plans.curve(5)):
        lines.append(f"  memory={point.total_bytes} ({human(point.total_bytes)}): {point.slowdown:.1%} more time")
    return MemoryBudgetError("\n".join(lines), least.total_bytes, search.largest * plans.accumulate)


def _advice(plans: StepPlans, limit: int, search: BatchSearch) -> str:
    """What to do where the step does not fit `limit`, after a search for the largest batch that would."""
    if plans.least_held_bytes > limit:
        return (
            f"parameters, optimizer state and constants alone take {plans.least_held_bytes:,} bytes, so no batch is "
            "small enough: use a smaller model, or an optimizer with less state such as gl.optim.SGD"
        )
    this = f"this one is {plans.batch_length}"
    largest, fails = search.largest * plans.accumulate, search.fails * plans.accumulate
    if not plans.batch_length or search.fails - search.fits == 1:
        return f"the largest batch that would fit is {largest}, {this}" if largest else "no batch is small enough"
    found = f"a batch of {largest} would fit and one of {fails}" if largest else f"a batch of {fails}"
    return f"{found} would not, {this}; the method `largest_batch` of a plan says more"
