"""`plan_step`: a whole training step and its memory, under a budget, without allocating or compiling anything."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import optree

from ...ir import ArrayType, Graph, type_of
from ...passes.memory.plan import Plan, plan
from ...passes.pipeline import pipeline, plan_prepared, preparation, run_passes
from ...passes.remat.from_plan import recompute_flops
from ...passes.remat.frontier import Choice, Frontier
from ...passes.simplify.simplify import Simplify
from ...passes.smaller_tiles import TilePlans
from ...passes.tiling.batch import SmallerTile
from ...passes.variants import other_plans
from ...runtime.codegen.byte_amount import byte_amount
from ..compile.compiling import compiling
from ..report.report import HeldReport, MemoryReport, human, make_report
from ..report.text import live_at_peak, wrapped
from ..tracing.numbers import as_whole
from ..tracing.tracer import ShapeError, TracingError, as_array
from .largest_batch import BatchSearch, Needed
from .step_graph import StepGraph

_SHARE = re.compile(r"\s*(\d{1,99}(?:\.\d{1,99})?|\.\d{1,99})\s*%\s*", re.ASCII)
_MOST_LIVE = 8
"""Rows of what is alive, in a refusal."""
_WIDTH = 70
"""Columns of a refusal's sentences: the first one stands behind a word."""

_ALL_LOOKED_AT = 2_000
"""Nodes of a step of which a refusal looks for the largest batch to the end."""
_LOOKS = 2
"""Smallest plans of other batches that the refusal of a larger one looks for: each takes as long as the step's own."""

TraceBatch = Callable[[Any], StepGraph]


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


class CurvePoint(NamedTuple):
    """A plan of the same step: its bytes, the operations that it repeats, and the time that they are predicted to add,
    as a part of the time of the step without.
    """

    total_bytes: int
    arena_bytes: int
    recompute_flops: int
    slowdown: float


@dataclass(frozen=True)
class Budget:
    """A bound on the bytes of a step: so many, or a part of what it takes without a bound."""

    nbytes: int | None = None
    share: float | None = None

    def bytes_of(self, unbounded: int) -> int | None:
        """The bound in bytes for a step that takes `unbounded` bytes without one; None where there is none."""
        return int(self.share * unbounded) if self.share is not None else self.nbytes


def budget_of(memory: float | str | None) -> Budget:
    """A whole number of bytes, such as 200_000_000 or 2e9, or text such as "200MB", "1.5 GB", "64MiB", "1e9", "50%";
    `ValueError` for all else.
    """
    if memory is None:
        return Budget()
    if isinstance(memory, str):
        share, amount = _SHARE.fullmatch(memory), byte_amount(memory)
        if share is not None and 0 < float(share[1]) <= 100:
            return Budget(share=float(share[1]) / 100)
        if amount is not None:
            return Budget(amount)
    nbytes = as_whole(memory)
    if nbytes is not None and nbytes > 0:
        return Budget(nbytes)
    raise ValueError(f"memory is a number of bytes or text such as '200MB', '1.5GiB' or '50%', got {memory!r}")


def _other_bits(tile: SmallerTile) -> str:
    """Why a plan in smaller tiles gives other bits."""
    entries = "entry" if tile.entries == 1 else "entries"
    return (
        f"runs in tiles of {tile.entries} {entries} of the {tile.length} of the batch, because nothing else fits the "
        "budget: sums over the batch are taken in another order, so the bits differ from those of the step without a "
        "budget"
    )


@dataclass(frozen=True)
class StepPlan:
    """A training step that was planned and not compiled: nothing is allocated."""

    graph: Graph
    plan: Plan
    report: MemoryReport
    slowdown: float
    """Time that recomputing is predicted to add, as a part of the time of the step without."""
    _plans: StepPlans = field(repr=False)

    def __reduce__(self) -> NoReturn:
        """A plan is neither pickled nor copied."""
        raise TypeError(
            "a StepPlan cannot be pickled or copied: it plans other batches with the model and the loss function; "
            "pickle plan.report or plan.graph, or write plan.report.to_json()"
        )

    def largest_batch(self, memory: float | str) -> int:
        """The largest length of the batch's first axis with which the step fits `memory`, 0 if none does; none of more
        than 1,048,576 examples in each part that is accumulated is looked at. The next length does not fit; where a
        step runs in tiles, whose sizes follow from the divisors of the length, some longer one may.

        All leaves whose first axis is as long as that of the first leaf grow and shrink with it. A percentage is of
        this step's total without a bound.
        """
        limit = budget_of(memory).bytes_of(self._plans.unbounded_bytes)
        assert limit is not None
        with compiling():
            return self._plans.largest_batch(limit)

    def curve(self, points: int = 12) -> list[CurvePoint]:
        """Memory against time: plans from the fastest to the smallest, at most `points` of them."""
        with compiling():
            return self._plans.curve(points)


