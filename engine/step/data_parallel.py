"""A step whose batch several ranks share: what is of one part of the batch becomes what is of all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ...ir import ArrayType, Value, is_float
from ...ir.ops import collectives
from ...passes.memory.plan import Plan
from ...passes.ranks.shares import Shares, varies
from .. import array_api as xp
from ..optim import Optimizer
from ..ranks import Ranks
from ..tracing.errors import warn
from ..tracing.numbers import as_whole
from ..tracing.tracer import ShapeError, Trace, Tracer, TracingError, emit, located
from .shards import BlockSums, Shards
from .step_tracer import Outcome, StepInputs

Shard = Literal["state", "gradients", "parameters"] | None

PARTS = 8
"""Parts of the batch where the user does not say: as many as there may be ranks."""

_NEXT_PART = np.int64(-7046029254386353131)
"""From the key of a part to that of the next: an odd number with bits like drawn ones, of which no two steps and parts
make the same key.
"""


@dataclass(frozen=True)
class DataParallel:
    """How many `ranks` share the batch, in `parts` equal parts, and what is cut into shards."""

    ranks: int
    parts: int
    shard: Shard = None
    speaks: bool = field(default=True, compare=False)
    """Whether this rank warns of what is so on all of them."""

    def check(self, optimizer: Optimizer) -> None:
        """Raise `NotImplementedError` for what ranks do not do together."""
        kind = type(optimizer).__name__
        if optimizer.evaluates_again or optimizer.tapped is not None:
            what = f"{kind} with ranks: it reads more of the whole batch than gradients"
            raise NotImplementedError(located(f"{what}; take an optimizer of gradients, such as AdamW"))

    @property
    def blocks(self) -> Shards:
        """How arrays are cut: each rank has two blocks of each at least, so that sums of several and of one block alike
        are sums of rows.
        """
        return Shards(self.ranks, 2 * self.parts)

    @property
    def shards(self) -> Shards | None:
        """The same, where something is cut."""
        return None if self.shard is None else self.blocks

    @property
    def parameter_shards(self) -> Shards | None:
        """The same, where parameters are."""
        return self.blocks if self.shard == "parameters" else None

    @property
    def totals(self) -> BlockSums:
        """What adds up gradients."""
        return BlockSums(self.blocks, self.shard is not None)

    def length(self, types: Sequence[ArrayType]) -> int:
        """The length of the whole batch: that of most leaves, and of these the longest.

        Raises `ShapeError` where it does not fall into the parts.
        """
        lengths = Counter(t.shape[0] for t in types if t.shape)
        if not lengths:
            raise ShapeError(located("ranks share the rows of a batch, and the batch has no array with an axis"))
        length = max(lengths, key=lambda length: (lengths[length], length))
        if length == 0 or length % self.parts:
            near = sorted({max(length // self.parts, 1) * self.parts, (length // self.parts + 1) * self.parts})
            fits = [p for p in (1, 2, 4, 8, 16, 32, 64) if length % p == 0 and p % self.ranks == 0 and length]
            also = f", or parts={fits[-1]}" if fits else ""
            raise ShapeError(
                located(
                    f"a batch of {length} rows does not fall into {self.parts} equal parts, of which {self.ranks} "
                    f"rank{'s have' if self.ranks > 1 else ' has'} the same number each; take a batch of "
                    f"{' or '.join(map(str, near))} rows{also}"
                )
            )
        return length

    def cut(self, type: ArrayType, length: int, into: int) -> ArrayType:
        """The type of a leaf where the batch of this length falls `into` so many parts; other leaves stay whole."""
        if not type.shape or type.shape[0] != length:
            return type
        return replace(type, shape=(length // into, *type.shape[1:]))

    def cuts(self, types: Sequence[ArrayType]) -> tuple[int, list[ArrayType], list[ArrayType]]:
        """The length of the whole batch, and the types of its leaves as a rank is given them, and as a part has them.

        Raises `ShapeError` where it does not fall into the parts.
        """
        length = self.length(types)
        of_rank, of_part = ([self.cut(t, length, into) for t in types] for into in (self.ranks, self.parts))
        return length, of_rank, of_part

    def shares(self, types: Sequence[ArrayType], length: int, first: int) -> Shares:
        """Which inputs have rows, of leaves from input `first` on."""
        leaves = tuple(first + i for i, t in enumerate(types) if t.shape and t.shape[0] == length)
        return Shares(self.ranks, self.parts, leaves)

    def whole(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """The shapes of the batch of all ranks for those of what one of them is given."""
        lengths = Counter(shape[0] for shape in shapes if shape)
        if not lengths:
            return list(shapes)
        length = max(lengths, key=lambda length: (lengths[length], length))
        return [(self.ranks * length, *s[1:]) if s and s[0] == length else tuple(s) for s in shapes]

    def warn_of_whole(self, own: Sequence[tuple[int, ...]], given: Sequence[tuple[int, ...]]) -> None:
        """Warn of shapes `given` to a rank that are those of the whole batch; its share has the shapes `own`."""
        if not self.speaks or self.ranks == 1 or list(given) != self.whole(own):
            return
        changed = ((mine[0], rows[0]) for mine, rows in zip(own, given) if mine != rows)
        for share, rows in changed:
            warn(
                f"a rank was given {rows} rows, which is the whole batch that the step was compiled for, and not its "
                f"own {share}: each of {self.ranks} ranks trains on all that it is given, so an example that all have "
                f"counts {self.ranks} times; gl.data.batches(..., ranks=ranks) gives each rank its rows"
            )
            return

    def key(self, trace: Trace, key: Any) -> Any:
        """The key of a part for that of the step: it depends on the number of the part, not on who computes it."""
        number = trace.emit_node(collectives.rank_index, ranks=self.parts).output
        return key + Tracer(trace, number) * _NEXT_PART


def check_same_program(ranks: Ranks | None, plan: Plan) -> None:
    """Raise `RanksError` on all ranks where they do not have the same program."""
    if ranks is not None:
        text = f"{plan.arena_bytes}\n{plan.graph}"
        ranks.agree(hashlib.sha256(text.encode()).hexdigest(), "graph")


class PartSums:
    """From values of one part of the batch to those of the whole, which all ranks have."""

    def __init__(self, parallel: DataParallel, trace: Trace, rows: Sequence[Any], length: int) -> None:
        self.parallel, self.trace, self.length = parallel, trace, length // parallel.parts
        self.varying: set[Value] = {x.value for x in rows}
        self.seen = 0

    def _varies(self, x: Any) -> bool:
        nodes = self.trace.builder.nodes
        for node in nodes[self.seen :]:
            if varies(node, self.varying):
                self.varying.update(node.outputs)
        self.seen = len(nodes)
        return x.value in self.varying

    def sum(self, x: Any) -> Any:
        """The sum over all parts."""
        if self._varies(x):
            return emit(collectives.all_reduce, x, ranks=self.parallel.ranks)
        return x * np.asarray(self.parallel.parts, x.dtype)[()]

    def gradient(self, x: Any) -> Any:
        """The gradient by a parameter, or this rank's shard of it."""
        shards = self.parallel.shards
        if shards is None:
            return self.sum(x)
        return shards.scattered(x) if self._varies(x) else shards.own(self.sum(x))

    def mean(self, x: Any, what: str) -> Any:
        """The mean over all parts. Raises `TracingError` for numbers that are no floats and differ between parts."""
        if not self._varies(x):
            return x
        if not is_float(x.dtype):
            raise TracingError(
                located(f"{what} is {x.dtype}, and differs between the parts of the batch, which have no mean of it")
            )
        return self.sum(x * np.asarray(1 / self.parallel.parts, x.dtype)[()])

    def metric(self, x: Any, name: str) -> Any:
        """A metric of the whole batch: the mean of floats, the sum of integers. Raises `TracingError` for others."""
        if not self._varies(x):
            return x
        if x.shape and x.shape[0] == self.length:
            what = f"the metric {name} has {self.length} rows, as a part of the batch has"
            raise TracingError(
                located(f"{what}: ranks do not have those of each other; return sums or means, or use step.bind")
            )
        return self.sum(x) if np.dtype(x.dtype).kind in "iu" else self.mean(x, f"the metric {name}")

    def outcome(self, total: Outcome, inputs: StepInputs, buffers: Sequence[str]) -> Outcome:
        """Loss and gradients of the whole batch, of which those of a part are a part; and the buffers."""
        gradients = [None if g is None else self.gradient(g) for g in total.gradients]
        loss = self.mean(total.loss, "the loss")
        inputs.parameters = [self.mean(x, "what is assigned to a parameter") for x in inputs.parameters]
        inputs.buffers = [self.mean(x, f"the buffer {name}") for name, x in zip(buffers, inputs.buffers)]
        return replace(total, loss=loss, gradients=gradients)

    # ---- what a diagnosis measures, see `Sums`

    @property
    def parts(self) -> int:
        """How many parts the batch has."""
        return self.parallel.parts

    def of_parts(self, x: Any) -> Any:
        """The sum over all parts of what is measured of one."""
        return self.sum(x)

    def of_parameter(self, x: Any) -> Any:
        """The sum of all elements of a parameter, or of this rank's shard and those of the others."""
        return xp.sum(x) if self.parallel.parameter_shards is None else self.parallel.totals.sum(x)

    def of_gradient(self, x: Any) -> Any:
        """The same of a gradient."""
        return xp.sum(x) if self.parallel.shards is None else self.parallel.totals.sum(x)

    def metrics(self, total: Outcome) -> Outcome:
        """The outcome with metrics of the whole batch."""
        found = [
            self.metric(Tracer(self.trace, self.trace.lift(x)), n) for n, x in zip(total.metric_names, total.metrics)
        ]
        return replace(total, metrics=found)


