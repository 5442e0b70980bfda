"""The gradients of a step's loss by name, without an update: compiled when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import optree

from ...ir import Array, Graph
from ...passes.budget import StepPlanner
from ...passes.ranks.shares import Shares
from ...passes.remat.frontier import Choice
from ...runtime.backend import Program
from .. import array_api as xp
from ..compile.compile_progress import compile_phase, compile_progress
from ..compile.programs import Programs, Shape
from ..nn import Module
from ..optim import Optimizer
from ..tracing import random
from ..tracing.batch_parts import in_parts
from ..tracing.debug import Prints, printed_values, show
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.precisions import stored_dtype
from ..tracing.tracer import Trace, Tracer, located
from .buckets import Bucket, Buckets
from .data_parallel import DataParallel, PartSums, check_same_program
from .leaves import flattened, leaf_input, leaf_type
from .loss_scaling import LossScaling
from .narrow_kept import narrow_kept
from .refusal import MemoryBudgetError
from .step_graph import parts_of
from .step_tracer import StepTracer
from .trained import Train

if TYPE_CHECKING:
    from .step import Step


@dataclass(frozen=True)
class GradientGraph:
    """The gradients of a step: its inputs are those of the step's graph, its outputs the gradients of `names`."""

    graph: Graph
    names: tuple[str, ...]
    first: int
    """Place of the first leaf of the batch among the inputs."""
    parts: int
    """In how many parts the batch runs."""
    prints: Prints
    """What is printed after a run; what it needs are the last outputs."""
    shares: Shares | None = None
    """How ranks share the batch: the graph is that of one part of it then."""


