"""The whole training step as one graph: forward, backward, clipping and the optimizer's update."""

from __future__ import annotations

import logging
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import optree

from ...ir import Array, ArrayType, Graph, is_float
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32, is_half
from ...passes.ranks.shares import Shares
from .. import array_api as xp
from ..diagnosis.statistics import ALONE, Moved, Statistics, Sums, statistics
from ..nn import Module
from ..optim import Optimizer
from ..tracing import random
from ..tracing.batch_parts import in_parts
from ..tracing.debug import Prints, printed_values
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.numbers import as_real, as_whole
from ..tracing.precisions import HALVES, stored_dtype, with_kept
from ..tracing.tracer import Trace, Tracer, emit, located, role
from .arguments import check_loss, no_model, no_optimizer
from .clipping import PLAIN, clipped
from .data_parallel import DataParallel, PartSums
from .lazy_shapes import find_lazy_shapes
from .leaves import flattened, leaf_input, leaf_type
from .loss_scaling import LossScaling
from .narrow_kept import narrow_kept
from .outputs import with_outputs
from .step_tracer import Outcome, StepInputs, StepTracer
from .trace_warnings import warn_of_arrays, warn_of_float64, warn_of_parts, warn_of_parts_of_ranks, warn_of_precision
from .trained import Train

_log = logging.getLogger("gradloom")


@dataclass(frozen=True)
class StepGraph:
    """A training step, and where in its graph everything is.

    The inputs are, in this order: the parameters; the buffers; the optimizer's state, array by array (`exp_avg` of all
    trained parameters, then `exp_avg_sq`, ...), and the int64 scalar `step` (steps done before this one); the learning
    rates, the float64 scalar `lr` and one more for each other group; `key`, the int64 scalar
    `random.key_of_seed(seed)`; the leaves of the batch. The outputs are the new parameters, buffers and state, each
    aliased with its input; the loss; the leaves of the metrics.
    """

    graph: Graph
    optimizer: Optimizer
    """As the model's parameters have resolved it."""
    parameters: tuple[tuple[str, ArrayType], ...]
    buffers: tuple[tuple[str, ArrayType], ...]
    state: tuple[tuple[str, ArrayType], ...]
    """Names such as `exp_avg.0.weight`; the last is `step`."""
    state_values: tuple[float, ...]
    """What fills each array of `state` before the first step; of a master the parameter's initial value does."""
    batch: tuple[tuple[str, ArrayType], ...]
    batch_tree: optree.PyTreeSpec
    metrics: tuple[tuple[str, ArrayType], ...]
    parts: int
    """In how many equal parts the batch runs, one after another."""
    metrics_tree: optree.PyTreeSpec | None
    """`None` where the loss function returns the loss alone."""
    statistics: Statistics | None = None
    """What the step measures of its layers, if it does; the numbers come after the metrics."""
    prints: Prints = ()
    """What is printed after a step; what it needs are the outputs that come next."""
    precision: str = "fp32"
    """What is rounded, as `checked_precision` names it."""
    most_rounded: int | None = None
    """How many of the values that the backward reads are rounded, where it is not all of them that `precision` says."""
    checks_finite: bool = False
    """Whether the step stops where the loss or what it would write is not finite; the last output is that check."""

    shares: Shares | None = None
    """How ranks share the batch: the graph is that of one part of it then, and `batch` has what a rank is given."""
    whole_state: Mapping[str, ArrayType] = field(default_factory=dict)
    """The types of what `state` has a rank's shards of."""

    @property
    def parameter_range(self) -> range:
        """Places of the parameters among the inputs, and of the new ones among the outputs."""
        return range(len(self.parameters))

    @property
    def buffer_range(self) -> range:
        """Places of the buffers among the inputs and the outputs."""
        begin = self.parameter_range.stop
        return range(begin, begin + len(self.buffers))

    @property
    def state_range(self) -> range:
        """Places of the optimizer's state, `step` last, among the inputs and the outputs."""
        begin = self.buffer_range.stop
        return range(begin, begin + len(self.state))

    @property
    def rate_range(self) -> range:
        """Places of the learning rates among the inputs, group by group, the default's first."""
        begin = self.state_range.stop
        return range(begin, begin + len(self.optimizer.rates))

    @property
    def key_index(self) -> int:
        """Place of the key among the inputs."""
        return self.rate_range.stop

    @property
    def batch_range(self) -> range:
        """Places of the leaves of the batch among the inputs."""
        begin = self.key_index + 1
        return range(begin, begin + len(self.batch))

    @property
    def leaves_of_rows(self) -> list[int]:
        """Which leaves of the batch have rows that ranks share."""
        return [] if self.shares is None else [i - self.batch_range.start for i in self.shares.leaves]

    @property
    def loss_index(self) -> int:
        """Place of the loss among the outputs."""
        return self.state_range.stop

    @property
    def metrics_range(self) -> range:
        """Places of the leaves of the metrics among the outputs."""
        begin = self.loss_index + 1
        return range(begin, begin + len(self.metrics))

    @property
    def statistics_range(self) -> range:
        """Places of what is measured among the outputs."""
        begin = self.metrics_range.stop
        return range(begin, begin + (0 if self.statistics is None else len(self.statistics.names)))

    @property
    def prints_range(self) -> range:
        """Places of what is printed among the outputs."""
        begin = self.statistics_range.stop
        return range(begin, begin + len(printed_values(self.prints)))

    @property
    def checked(self) -> list[int]:
        """Places among the outputs of what must be finite."""
        places = range(self.loss_index + 1)
        return [i for i in places if is_float(self.graph.outputs[i].type.dtype)]

    def initial_state(self) -> Iterator[Array]:
        """The optimizer's state before the first step, array by array."""
        return (np.full(t.shape, value, t.dtype) for (_, t), value in zip(self.state, self.state_values))