def ranks_options(ranks: Any, shard: Any, parts: Any) -> dict[str, Any]:
    """What the arguments `ranks`, `shard` and `parts` add to the options of a step. Raises where they do not fit."""
    found = _data_parallel(ranks, shard, parts)
    return {} if found is None else {"ranks": found}


def check_take_part(ranks: Any) -> None:
    """Raise `TypeError` for `ranks` that a step cannot be compiled for, such as a number of them."""
    if ranks is None or isinstance(ranks, Ranks):
        return
    how = "write gl.ranks.mpi() under mpiexec, or gl.ranks.one()"
    if as_whole(ranks) is not None:
        how += "; a number is for gl.plan_step, which plans for so many"
    raise TypeError(located(f"ranks are those that take part in a step, got {ranks!r}; {how}"))


def parts_refusal(parts: Any, ranks: int, option: str = "parts=") -> str | None:
    """Why these `ranks` cannot share a batch in so many `parts`, and what to write after `option`; None if they can."""
    count = as_whole(parts)
    if count is None or count < 1 or count & (count - 1):
        near = near_powers(count) if count is not None and count > 0 else max(PARTS, ranks)
        return f"{option.strip(' =')} is a power of two, got {parts!r}; write {option}{near}"
    if count < ranks:
        what = f"{ranks} ranks cannot share a batch in {count} part{'s' * (count > 1)}, of which each has one"
        return f"{what}; write {option}{ranks}, or start {count} at most"
    return None


