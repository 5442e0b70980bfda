"""`gradloom plan --ranks N`: what each rank takes and what a step takes, for machines that one does not have."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optree

from ..engine.report.wording import human, human_time
from ..engine.step.compile_step import plan_step
from ..engine.step.plans import StepPlan
from ..ir import ArrayType, type_of
from ..ir.html import block, line_chart, paragraph, table
from ..passes.ranks.traffic import traffic
from ..passes.target import Target
from .command_error import CommandError
from .find_recipe import make_recipe

MOST_RANKS = 1024
SHARDS = ("state", "gradients", "parameters")
NETWORK = "25GB/s,5us"
"""Where nobody says otherwise: a link of 200 Gbit/s."""
_SECONDS = 18.0
"""About so long, of the processor's time, numbers of ranks are planned; those that are left are reckoned from these."""
_MOST_PLANNED = 64
"""Plans for more ranks, whose sums have more terms, take too long."""
_BAR = 24
_COLUMNS = {
    "ranks": 6,
    "rows each": 11,
    "a rank": 10,
    "held": 10,
    "arena": 10,
    "step": 10,
    "compute": 10,
    "messages": 10,
    "computes": 8,
}
"""Names and widths."""
_RECKONED = "~ reckoned from the others, which are planned to the byte"


_NETWORK = re.compile(r"\s*([0-9.]+)\s*GB/s\s*,\s*([0-9.]+)\s*(ns|us|µs|ms)\s*")
_NANOSECONDS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6}


@dataclass(frozen=True)
class Network:
    """What a rank sends and receives at a time, in GB/s, which are bytes a nanosecond; the time of an empty message."""

    gb_per_second: float
    latency_ns: float

    @staticmethod
    def parsed(text: str) -> Network:
        """The network that a text such as "25GB/s,5us" says. Raises `ValueError`."""
        match = _NETWORK.fullmatch(text)
        if match is None or not float(match[1]) > 0:
            raise ValueError(f"{text!r} is no network such as 25GB/s,5us: what a rank sends at a time, and its latency")
        return Network(float(match[1]), float(match[2]) * _NANOSECONDS[match[3]])

    def of(self, target: Target) -> Target:
        """The target with ranks that are connected so."""
        return replace(target, rank_latency_ns=self.latency_ns, rank_bytes_per_ns=self.gb_per_second)


@dataclass(frozen=True)
class OfRanks:
    """One of so many ranks: its bytes and its step, in nanoseconds. `exactly` as planned, or reckoned from plans."""

    ranks: int
    held: float
    """Parameters and the optimizer's state."""
    arena: float
    compute: float
    messages: float
    """Of all messages, one after the other."""
    step: float
    sent: float
    """Bytes sent in a step."""
    count: float
    """Messages sent in a step."""
    exactly: bool
    recomputes: float = 0.0
    """Time that recomputing adds so that the rank fits its memory, as a part of that without."""

    @property
    def nbytes(self) -> float:
        """Bytes of the rank."""
        return self.held + self.arena

    @property
    def efficiency(self) -> float:
        """The part of the step in which it computes."""
        return self.compute / max(self.step, 1e-9)


def of_plan(plan: StepPlan, ranks: int) -> OfRanks:
    """What a plan for so many ranks says of one of them. Views cost nothing, as in `traffic`."""
    held = plan.total_bytes - plan.plan.arena_bytes
    sends = traffic(plan.plan.graph, plan.plan.threads, plan.plan.target)
    compute, whole = sends.unit_nanoseconds, sends.unit_nanoseconds + sends.exposed_nanoseconds
    times = compute, sends.nanoseconds, whole
    sent = sends.sent_bytes, sends.messages
    return OfRanks(ranks, held, plan.plan.arena_bytes, *times, *sent, True, plan.slowdown)