def trace_step(
    model: Module,
    loss_fn: Callable[[Any, Any], Any],
    optimizer: Optimizer,
    batch: Any,
    *,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    train: Train = None,
    diagnose: bool = False,
    check_finite: bool = False,
    outputs: Sequence[str] = (),
    precision: str = "fp32",
    loss_scaling: LossScaling | None = None,
    ranks: DataParallel | None = None,
    warned: set[str] | None = None,
) -> StepGraph:
    """Trace one training step of `model` for batches like `batch`, a pytree of arrays or specs.

    `loss_fn(model, batch)` returns the loss, a float scalar, or `(loss, metrics)` with a pytree of arrays. Gradients
    are clipped element by element to ±`clip_value`, then as a whole to the 2-norm `clip_norm`. With `accumulate=k` the
    batch is meant to run in k equal parts (see `passes/tiling/accumulate.py`): the graph is that of the whole batch,
    but for batch norm, which takes statistics of each part. Where k does not divide the batch, it runs in the next
    number of parts that does. `train` chooses the parameters that are trained. With `diagnose` the step also measures
    its layers; with `check_finite` it stops before it overwrites anything where the loss or something that it would
    write is not finite. `outputs` are patterns of what stands among the metrics too, see `outputs.py`. `precision` is
    what `checked_precision` names, `loss_scaling` what `checked_loss_scaling` gives. With `ranks` the batch is that of
    all of them, and the graph that of one part of it. `warned` has the warnings that were given before.
    """
    _check_options(model, optimizer, loss_fn, clip_norm, clip_value, accumulate, loss_scaling)
    if ranks is not None:
        ranks.check(optimizer)
    find_lazy_shapes(model, loss_fn, batch)
    accumulate, clip_norm, clip_value = int(accumulate), as_real(clip_norm), as_real(clip_value)
    warned = set() if warned is None else warned
    cut, held = (None, None) if ranks is None else (ranks.shards, ranks.parameter_shards)
    trainer = StepTracer(model, loss_fn, optimizer, train, precision, loss_scaling, cut, held)
    names, leaves, tree = flattened(batch, "batch")
    types = given = [leaf_type(name, leaf) for name, leaf in zip(names, leaves)]
    length = 0
    if ranks is not None:
        length, given, types = ranks.cuts(types)
    warn_of_precision(names, types, trainer.parameters, precision, warned)
    accumulate = parts_of(types, accumulate)
    with warn_of_draws(warned, model, loss_fn), Trace() as trace:
        inputs = trainer.inputs(trace)
        old_parameters = inputs.parameters
        arrays = [leaf_input(trace, leaf, t, name) for leaf, t, name in zip(leaves, types, names)]
        tree_of_arrays = optree.tree_unflatten(tree, arrays)
        loss_at = trainer.loss_at(inputs, tree_of_arrays, accumulate)
        key = inputs.key + inputs.step
        with random.key(key if ranks is None else ranks.key(trace, key)):
            shared = None if ranks is None else (ranks.ranks, ranks.parts)
            with in_parts(accumulate, shared) as parts:
                scale = 1 if ranks is None else 1 / ranks.parts
                total = trainer.differentiate(trace, inputs, tree_of_arrays, trainer.optimizer.tapped, diagnose, scale)
            totals = PLAIN if ranks is None else ranks.totals
            sums = None if ranks is None else PartSums(ranks, trace, arrays, length)
            if sums is not None:
                total = sums.outcome(total, inputs, [name for name, _ in trainer.buffers])
            total = trainer.judged(inputs, total, totals)
            if outputs:
                total = with_outputs(trace, total, outputs, totals)
            if sums is not None:
                total = sums.metrics(total)
            with role("optimizer"):
                new_parameters, new_state = trainer.update(
                    inputs, total, loss_at, lambda gradients: clipped(gradients, clip_norm, clip_value, totals)
                )
        new = [*new_parameters, *inputs.buffers, *new_state, total.loss, *total.metrics]
        output_names = [*trainer.carried_names, "loss", *(name or "metrics" for name in total.metric_names)]
        aliases = {i: i for i in range(len(trainer.carried_names))}
        graph = trace.graph(new, output_names, aliases)
        more: list[tuple[str, Any]] = []
        measured = None
        if diagnose:
            old = inputs.stored if trainer.held is not None else old_parameters
            measured = _measured(trainer, total, inputs, old, new_parameters, new_state, types, sums or ALONE)
            more += [(f"{measured.layers[i].path}.{what}", v) for (i, what), v in zip(measured.names, measured.sums)]
        prints = tuple(trace.prints or ())
        more += [("print", Tracer(trace, value)) for value in printed_values(prints)]
        if check_finite:
            more.append(("finite", _checked(new[: len(trainer.carried_names) + 1])))
        whole = graph
        if more:
            names_of_more, values = zip(*more)
            whole = trace.graph([*new, *values], [*output_names, *names_of_more], aliases)
    kept = stored_dtype(precision, "kept")
    if kept is not None:
        whole = narrow_kept(whole, range(len(whole.inputs) - len(types), len(whole.inputs)), kept)
    warn_of_arrays(model, trace, warned)
    if all(t.dtype != np.dtype("float64") or not t.shape for t in types):
        warn_of_float64(graph, trace, [p for _, p in trainer.parameters], total.loss.value, warned)
    if accumulate > 1 and parts.lines:
        warn_of_parts(accumulate, parts.lines[0], warned)
    if ranks is not None and ranks.parts > 1 and ranks.speaks and parts.lines:
        warn_of_parts_of_ranks(parts.lines[0], warned)
    return StepGraph(
        whole,
        trainer.optimizer,
        tuple(trainer.stored_types.items()),
        tuple((name, b.type) for name, b in trainer.buffers),
        tuple((name, t) for name, t, _ in trainer.state),
        tuple(value for _, _, value in trainer.state),
        tuple(zip(names, given)),
        tree,
        tuple((name, v.type) for name, v in zip(total.metric_names, graph.outputs[len(trainer.carried_names) + 1 :])),
        accumulate,
        total.metrics_tree,
        None if measured is None else replace(measured, sums=[]),  # which would keep all that was traced
        prints,
        precision,
        None,
        check_finite,
        None if ranks is None else ranks.shares(given, length // ranks.ranks, len(whole.inputs) - len(types)),
        trainer.whole_state if cut is not None else {},
    )


def rounding(traced: StepGraph, half: str, most: int | None = None) -> StepGraph:
    """The step with what the backward reads in two bytes, "bf16" or "fp16"; of it `most` values at most."""
    graph = narrow_kept(traced.graph, traced.batch_range, HALVES[half], most)
    return replace(traced, graph=graph, precision=with_kept(traced.precision, half), most_rounded=most)


def _measured(
    trainer: StepTracer,
    total: Outcome,
    inputs: StepInputs,
    old: Sequence[Any],
    new: Sequence[Any],
    new_state: Sequence[Any],
    types: Sequence[ArrayType],
    sums: Sums,
) -> Statistics:
    """What a diagnosis is made of; of a parameter in two bytes its master tells how it moves."""
    gradients = {name: gradient for (name, _), gradient in zip(trainer.trained, total.gradients)}
    shapes = {name: p.type.shape for name, p in trainer.parameters}
    parameters = {
        name: Moved(shapes[name], before, after, gradients.get(name)) for name, before, after in zip(shapes, old, new)
    }
    masters_after = dict(zip((name for name, _, _ in trainer.state), new_state))
    for name, master in trainer.masters.items():
        before, after = (trainer.as_held(name, x) for x in (inputs.state[master], masters_after[master]))
        parameters[name] = Moved(shapes[name], before, after, gradients.get(name))
    length = next((t.shape[0] for t in types if t.shape), 0)
    return statistics(total.watched, total.watched_taps, length, parameters, total.skipped, sums)


def _checked(results: Sequence[Any]) -> Any:
    """A check that `results` are finite: of the sum of all of them times 0."""
    with role("optimizer"):
        wide = [emit(ew.cast, value, dtype=FLOAT32) if is_half(value.dtype) else value for value in results]
        zeros = [xp.sum(value * 0.0) for value in wide if is_float(value.dtype) and value.size]
        return emit(ew.check_finite, reduce(operator.add, (xp.astype(zero, "float64") for zero in zeros)))


def _check_options(
    model: Any,
    optimizer: Any,
    loss_fn: Any,
    clip_norm: float | None,
    clip_value: float | None,
    accumulate: int,
    loss_scaling: LossScaling | None,
) -> None:
    if not isinstance(model, Module):
        raise TypeError(located(no_model(model)))
    check_loss(loss_fn)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(located(no_optimizer(optimizer)))
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None and not 0 < (as_real(value) or 0) < math.inf:
            raise ValueError(located(f"{name} is a number above 0, got {value!r}"))
    if (as_whole(accumulate) or 0) < 1:
        raise ValueError(located(f"accumulate is a whole number of 1 or more, got {accumulate!r}"))
    if optimizer.evaluates_again:
        if loss_scaling is not None:
            raise ValueError(
                located(
                    f"loss_scaling with {optimizer.title}: it evaluates the loss by itself; leave loss_scaling out, "
                    "and "
                    'products in float32 or precision="bf16"'
                )
            )
        _check_evaluates_again(optimizer.title, clip_norm, clip_value, accumulate)


def _check_evaluates_again(kind: str, clip_norm: float | None, clip_value: float | None, accumulate: int) -> None:
    """Raise `ValueError` for what changes the gradients of an optimizer that compares them with the loss."""
    for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if value is not None:
            raise ValueError(
                located(
                    f"{name}={value!r} with {kind}: it learns the curvature of the loss from its gradients, and "
                    "clipped "
                    f'ones are of no loss; leave {name} out, and bound steps by lr or line_search_fn="strong_wolfe"'
                )
            )
    if accumulate != 1:
        raise ValueError(
            located(
                f"accumulate={accumulate!r} with {kind}: its evaluations of the loss run on the whole batch; leave "
                "accumulate out, and bound the memory of a step by memory="
            )
        )


def parts_of(types: Sequence[ArrayType], accumulate: int) -> int:
    """In how many equal parts a batch runs that has such leaves: `accumulate`, or the next number that divides the
    length of most of them, and of these the longest; no more than there are examples. Other leaves stand whole.
    """
    lengths = Counter(t.shape[0] for t in types if t.shape)
    if all(length and length % accumulate == 0 for length in lengths):
        return accumulate
    length = max(lengths, key=lambda length: (lengths[length], length))
    parts = next((n for n in range(accumulate, length) if length % n == 0), max(length, 1))
    if parts > accumulate:
        _log.warning(
            located(f"accumulate={accumulate} does not divide a batch of {length}, which runs in {parts} parts")
        )
    return parts
