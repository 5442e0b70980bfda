"""The plans of a step from the fastest to the smallest, and the choice of one that fits so many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from ..ir import Graph
from .dump import clear_chosen, write_dump
from .graph.rewrite import Pass, for_target
from .kernels.cost import node_nanoseconds, useful_threads
from .memory.plan import Plan, plan
from .offload.absences import NO_OFFLOADING, Offloading
from .offload.frontier import OffloadFrontier
from .pipeline import Stages, preparation, scheduling
from .ranks.shares import Shares
from .remat.candidates import planner_words
from .remat.frontier import Choice, Frontier
from .target import DEFAULT_TARGET, Target
from .tiling.batch import SmallerTile, smaller_tiles
from .variants import DEFAULT, tile_preparation, tile_variant, variant_named, variant_plans, variant_words


@dataclass
class StepPlanner:
    """Plans a traced `graph` for at most `threads` workers of a target, its batch in `parts` parts at least.

    Three kinds of plans, each looked at where the one before does not fit: the pipeline's own; those of the frontier,
    which recompute, in the pipeline and its variants, and have the same bits; those in smaller tiles of the batch,
    whose sums over the batch are in another order, so that the bits differ. Nothing is planned before it is asked for.
    With `dumped` the stages of every pipeline that is tried are written to `GRADLOOM_DUMP`.

    On a GPU, those of the second kind, and those in the smallest tiles, may use host memory as `offloading` says.
    """

    graph: Graph
    threads: int
    parts: int = 1
    dumped: bool = True
    target: Target = DEFAULT_TARGET
    offloading: Offloading = NO_OFFLOADING
    shares: Shares | None = None
    """How ranks share the batch, of whose parts the graph is that of one."""

    def __post_init__(self) -> None:
        self.stages = Stages(self.graph, self.dumped)
        self.preparation = preparation(self.parts, self.target, shares=self.shares)

    @cached_property
    def prepared(self) -> Graph:
        """The graph before it is decided what to keep for the backward."""
        if self.dumped:
            clear_chosen()
        return self.stages.run(self.preparation)

    @cached_property
    def base(self) -> Plan:
        """The plan of the pipeline, without a budget."""
        assert self.prepared  # a stage that variants begin at
        scheduled = self.stages.run([*self.preparation, *for_target(DEFAULT.passes, self.target)])
        threads = useful_threads(scheduled, self.threads, self.target)
        return plan(scheduled, threads, outputs_in_arena=True, target=self.target)

    @property
    def unbounded(self) -> Choice:
        """The choice where there is no budget: no planner runs, no variant is tried."""
        return Choice(self.base, 0.0)

    @cached_property
    def frontier(self) -> Frontier:
        """The plans that recompute."""
        return Frontier(self.base, variant_plans(self.stages, self.base, self.preparation))

    @cached_property
    def same_bits(self) -> Frontier | OffloadFrontier:
        """The plans with the same bits that are worth having."""
        return _offloading(self.frontier, self.offloading)

    @cached_property
    def in_tiles(self) -> TilePlans:
        """The plans in smaller tiles."""
        return TilePlans(self.stages, self.base, self.parts, self.offloading, self.shares)

    def fastest_within(self, net_bytes: int) -> Choice | None:
        """The fastest plan that needs at most so much beside what the step holds, by what is predicted; None where
        there is none.

        The three kinds are looked at in turn, and the frontier does not depend on the limit, so that more memory never
        leads to more time.
        """
        if self.base.net_bytes <= net_bytes and not self.offloading.must_move:
            return self.unbounded
        return self.same_bits.fastest_within(net_bytes) or self.in_tiles.fastest_within(net_bytes)

    def smallest(self) -> Choice:
        """The smallest plan of all."""
        same, in_tiles = self.same_bits.smallest(), self.in_tiles.smallest()
        return same if in_tiles is None or same.plan.net_bytes <= in_tiles.plan.net_bytes else in_tiles

    def prepared_for(self, choice: Choice) -> Graph:
        """The graph that a choice was planned from, before it was decided what to keep for the backward."""
        if choice.tile is not None:
            return self.in_tiles.prepared(choice.tile)
        return self.stages.run(variant_named(choice.variant).preparation(self.preparation), None)

    def dump(self, choice: Choice) -> None:
        """Write the graph that a choice runs to `GRADLOOM_DUMP`: as `chosen.txt`, with what chose it, and, where units
        run again, as the last stage of the pipeline that it comes from.
        """
        if not self.dumped:
            return
        if choice.tile is None:
            variant = variant_named(choice.variant)
            passes = [*variant.preparation(self.preparation), *for_target(variant.passes, self.target)]
        else:
            passes = [*tile_preparation(choice.tile, self.target, self.shares), *scheduling(target=self.target)]
        if choice.planner != "none":
            folder = "" if choice.variant == DEFAULT.name else f"variants/{choice.variant}"
            write_dump(f"{len(passes) + 1:02}_recompute.txt", [choice.plan.graph], folder)
        dump_chosen(choice, passes)


@dataclass
class TilePlans:
    """The plans of a step whose batch runs in smaller tiles than the graph wants, or in one lane where it wants
    several. Nothing is planned before it is asked for.
    """

    stages: Stages
    base: Plan
    """The plan of the step in its own tiles."""
    parts: int = 1
    """Parts of the batch in which it runs at least."""
    offloading: Offloading = NO_OFFLOADING
    shares: Shares | None = None
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])

    @property
    def target(self) -> Target:
        """The machine that they are for."""
        return self.base.target

    @cached_property
    def tiles(self) -> Sequence[SmallerTile]:
        """The tiles, from the largest down; each holds fewer bytes than the one before, about."""
        return smaller_tiles(self.stages.run(tile_preparation(None, self.target), None), self.parts, self.target)

    def prepared(self, tile: SmallerTile) -> Graph:
        """The graph in these tiles before it is decided what to keep for the backward."""
        return self.stages.run(tile_preparation(tile, self.target, self.shares), f"variants/{tile_variant(tile)}")

    def planned(self, i: int) -> Plan:
        """The plan in tiles number `i`, without recomputing; -1 is the last."""
        i %= len(self.tiles)
        if i not in self._plans:
            tile = self.tiles[i]
            assert self.prepared(tile)  # what a plan in these tiles is checked against
            passes = [*tile_preparation(tile, self.target, self.shares), *scheduling(target=self.target)]
            scheduled = self.stages.run(passes, f"variants/{tile_variant(tile)}")
            self._plans[i] = plan(scheduled, self.base.threads, outputs_in_arena=True, target=self.target)
        return self._plans[i]

    def _in_tiles(self, i: int, choice: Choice) -> Choice:
        """A choice in tiles number `i`; their time counts on top of that of the step in its own tiles.

        What tiles do to a GPU depends on how many launches they make, and on what of rows and scores runs in tiles too,
        so there it is asked of their plan.
        """
        tile, more = self.tiles[i], self.tiles[i].slowdown
        if self.target.is_gpu:
            more = max(0.0, predicted_nanoseconds(self.planned(i)) / max(predicted_nanoseconds(self.base), 1.0) - 1)
        slowdown = (1 + choice.slowdown) * (1 + more) - 1 if choice.slowdown else more
        return replace(choice, slowdown=slowdown, variant=tile_variant(tile), tile=tile)

    @cached_property
    def frontier(self) -> Frontier | OffloadFrontier:
        """Plans in the smallest tiles that recompute, or use host memory."""
        return _offloading(Frontier(self.planned(-1)), self.offloading)

    def fastest_within(self, net_bytes: int) -> Choice | None:
        """The plan in the largest tiles that needs at most so much beside what the step holds; one in the smallest of
        the frontier where there is no other; None where there is none.
        """
        for i in range(0 if self.offloading.must_move else len(self.tiles)):
            if self.planned(i).net_bytes <= net_bytes:
                return self._in_tiles(i, Choice(self.planned(i), 0.0))
        choice = self.frontier.fastest_within(net_bytes) if self.tiles else None
        return None if choice is None else self._in_tiles(-1, choice)

    def smallest(self) -> Choice | None:
        """The smallest plan, None where there are no smaller tiles."""
        return self._in_tiles(-1, self.frontier.smallest()) if self.tiles else None


def _offloading(frontier: Frontier, offloading: Offloading) -> Frontier | OffloadFrontier:
    """A frontier with plans that use host memory, where any may."""
    return OffloadFrontier(frontier, offloading) if offloading.allows(frontier.base.target) else frontier


def predicted_nanoseconds(made: Plan) -> float:
    """What a plan takes on one worker, as far as can be told."""
    return sum(node_nanoseconds(node, made.target) for node in made.graph.nodes)


def dump_chosen(choice: Choice, passes: Sequence[Pass]) -> None:
    """Write the graph that a choice runs to `chosen.txt` in `GRADLOOM_DUMP`, below the passes that it went through and
    what chose it.
    """
    parts = [
        f"# planner: {planner_words(choice.planner)}",
        f"# variant: {variant_words(choice.variant)}",
        f"# arena: {choice.plan.arena_bytes:,} bytes, {choice.slowdown:.1%} more time predicted than without a budget",
        f"# passes: {', '.join(map(_described, passes))}",
        choice.plan.graph,
    ]
    write_dump("chosen.txt", parts)


def _described(step: Pass) -> str:
    """The name of a pass, with the options that it has not by itself."""
    own = [f for f in fields(step) if f.name != "target"]
    options = [f"{f.name}={value!r}" for f in own if (value := getattr(step, f.name)) != f.default]
    return f"{step.name}({', '.join(options)})" if options else step.name