def near_powers(number: int) -> str:
    """The powers of two next to a number above 0 that is none, as text: "4 or 8" for 6."""
    below = 1 << (number.bit_length() - 1)
    return f"{below} or {2 * below}"


def _data_parallel(ranks: Any, shard: Any, parts: Any) -> DataParallel | None:
    if ranks is None:
        for name, value in (("shard", shard), ("parts", parts)):
            if value is not None:
                how = "write ranks=gl.ranks.mpi() under mpiexec, or ranks=gl.ranks.one()"
                raise ValueError(located(f"{name}={value!r} is for a step with ranks; {how}"))
        return None
    size = as_whole(ranks)
    if size is None:
        check_take_part(ranks)
    if shard not in (None, "state", "gradients", "parameters"):
        raise ValueError(located(f"shard is None, 'state', 'gradients' or 'parameters', got {shard!r}"))
    size = ranks.size if size is None else size
    if size < 1 or size & (size - 1):
        how = f"take {near_powers(size) if size > 0 else 1}"
        raise ValueError(located(f"the number of ranks is a power of two, 1, 2, 4, 8, ..., got {size}; {how}"))
    parts = max(PARTS, size) if parts is None else parts
    refused = parts_refusal(parts, size)
    if refused is not None:
        raise ValueError(located(refused))
    return DataParallel(size, int(parts), shard, not isinstance(ranks, Ranks) or ranks.rank == 0)