@dataclass
class StepPlans:
    """All plans of one traced step, for at most `threads` threads."""

    traced: StepGraph
    threads: int
    retrace: TraceBatch
    batch: Any
    accumulate: int = 1

    @cached_property
    def prepared(self) -> Graph:
        """The graph before it is decided what to keep for the backward."""
        return run_passes(self.traced.graph, preparation(self.accumulate))

    @cached_property
    def base(self) -> Plan:
        """The plan without a bound."""
        return plan_prepared(self.prepared, self.threads, outputs_in_arena=True)

    @cached_property
    def frontier(self) -> Frontier:
        """All plans worth having."""
        return Frontier(self.base, other_plans(self.prepared, self.base))

    @cached_property
    def held(self) -> list[HeldReport]:
        """The arrays that a step holds from one call to the next."""
        traced = self.traced
        groups = (("parameter", traced.parameters), ("buffer", traced.buffers), ("state", traced.state))
        arrays = [HeldReport(name, kind, t.nbytes) for kind, named in groups for name, t in named]
        return [*arrays, HeldReport("lr", "scalar", 8), HeldReport("key", "scalar", 8)]

    @cached_property
    def held_bytes(self) -> int:
        """Bytes that no plan changes: parameters, state and constants."""
        return sum(array.bytes for array in self.held) + self.base.constant_bytes

    @property
    def unbounded_bytes(self) -> int:
        """The total without a bound."""
        return self.held_bytes + self.base.arena_bytes

    @cached_property
    def no_recompute_arena_bytes(self) -> int:
        """The arena if nothing at all were computed twice, not even what is marked with `checkpoint`."""
        if all(node.origin.role != "recompute" for node in self.traced.graph.nodes):
            return self.base.arena_bytes
        undo = Simplify(undo_recompute=True)
        undone = undo(undo(self.traced.graph))  # twice: rewriting makes new nodes that are equal to others
        undone = run_passes(undone, pipeline(self.accumulate))
        return plan(undone, self.base.threads, outputs_in_arena=True).arena_bytes

    @cached_property
    def tile_plans(self) -> TilePlans:
        """Plans in smaller tiles of the batch, for where no other fits: their bits differ."""
        return TilePlans(self.traced.graph, self.base.threads, self.accumulate)

    def within(self, budget: Budget) -> StepPlan:
        """The fastest plan within `budget` with the bits of the plan without a bound; where there is none, one in
        smaller tiles of the batch. Raises `MemoryBudgetError` where that does not fit either.
        """
        limit = budget.bytes_of(self.unbounded_bytes)
        if limit is None or self.unbounded_bytes <= limit:
            return self.planned(Choice(self.base, 0.0), limit)
        choice = self.frontier.within(limit - self.held_bytes)
        if choice is not None:
            return self.planned(choice, limit)
        in_tiles = self.tile_plans.within(limit - self.held_bytes)
        if in_tiles is None:
            raise self.refusal(limit)
        return self.planned(in_tiles[1], limit, in_tiles[0])

    def planned(self, choice: Choice, limit: int | None = None, tile: SmallerTile | None = None) -> StepPlan:
        """A plan with its report, made for at most `limit` bytes, in smaller tiles of the batch if `tile` is given."""
        note = "" if tile is None else _other_bits(tile)
        prepared = self.prepared if tile is None else self.tile_plans.prepared(tile)
        without = self.no_recompute_arena_bytes
        report = make_report(choice.plan, self.held, without, limit, choice.slowdown, note, prepared)
        return StepPlan(self.traced.graph, choice.plan, report, choice.slowdown, self)

    def least(self) -> StepPlan:
        """The smallest of all plans."""
        same, in_tiles = self.frontier.least(), self.tile_plans.least()
        if in_tiles is None or same.plan.arena_bytes <= in_tiles[1].plan.arena_bytes:
            return self.planned(same)
        return self.planned(in_tiles[1], tile=in_tiles[0])

    def needed(self, enough: int) -> Needed:
        """The bytes of the smallest plan, or of one that fits `enough` without recomputing."""
        tiles, held, least = self.tile_plans, self.held_bytes, self.unbounded_bytes
        if least > enough and tiles.tiles:
            least = min(least, held + tiles.planned(-1).arena_bytes)
        if least <= enough:
            return Needed(least, False, self.unbounded_bytes)
        least = min(least, held + self.frontier.least().plan.arena_bytes)
        if least > enough and tiles.tiles:
            least = min(least, held + tiles.frontier.least().plan.arena_bytes)
        return Needed(least, True, self.unbounded_bytes)

    # ---- other batches

    @property
    def batch_length(self) -> int:
        """The length of the first axis of the first leaf that has one, 0 where none has."""
        return next((t.shape[0] for _, t in self.traced.batch if t.shape), 0)

    def for_batch(self, length: int) -> StepPlans:
        """The plans of the same step for a batch of another length."""
        now = self.batch_length

        def resized(leaf: Any) -> ArrayType | float:
            if type(leaf) is float:
                return leaf  # a weak number, and no array
            t = leaf if isinstance(leaf, ArrayType) else type_of(as_array(leaf))
            return replace(t, shape=(length, *t.shape[1:])) if t.shape and t.shape[0] == now else t

        batch: Any = optree.tree_map(resized, self.batch)
        return StepPlans(self.retrace(batch), self.threads, self.retrace, batch, self.accumulate)

    def largest_batch(self, limit: int) -> int:
        """The largest length, a multiple of `accumulate`, that fits `limit` bytes."""
        return self.batch_search(limit).largest * self.accumulate

    def batch_search(self, limit: int, looks: float = math.inf) -> BatchSearch:
        """The search for the largest batch in parts that are accumulated, over when at most `looks` smallest plans of
        other lengths were looked for.
        """
        unit, now = self.accumulate, self.batch_length // self.accumulate

        def needed(n: int) -> Needed | None:
            try:
                plans = self if n == now else self.for_batch(n * unit)
                return plans.needed(limit)
            except (ShapeError, TracingError):
                return None

        # The smallest plan of this step is known where it is refused.
        search = BatchSearch(limit, self.held_bytes, needed, now if self.tile_plans.tiles else 1, looks + 1)
        if now and self.held_bytes <= limit:
            search.run(now)
        return search

    # ---- what to say

    def curve(self, points: int) -> list[CurvePoint]:
        """Some of the plans, the fastest and the smallest among them."""
        last = self.frontier.last
        chosen = sorted({round(k * last / max(points - 1, 1)) for k in range(max(points, 1))})
        result: list[CurvePoint] = []
        for i in chosen:
            choice = self.frontier.choice(i)
            arena_bytes, flops = choice.plan.arena_bytes, recompute_flops(choice.plan.graph)
            point = CurvePoint(self.held_bytes + arena_bytes, arena_bytes, flops, choice.slowdown)
            if not result or point.arena_bytes < result[-1].arena_bytes:
                result.append(point)
        return result

    def refusal(self, limit: int) -> MemoryBudgetError:
        """Why the step does not fit `limit` bytes, and what would help."""
        least = self.least().report
        search = self.batch_search(limit, math.inf if len(self.traced.graph.nodes) <= _ALL_LOOKED_AT else _LOOKS)
        told = [
            f"the step needs {least.total_bytes:,} bytes ({human(least.total_bytes)}) at least, "
            f"{human(self.unbounded_bytes)} without recomputing; the budget is {limit:,} ({human(limit)})",
            f"the smallest plan has parameters {human(least.parameter_bytes)}, optimizer state "
            f"{human(least.state_bytes)}, constants {human(least.constant_bytes)}, arena {human(least.arena_bytes)}",
            f"the least that fits is memory={least.total_bytes}; {self.advice(limit, search)}",
        ]
        if least.other_bits:
            told.append(f"the smallest plan {least.other_bits}")
        lines = [wrapped(text, width=_WIDTH) for text in told]
        title = "what is alive when the smallest plan needs the most:"
        lines.append(live_at_peak(least.printable(), title, _MOST_LIVE, False))
        lines.append("what larger budgets cost:")
        if least.other_bits:
            lines.append(f"  memory={least.total_bytes} ({human(least.total_bytes)}): {least.slowdown:.1%} more time")
        for point in reversed(self.curve(5)):
            lines.append(f"  memory={point.total_bytes} ({human(point.total_bytes)}): {point.slowdown:.1%} more time")
        return MemoryBudgetError("\n".join(lines), least.total_bytes, search.largest * self.accumulate)

    def advice(self, limit: int, search: BatchSearch) -> str:
        """What to do where the step does not fit `limit`, after a search for the largest batch that would."""
        if self.held_bytes > limit:
            return (
                f"parameters, optimizer state and constants alone take {self.held_bytes:,} bytes, so no batch is small "
                "enough: use a smaller model, or an optimizer with less state such as gl.optim.SGD"
            )
        this = f"this one is {self.batch_length}"
        largest, fails = search.largest * self.accumulate, search.fails * self.accumulate
        if not self.batch_length or search.fails - search.fits == 1:
            return f"the largest batch that would fit is {largest}, {this}" if largest else "no batch is small enough"
        found = f"a batch of {largest} would fit and one of {fails}" if largest else f"a batch of {fails}"
        return f"{found} would not, {this}; the method `largest_batch` of a plan tells more"
