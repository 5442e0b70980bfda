"""Plans of a step in smaller tiles of the batch than it has by itself: fewer bytes, and other bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..ir import Graph
from .memory.plan import Plan, plan
from .pipeline import passed, preparation, scheduling
from .remat.frontier import Choice, Frontier
from .tiling.batch import SmallerTile, TileBatch, smaller_tiles


@dataclass
class TilePlans:
    """The plans of a traced `graph` whose batch runs in smaller tiles than the graph wants, or in one lane where it
    wants several. Sums over the batch are taken in another order, so that the bits differ from those of the plan that
    the step has by itself. Nothing is planned before it is asked for.
    """

    graph: Graph
    threads: int
    parts: int = 1
    """Parts of the batch in which it runs at least."""
    _prepared: dict[SmallerTile, Graph] = field(default_factory=dict[SmallerTile, Graph])
    _plans: dict[int, Plan] = field(default_factory=dict[int, Plan])

    @cached_property
    def tiles(self) -> Sequence[SmallerTile]:
        """The tiles, from the largest down; each holds fewer bytes than the one before, about."""
        return smaller_tiles(self._before, self.parts)

    @cached_property
    def _before(self) -> Graph:
        """The graph as it comes to the pass that cuts the batch into tiles."""
        return passed(self.graph, preparation()[: self._at])

    @cached_property
    def _at(self) -> int:
        # In tiles, which are smaller than parts, nothing is left to do for `Accumulate`, the pass before.
        return next(i for i, step in enumerate(preparation()) if isinstance(step, TileBatch))

    def prepared(self, tile: SmallerTile) -> Graph:
        """The graph in these tiles before it is decided what to keep for the backward."""
        if tile not in self._prepared:
            self._prepared[tile] = passed(self._before, [TileBatch(tile.entries), *preparation()[self._at + 1 :]])
        return self._prepared[tile]

    def planned(self, i: int) -> Plan:
        """The plan in tiles number `i`, without recomputing; -1 is the last."""
        i %= len(self.tiles)
        if i not in self._plans:
            graph = passed(self.prepared(self.tiles[i]), scheduling())
            self._plans[i] = plan(graph, self.threads, outputs_in_arena=True)
        return self._plans[i]

    @cached_property
    def frontier(self) -> Frontier:
        """Plans in the smallest tiles that recompute."""
        return Frontier(self.planned(-1))

    def within(self, arena_bytes: int) -> tuple[SmallerTile, Choice] | None:
        """The plan in the largest tiles whose arena is at most so large; one in the smallest that recomputes where
        there is no other; None where there is none.
        """
        for i, tile in enumerate(self.tiles):
            if self.planned(i).arena_bytes <= arena_bytes:
                return tile, Choice(self.planned(i), tile.slowdown)
        choice = self.frontier.within(arena_bytes) if self.tiles else None
        return None if choice is None else (self.tiles[-1], self._slowed(choice))

    def least(self) -> tuple[SmallerTile, Choice] | None:
        """The smallest plan, None where there are no smaller tiles."""
        return (self.tiles[-1], self._slowed(self.frontier.least())) if self.tiles else None

    def _slowed(self, choice: Choice) -> Choice:
        return Choice(choice.plan, (1 + choice.slowdown) * (1 + self.tiles[-1].slowdown) - 1)
