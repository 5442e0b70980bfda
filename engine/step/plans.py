"""`plan_step`: a whole training step and its memory, under a budget, without allocating or compiling anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import optree

from ...ir import ArrayType, DType, Graph, Value, type_of
from ...passes.budget import StepPlanner
from ...passes.memory.plan import Plan, plan
from ...passes.offload.absences import Offloading
from ...passes.pipeline import passed, pipeline
from ...passes.remat.from_plan import recompute_flops
from ...passes.remat.frontier import Choice
from ...passes.simplify.simplify import Simplify
from ...passes.target import DEFAULT_TARGET, Target
from ...passes.tiling.batch import SmallerTile
from ..compile.compile_progress import compile_phase, compile_progress
from ..compile.compiling import compiling
from ..nn import Module
from ..optim import Optimizer
from ..optim.update_inputs import of_group
from ..report.make_report import make_report
from ..report.notebook import report_html, report_line
from ..report.schema import HeldReport, MemoryReport, RoundedReport
from ..tracing.precisions import HALVES, half_name, stored_dtype, with_kept
from ..tracing.tracer import as_array, located
from .budget import Budget, budget_of
from .host_memory import ANY_HOST_MEMORY, HostMemory
from .largest_batch import BatchSearch, Needed
from .narrow_kept import KeptValues, kept_values
from .refusal import refusal
from .step_graph import StepGraph, rounding, trace_step

LossFunction = Callable[[Any, Any], Any]
TraceBatch = Callable[[Any], StepGraph]


class CurvePoint(NamedTuple):
    """A plan of the same step: its bytes, the operations that it repeats, and the time that they are predicted to add,
    as a part of the time of the step without.
    """

    total_bytes: int
    arena_bytes: int
    recompute_flops: int
    slowdown: float


def _other_bits(tile: SmallerTile) -> str:
    """Why a plan in smaller tiles gives other bits."""
    entries = "entry" if tile.entries == 1 else "entries"
    return (
        f"runs in tiles of {tile.entries} {entries} of the {tile.length} of the batch, because nothing else fits the "
        "budget: sums over the batch are taken in another order, so the bits differ from those of the step without a "
        "budget"
    )


def _rounds(half: str, count: int, every: int) -> str:
    """Why a plan that rounds `count` of the `every` values that it could gives other bits."""
    what = "what the backward reads" if count == every else f"{count} of the {every} values that the backward reads"
    return (
        f'stores {what} in {HALVES[half]}, as allow="{half}" lets it: that keeps the budget in less time than '
        "recomputing, or nothing else does"
    )


def _numbers_to(most: int) -> list[int]:
    """Numbers up to one, two for each power of two: 1, 2, 3, 4, 6, 8, 12, ... and the last."""
    found = {n for power in range(most.bit_length()) for n in (1 << power, 3 << power >> 1) if n < most}
    return sorted(found | ({most} if most else set()))


def _told(value: Value) -> RoundedReport:
    """A value that is stored in two bytes, for the report."""
    assert value.node is not None
    origin = value.node.origin
    return RoundedReport(value.node.op.name, origin.scope, origin.source, value.type.nbytes // 2, str(value.type))


@dataclass(frozen=True)
class StepPlan:
    """A training step that was planned and not compiled: nothing is allocated."""

    graph: Graph
    plan: Plan
    slowdown: float
    """Time that recomputing, and waiting for transfers, are predicted to add, as a part of that of the step without."""
    _plans: StepPlans = field(repr=False)
    _report: Callable[[], MemoryReport] = field(repr=False)

    @cached_property
    def report(self) -> MemoryReport:
        """Every byte of the step, and why it is there; made when it is asked for."""
        return self._report()

    @property
    def total_bytes(self) -> int:
        """Bytes of parameters, optimizer state and arena, as the report says."""
        return self._plans.held_bytes + self.plan.net_bytes

    @property
    def traced(self) -> StepGraph:
        """The step that was planned."""
        return self._plans.traced

    def __repr__(self) -> str:
        return f"<StepPlan of {len(self.graph.nodes)} nodes, {report_line(self.report)}>"

    def _repr_html_(self) -> str:
        return report_html(self.report, "Plan of a step")

    def __reduce__(self) -> NoReturn:
        """A plan is neither pickled nor copied."""
        raise TypeError(
            located(
                "a StepPlan cannot be pickled or copied: it plans other batches with the model and the loss function; "
                "pickle plan.report or plan.graph, or write plan.report.to_json()"
            )
        )

    def largest_batch(self, memory: float | str) -> int:
        """The largest length of the batch's first axis with which the step fits `memory`, 0 if none does; none of more
        than 1,048,576 examples in each part that is accumulated is looked at. The next length does not fit without
        smaller tiles; where a step runs in tiles, whose sizes follow from the divisors of the length, a longer one may.

        All leaves whose first axis is as long as that of the first leaf grow and shrink with it. A percentage is of
        this step's total without a bound.
        """
        limit = budget_of(memory).bytes_of(self._plans.unbounded_bytes)
        assert limit is not None
        with compiling(), compile_progress("plans of a step"):
            return self._plans.largest_batch(limit)

    def fitting(self, limit: int) -> StepPlan | None:
        """The plan of the same step that `memory=limit` chooses; None where no plan takes so few bytes."""
        with compiling(), compile_progress("plans of a step"):
            return self._plans.fitting(limit)

    def curve(self, points: int = 12) -> list[CurvePoint]:
        """Memory against time: plans from the fastest to the smallest, at most `points` of them."""
        with compiling(), compile_progress("plans of a step"):
            return self._plans.curve(points)


@dataclass
class StepPlans:
    """All plans of one traced step, for at most `threads` threads."""

    traced: StepGraph
    threads: int
    retrace: TraceBatch
    batch: Any
    accumulate: int = 1

    dumped: bool = True
    """Whether the stages of its pipelines are written to `GRADLOOM_DUMP`."""
    target: Target = DEFAULT_TARGET
    host: HostMemory = ANY_HOST_MEMORY
    rounded: tuple[RoundedReport, ...] = ()
    """What is stored in two bytes because a budget allows it."""

    @cached_property
    def planner(self) -> StepPlanner:
        """The plans of the graph."""
        traced, held = self.traced, self.host.held
        movable = frozenset(traced.state_range) if held is None else held
        offloading = Offloading(movable, held is not None, self.host.most_bytes)
        return StepPlanner(
            traced.graph, self.threads, traced.parts, self.dumped, self.target, offloading, traced.shares
        )

    @property
    def base(self) -> Plan:
        """The plan without a bound."""
        return self.planner.base

    @cached_property
    def held(self) -> list[HeldReport]:
        """The arrays that a step holds from one call to the next."""
        traced = self.traced
        groups = (("parameter", traced.parameters), ("buffer", traced.buffers), ("state", traced.state))
        arrays = [HeldReport(name, kind, t.nbytes) for kind, named in groups for name, t in named]
        scalars = [*(of_group("lr", group) for group in traced.optimizer.rates), "key"]
        return [*arrays, *(HeldReport(name, "scalar", 8) for name in scalars)]

    @cached_property
    def held_bytes(self) -> int:
        """Bytes that no plan changes: parameters, state and constants."""
        return sum(array.bytes for array in self.held) + self.base.constant_bytes

    @cached_property
    def least_held_bytes(self) -> int:
        """Those of them that a GPU holds at least: state may lie in the memory of its host."""
        state = sum(t.nbytes for _, t in self.traced.state) if self.target.is_gpu else 0
        return self.held_bytes - int(min(state, self.host.most_bytes))

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
        undone = passed(undone, pipeline(self.traced.parts, self.target, self.traced.shares))
        return plan(undone, self.base.threads, outputs_in_arena=True, target=self.target).arena_bytes

    def within(self, budget: Budget) -> StepPlan:
        """The fastest plan within `budget` with the bits of the plan without a bound; where there is none, one in
        smaller tiles of the batch. Raises `MemoryBudgetError` where that does not fit either.
        """
        compile_phase("planning")
        limit = budget.bytes_of(self.unbounded_bytes)
        if limit is None:
            choice = self.planner.unbounded
        else:
            choice = self.planner.fastest_within(limit - self.held_bytes)
            chosen, found = self, choice
            for narrow in [] if choice and choice.plan is self.base else self.roundings_within(limit, budget.rounding):
                other = narrow.planner.fastest_within(limit - narrow.held_bytes)
                if found is None or (other is not None and narrow.nanoseconds(other) < chosen.nanoseconds(found)):
                    chosen, found = narrow, other
            if found is None:
                raise refusal(chosen, limit)
            if chosen.rounded:
                chosen.planner.dump(found)
                count, every = len(chosen.rounded), len(self.kept_values.values)
                return chosen.planned(found, limit, _rounds(budget.rounding or "", count, every))
            choice = found
        self.planner.dump(choice)
        return self.planned(choice, limit)

    def fitting(self, limit: int) -> StepPlan | None:
        """The fastest plan of at most `limit` bytes; None where there is none."""
        spare = limit - self.held_bytes
        choice = self.planner.fastest_within(spare) if spare >= 0 else None
        return None if choice is None else self.planned(choice, limit)

    def nanoseconds(self, choice: Choice) -> float:
        """The time that a plan is predicted to take."""
        return self.planner.frontier.time * (1 + choice.slowdown)

    @cached_property
    def kept_values(self) -> KeptValues:
        """What a budget may round."""
        return kept_values(self.traced.graph, self.traced.batch_range)

    def roundings_within(self, limit: int, half: str | None) -> list[StepPlans]:
        """Plans of the same step with some of the values that the backward reads in two bytes: with so few of them that
        it takes `limit` bytes without recomputing. Where no number of them is enough, with those that take the fewest
        bytes, and with all. None where there is nothing to round.

        The values come in one order, so a smaller limit rounds those of a larger one, and more of them. More may take
        more bytes than fewer: where a value is there in both forms.
        """
        if half is None or stored_dtype(self.traced.precision, "kept") is not None:
            return []
        every, failed = len(self.kept_values.values), 0
        taken: dict[int, int] = {}

        def fits(most: int) -> bool:
            taken[most] = self.with_rounded(half, most, dumped=False).unbounded_bytes
            return taken[most] <= limit

        for most in _numbers_to(every):
            if fits(most):
                while failed + 1 < most:
                    middle = (failed + most) // 2
                    failed, most = (failed, middle) if fits(middle) else (middle, most)
                return [self.with_rounded(half, most, self.dumped)]
            failed = most
        least = min(taken, key=lambda most: taken[most], default=every)
        return [self.with_rounded(half, most, self.dumped) for most in sorted({least, every} - {0})]

    def with_rounded(self, half: str, most: int, dumped: bool) -> StepPlans:
        """The plans of the same step with `most` of the values that the backward reads in two bytes; with all of them
        for other batches.
        """
        trace, values = self.retrace, self.kept_values.values
        told = tuple(map(_told, values[:most]))
        return replace(
            self,
            traced=rounding(self.traced, half, most if most < len(values) else None),
            retrace=lambda batch: rounding(trace(batch), half),
            dumped=dumped,
            rounded=told,
        )

    def planned(self, choice: Choice, limit: int | None = None, note: str = "") -> StepPlan:
        """A plan with its report, made for at most `limit` bytes; `note`, why its bits are others."""
        if choice.tile is not None:
            note = f"{note}; it {_other_bits(choice.tile)}" if note else _other_bits(choice.tile)

        def report() -> MemoryReport:
            prepared = self.planner.prepared_for(choice)
            without, traced = self.no_recompute_arena_bytes, self.traced.graph
            precision = self.traced.precision
            return make_report(
                choice, self.held, without, limit, note, prepared, traced, precision, rounded=self.rounded
            )

        return StepPlan(self.traced.graph, choice.plan, choice.slowdown, self, report)

    def least(self) -> StepPlan:
        """The plan that the smallest budget takes: the smallest of all plans, or a faster one of as many bytes."""
        smallest = self.planner.smallest()
        return self.planned(self.planner.fastest_within(smallest.plan.net_bytes) or smallest)

    def needed(self, enough: int) -> Needed:
        """The bytes of the smallest plan, or of one that fits `enough` without recomputing."""
        tiles, held, least = self.planner.in_tiles, self.held_bytes, self.unbounded_bytes
        if least > enough and tiles.tiles:
            least = min(least, held + tiles.planned(-1).net_bytes)
        if least <= enough:
            return Needed(least, False, self.unbounded_bytes)
        least = min(least, held + self.planner.same_bits.smallest().plan.net_bytes)
        if least > enough and tiles.tiles:
            least = min(least, held + tiles.frontier.smallest().plan.net_bytes)
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
        traced = self.retrace(batch)
        return StepPlans(traced, self.threads, self.retrace, batch, self.accumulate, False, self.target, self.host)

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
                plans = self if n * unit == self.batch_length else self.for_batch(n * unit)
            except Exception:  # whatever the user's code raises where it does not take such a batch
                return None
            return plans.needed(limit)

        # The smallest plan of this step is known where it is refused.
        search = BatchSearch(limit, self.held_bytes, needed, now if self.planner.in_tiles.tiles else 1, looks + 1)
        if self.batch_length and self.least_held_bytes <= limit:
            search.run(max(now, 1))
        return search

    # ---- what to say

    def curve(self, points: int) -> list[CurvePoint]:
        """Some of the plans, the fastest and the smallest among them."""
        frontier = self.planner.same_bits
        last = frontier.last
        chosen = sorted({round(k * last / max(points - 1, 1)) for k in range(max(points, 1))})
        result: list[CurvePoint] = []
        for i in chosen:
            # What a budget of so many bytes takes: a faster plan may have as small an arena.
            choice = frontier.fastest_within(frontier.planned(i).net_bytes) or frontier.choice(i)
            total, flops = self.held_bytes + choice.plan.net_bytes, recompute_flops(choice.plan.graph)
            point = CurvePoint(total, choice.plan.arena_bytes, flops, choice.slowdown)
            if not result or total < result[-1].total_bytes:
                result.append(point)
        return result


def step_plans(
    model: Module,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    batch: Any,
    options: Mapping[str, Any],
    threads: int,
    warned: set[str],
    target: Target,
    host: HostMemory,
    traced: StepGraph | None = None,
) -> StepPlans:
    """The plans of a step for batches like `batch`, which is traced at once unless it is given; `warned` has the
    warnings given before.
    """

    precision = options.get("precision", "fp32")
    kept = stored_dtype(precision, "kept")
    options = wide_options(options)

    def trace(batch: Any) -> StepGraph:
        compile_phase("tracing")
        found = trace_step(model, loss_fn, optimizer, batch, **options, warned=warned)
        return found if kept is None else rounded_if_smaller(found, kept, target)

    if traced is None:
        first = trace(batch)
    else:
        first = traced if kept is None else rounded_if_smaller(traced, kept, target)
    return StepPlans(first, threads, trace, batch, int(options["accumulate"]), True, target, host)


def wide_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options to trace a step with: what it keeps is rounded afterwards."""
    wide = with_kept(options.get("precision", "fp32"), "fp32")
    return {**options, "precision": wide} if "precision" in options else dict(options)


def rounded_if_smaller(traced: StepGraph, dtype: DType, target: Target) -> StepGraph:
    """The step with what the backward reads in two bytes, where its arena is smaller then than it is without. The plans
    for one thread are compared, or bits would depend on the threads.
    """

    def arena_bytes(traced: StepGraph) -> int:
        graph = passed(traced.graph, pipeline(traced.parts, target))
        return plan(graph, target.workers or 1, outputs_in_arena=True, target=target).arena_bytes

    rounded = rounding(traced, half_name(dtype))
    return rounded if arena_bytes(rounded) < arena_bytes(traced) else traced