@dataclass(frozen=True)
class RanksPrediction:
    """A recipe on each of several numbers of ranks, one of which was asked for."""

    asked: int
    shard: str | None
    rows: int
    """Rows of the batch of the recipe, or of the batch of all ranks."""
    shared: bool
    """Whether all ranks share these rows, and do not compute so many each."""
    network: Network
    threads: int | None
    """Those of a CPU; None of a GPU."""
    memory: int | None
    found: Sequence[OfRanks]

    @property
    def of_asked(self) -> OfRanks:
        """The number that was asked for."""
        return next(one for one in self.found if one.ranks == self.asked)

    @property
    def fitting(self) -> list[int]:
        """The numbers of ranks, each of which fits the memory."""
        return [one.ranks for one in self.found if self.memory is None or one.nbytes <= self.memory]

    @property
    def least(self) -> int | None:
        """The least number of them; `None` where there is none."""
        return min(self.fitting, default=None)

    def __str__(self) -> str:
        one, most = self.of_asked, max(other.nbytes for other in self.found)
        lines = [
            f"{self.asked} ranks, shard={self.shard!r}, {self._has()} each; messages {self._network()}",
            f"  {self._batch()}",
            f"  each sends {human(one.sent)} in {one.count:,.0f} messages a step; {self._hidden(one)}",
            "",
            "  " + "  ".join(name.rjust(width) for name, width in _COLUMNS.items()),
        ]
        for other in self.found:
            cells = "  ".join(cell.rjust(width) for cell, width in zip(self._cells(other), _COLUMNS.values()))
            bar = "#" * max(1, round(_BAR * other.nbytes / most))
            more = f"  +{other.recomputes:.1%} recomputed" if other.recomputes else ""
            lines.append(f"{self._mark(other)} {cells}  {bar}{more}")
        return "\n".join([*lines, *self._remarks()])

    def _mark(self, one: OfRanks) -> str:
        return "*" if one.ranks == self.asked else " " if one.exactly else "~"

    def _cells(self, one: OfRanks) -> list[str]:
        """Texts of `_COLUMNS`."""
        rows = self.rows // one.ranks if self.shared else self.rows
        sizes = [human(round(n)) for n in (one.nbytes, one.held, one.arena)]
        times = [human_time(t) for t in (one.step, one.compute, one.messages)]
        return [str(one.ranks), f"{rows:,}", *sizes, *times, f"{one.efficiency:.0%}"]

    def _batch(self) -> str:
        if self.shared:
            return f"all share a batch of {self.rows:,} rows, {self.rows // self.asked:,} each"
        whole = f"each computes {self.rows:,} rows, the batch of the recipe: {self.asked * self.rows:,} together"
        return f"{whole}; --batch-size {self.rows} shares them, as train does"

    def _has(self) -> str:
        return "a GPU" if self.threads is None else f"{self.threads} threads"

    def _network(self) -> str:
        return f"at {self.network.gb_per_second:.4g} GB/s, {human_time(self.network.latency_ns)} each"

    def _hidden(self, one: OfRanks) -> str:
        exposed = max(0.0, one.step - one.compute)
        hidden = 1 - exposed / one.messages if one.messages else 1.0
        return f"of the {human_time(one.messages)} that these take, {max(hidden, 0.0):.0%} pass while it computes"

    def _remarks(self) -> list[str]:
        """What is below the figures: how they were found, and which ranks fit."""
        reckoned = [] if all(one.exactly for one in self.found) else [_RECKONED]
        return [*reckoned, *self.fits]

    @property
    def fits(self) -> list[str]:
        """Which numbers of ranks fit the memory, in words; where none does, what comes nearest and what to change."""
        if self.memory is None:
            return []
        if self.least is None:
            near = min((one for one in self.found if one.exactly), key=lambda one: one.nbytes)
            least = round(near.nbytes)
            said = f"the least that was planned is {least:,} bytes ({human(least)}), of each of {near.ranks:,} ranks"
            change = "--batch-size with fewer rows" if self.shared else "a smaller batch in the recipe"
            change += "" if self.shard == "parameters" else ", or shard what ranks hold: --shard parameters"
            none = f"no number of ranks up to {self.found[-1].ranks:,} fits {human(self.memory)} each"
            return [f"{none}; {said}, without recomputing; take {change}"]
        too_few = [one.ranks for one in self.found if one.ranks > self.least and one.ranks not in self.fitting]
        if too_few:
            others = "more" if self.fitting == [self.least] else ", ".join(f"{n:,}" for n in too_few)
            return [f"{self.least} is the least number of ranks that fit {human(self.memory)} each; {others} do not"]
        return [f"{self.least} rank{'s' * (self.least != 1)} or more fit {human(self.memory)} each"]

    def to_json(self) -> dict[str, Any]:
        """All figures; times in seconds."""
        rows = [
            {
                "ranks": one.ranks,
                "bytes": round(one.nbytes),
                "held_bytes": round(one.held),
                "arena_bytes": round(one.arena),
                "seconds": 1e-9 * one.step,
                "compute_seconds": 1e-9 * one.compute,
                "message_seconds": 1e-9 * one.messages,
                "recompute_slowdown": one.recomputes,
                "bytes_sent": round(one.sent),
                "messages": round(one.count),
                "planned": one.exactly,
            }
            for one in self.found
        ]
        asked = {"ranks": self.asked, "shard": self.shard, "batch_rows": self.rows if self.shared else None}
        return {**asked, "least_ranks": self.least, "of_ranks": rows}

    def to_html(self, title: str) -> str:
        """A page with curves of bytes and time over the ranks, from one to the most, twice as many at each place."""
        rows = [
            [*self._cells(one), f"{one.recomputes:.1%}" if one.recomputes else "", self._mark(one).strip()]
            for one in self.found
        ]
        kinds = [("a rank", "nbytes"), ("held", "held"), ("arena", "arena")]
        times = [("step", "step"), ("compute", "compute"), ("messages", "messages")]
        allowed = [] if self.memory is None else [("memory", [float(self.memory)] * len(self.found))]
        places = [str(one.ranks) for one in self.found]
        return block(
            title,
            *map(paragraph, str(self).split("\n")[:3]),
            line_chart(
                [*((name, [getattr(one, field) for one in self.found]) for name, field in kinds), *allowed],
                filled=True,
                title="bytes of a rank over the number of ranks",
                shown=lambda value: human(round(value)),
                places=places,
            ),
            line_chart(
                [(name, [getattr(one, field) for one in self.found]) for name, field in times],
                filled=True,
                title="time of a step over the number of ranks",
                shown=human_time,
                places=places,
            ),
            table(rows, [*_COLUMNS, "recomputed", ""], range(len(_COLUMNS) + 1)),
            *map(paragraph, self._remarks()),
        )