def trace_gradients(
    model: Module,
    loss_fn: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    batch: Any,
    accumulate: int,
    train: Train,
    rounded: tuple[str, int | None],
    loss_scaling: LossScaling | None,
    warned: set[str],
    ranks: DataParallel | None = None,
) -> GradientGraph:
    """Trace the loss and its gradients as `trace_step` does, and nothing behind them; `rounded` are the `precision` and
    `most_rounded` of the step.
    """
    precision, most_rounded = rounded
    cut, held = (None, None) if ranks is None else (ranks.shards, ranks.parameter_shards)
    tracer = StepTracer(model, loss_fn, optimizer, train, precision, loss_scaling, cut, held)
    names, leaves, tree = flattened(batch, "batch")
    types = given = [leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    length = 0
    if ranks is not None:
        length, given, types = ranks.cuts(types)
    parts = parts_of(types, accumulate)
    with warn_of_draws(warned, model, loss_fn), Trace() as trace:
        inputs = tracer.inputs(trace)
        parameters = inputs.parameters
        first = len(trace.builder.inputs)
        arrays = [leaf_input(trace, leaf, t, name) for name, leaf, t in zip(names, leaves, types)]
        key = inputs.key + inputs.step
        shared = None if ranks is None else (ranks.ranks, ranks.parts)
        with random.key(key if ranks is None else ranks.key(trace, key)), in_parts(parts, shared):
            scale = 1 if ranks is None else 1 / ranks.parts
            total = tracer.differentiate(trace, inputs, optree.tree_unflatten(tree, arrays), scale=scale)
        if ranks is not None:
            sums, shapes = PartSums(ranks, trace, arrays, length), [p.type.shape for _, p in tracer.trained]
            # Of a parameter that lies in shards it is that of what was gathered, in one row.
            whole = [None if g is None else xp.reshape(sums.sum(g), s) for g, s in zip(total.gradients, shapes)]
            total = replace(total, gradients=whole)
        values = {name: value for (name, _), value in zip(tracer.parameters, parameters)}
        read = {name: gradient for (name, _), gradient in zip(tracer.trained, total.gradients)}
        outputs = [trace.full(0, values[n].shape, values[n].dtype) if g is None else g for n, g in read.items()]
        prints = tuple(trace.prints or ())
        shown = [Tracer(trace, value) for value in printed_values(prints)]
        graph = trace.graph([*outputs, *shown], [*read, *("print" for _ in shown)])
        kept = stored_dtype(precision, "kept")
        if kept is not None:
            graph = narrow_kept(graph, range(first, len(graph.inputs)), kept, most_rounded)
        shares = None if ranks is None else ranks.shares(given, length // ranks.ranks, first)
        return GradientGraph(graph, tuple(read), first, parts, prints, shares)


_Program = tuple[GradientGraph, Program]


class Gradients:
    """The programs that compute the gradients of a step, one for each type of batch, or padded as the step's are."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._programs: Programs[_Program] = Programs(dropped=lambda one: step._drop(one[1]))
        self._buckets: Buckets[GradientGraph, _Program] | None = None
        if step._pads:
            own = [type.shape for _, type in step._first.traced.batch]
            of_rows = step._first.traced.leaves_of_rows
            pads = self._traced, self._padded_program
            self._buckets = Buckets("step.gradients", own, *pads, step._ranks, of_rows)

    def __call__(self, key: Any, arrays: Sequence[Array]) -> dict[str, Array]:
        """The gradients for a batch of these leaves, whose types are the `key`; the lock is held."""
        step, fit = self._step, None
        step._batch_type.like(arrays)  # raises `TypeError` for other dtypes
        found = self._programs.get(key)
        if self._buckets is not None and (self._buckets.differ(arrays) or found is None):
            found, fit = self._buckets.find(key, arrays) or (None, None)
        if found is None:
            found = self._add(key, self._traced([a.shape for a in arrays]))
        traced, program = found
        with step.ranks.waiting("the gradients"):
            program.run(arrays if fit is None else fit.arrays(arrays), first_input=traced.first)
        places = range(len(traced.names), len(traced.graph.outputs))
        shown = [program.output_in_arena(i) for i in places]
        if fit is None:
            show(traced.prints, shown)
        else:
            show(fit.real.prints, [fit.cut(i, value) for i, value in zip(places, shown)])
        return {name: program.output_in_arena(i).copy() for i, name in enumerate(traced.names)}

    def _traced(self, shapes: Sequence[Shape], in_one_part: bool = False) -> GradientGraph:
        step = self._step
        options, batch = step._options, step._batch_of(shapes)
        parts = 1 if in_one_part else int(options["accumulate"])
        train, planned = options.get("train"), step._traced_for(shapes)
        of_step = step._model, step._loss_fn, step._optimizer
        compile_phase("tracing")
        scaling, ranks = options.get("loss_scaling"), options.get("ranks")
        rounded = planned.precision, planned.most_rounded
        return trace_gradients(*of_step, batch, parts, train, rounded, scaling, step._warned, ranks)

    def _padded_program(self, bucket: Bucket[GradientGraph]) -> _Program:
        return self._programs.get(bucket.key) or self._add(bucket.key, bucket.traced)

    def _add(self, key: Hashable, traced: GradientGraph) -> _Program:
        step = self._step
        with compile_progress("the gradients of the step"):
            compile_phase("planning")
            planner = StepPlanner(traced.graph, step._threads, traced.parts, False, step._target, shares=traced.shares)
            planned = self._chosen(planner).plan
            check_same_program(step._ranks, planned)
            compile_phase("kernels")
            program = step._backend.build(planned, step._live.arena_for(planned), step.ranks)
        step._live.add_user(program)
        for i, array in enumerate(step._carried()):
            program.bind_input(i, array)
        self._programs.add(key, (traced, program))
        return traced, program

    def _chosen(self, planner: StepPlanner) -> Choice:
        """The fastest plan within the budget of the step. Raises `MemoryBudgetError` where there is none."""
        report, limit = self._step.report, self._step._budget.nbytes
        if limit is None:
            return planner.unbounded
        held = report.parameter_bytes + report.state_bytes + planner.base.constant_bytes
        choice = planner.fastest_within(limit - held)
        if choice is None:
            least = held + planner.smallest().plan.arena_bytes
            raise MemoryBudgetError(
                located(
                    f"step.gradients needs {least:,} bytes at least, its results among them; the budget of the step is "
                    f"{limit:,}: compile a step with memory={least} or more"
                ),
                least,
            )
        return choice