def predict_ranks(
    recipe: str,
    asked: int,
    shard: str | None,
    network: Network,
    target: Target,
    threads: int | None,
    memory: int | None,
    batch_size: int | None = None,
) -> RanksPrediction:
    """Plan a recipe for `asked` ranks, and for others from 1 to `MOST_RANKS`. Each computes the batch of the recipe, or
    its share of `batch_size` rows, where there is one for each at least, and recomputes what it must to fit `memory`.
    Nothing is allocated.

    Raises `CommandError` for a batch that ranks cannot share.
    """
    rows = _rows(recipe) if batch_size is None else batch_size
    if not rows:
        raise CommandError(f"the batch of the recipe {recipe} has no rows that ranks could share")
    if batch_size is not None and batch_size % asked:
        near = max(batch_size // asked, 1) * asked
        raise CommandError(f"{asked} ranks cannot share {batch_size} rows evenly; write --batch-size {near}")
    connected = network.of(target)
    began = time.process_time()
    plans: dict[int, StepPlan] = {}
    slowest = 0.0
    counts = [2**i for i in range(int(math.log2(MOST_RANKS)) + 1)]
    if batch_size is not None:
        counts = [n for n in counts if batch_size % n == 0]
    # What was asked for, and then few ranks, which say most of what there is to say of many.
    for ranks in dict.fromkeys([min(asked, _MOST_PLANNED), 2, 8, 1, 4, 16, 32, 64]):
        before = time.process_time()
        if ranks not in counts:
            continue
        if len(plans) >= 2 and before - began + slowest > _SECONDS:
            break
        of_all = ranks * rows if batch_size is None else rows
        plans[ranks] = _planned(recipe, ranks, of_all, shard, connected, threads)
        slowest = max(slowest, time.process_time() - before)
    found = {n: of_plan(plan, n) for n, plan in plans.items()}
    everything = [found.get(n) or _reckoned(found, n, network) for n in counts]
    if memory is not None:
        fitted = _fitted(plans, min(asked, _MOST_PLANNED), memory)
        everything = [_within(one, fitted, memory) for one in everything]
    return RanksPrediction(asked, shard, rows, batch_size is not None, network, threads, memory, everything)


def _reckoned(found: dict[int, OfRanks], ranks: int, network: Network) -> OfRanks:
    """One of `ranks` ranks, by the plans for two other numbers: bytes and computing go with 1 / ranks,
    messages with ranks.
    """
    planned = sorted(found)
    at = min(max(sum(n < ranks for n in planned), 1), len(planned) - 1)
    few, many = found[planned[at - 1]], found[planned[at]]
    by_share = (1 / few.ranks - 1 / ranks) / (1 / few.ranks - 1 / many.ranks)
    by_number = (ranks - few.ranks) / (many.ranks - few.ranks)

    def between(name: str, weight: float) -> float:
        return max(0.0, getattr(few, name) + weight * (getattr(many, name) - getattr(few, name)))

    held, arena, sent, compute = (between(name, by_share) for name in ("held", "arena", "sent", "compute"))
    count = between("count", by_number)
    if ranks == 1:
        sent = count = 0.0
    messages = count * network.latency_ns + sent / network.gb_per_second
    exposed = (many.step - many.compute) / many.messages if many.messages else 0.0
    return OfRanks(ranks, held, arena, compute, messages, compute + exposed * messages, sent, count, exactly=False)


def _fitted(plans: dict[int, StepPlan], first: int, memory: int) -> dict[int, OfRanks]:
    """Those numbers of ranks that fit `memory` because they recompute: `first`, and the least of them. Few are looked
    at, since where one number fits more do: what a rank holds does not grow with it. One rank sends nothing, and may
    fit where no others do.
    """
    open = [n for n in sorted(plans) if plans[n].total_bytes > memory]
    found: dict[int, OfRanks] = {}
    low, high = 0, len(open)
    at = open.index(first) if first in open else high // 2
    while low < high:
        plan = plans[open[at]].fitting(memory)
        if plan is None:
            low = at + 1
        else:
            found[open[at]], high = of_plan(plan, open[at]), at
        at = (low + high) // 2
    if not found and open[:1] == [1] and (plan := plans[1].fitting(memory)) is not None:
        found[1] = of_plan(plan, 1)
    return found


def _within(one: OfRanks, fitted: dict[int, OfRanks], memory: int) -> OfRanks:
    """The same ranks within `memory`, if they fit: as planned, or as the next fewer that were planned to fit."""
    fewer = max((n for n in fitted if n <= one.ranks), default=None)
    if one.nbytes <= memory or fewer is None:
        return one
    near = fitted[fewer]
    if fewer == one.ranks:
        return near
    compute = one.compute * (1 + near.recomputes)
    later = {"compute": compute, "step": one.step + compute - one.compute, "recomputes": near.recomputes}
    return replace(one, arena=min(near.arena, memory - one.held), exactly=False, **later)


def _specs(recipe: str) -> tuple[Any, ...]:
    model, loss_fn, optimizer, batch = make_recipe(recipe)
    specs = optree.tree_map(lambda leaf: leaf if isinstance(leaf, ArrayType) else type_of(leaf), batch)
    return model, loss_fn, optimizer, specs


def _rows(recipe: str) -> int:
    return next((t.shape[0] for t in optree.tree_leaves(_specs(recipe)[3]) if t.shape), 0)


def _planned(recipe: str, ranks: int, of_all: int, shard: str | None, target: Target, threads: int | None) -> StepPlan:
    """The plan for so many ranks, whose batch has `of_all` rows and falls into a part for each."""
    model, loss_fn, optimizer, specs = _specs(recipe)
    rows = _rows(recipe)

    def resized(type: ArrayType) -> ArrayType:
        if not type.shape or type.shape[0] != rows:
            return type
        return ArrayType((of_all, *type.shape[1:]), type.dtype)

    whole: Any = optree.tree_map(resized, specs)
    options: Any = {"shard": shard, "parts": ranks, "target": target, "threads": threads}
    return plan_step(model, loss_fn, optimizer, whole, ranks=ranks, **options)
