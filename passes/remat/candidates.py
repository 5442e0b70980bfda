"""All planners at work: orders of units from the fastest to the smallest, without those that another beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from .planners.blocks import Blocks
from .planners.chain import Chain
from .planners.eviction import evict
from .planners.keep_more import kept_more
from .planners.segments import Segments
from .problem import Order, Problem, without_dead_runs

# Units walked through in all, and walks at least: planning takes time in proportion to the units of a large graph. Half
# as many orders of a chain of stages are looked at.
_WORK = 80_000
_LEAST_WALKS = 12
# A limit is at most this part of the one before; in the upper half, where others find more, limits are less dense.
_STEP = 0.97
_SPARSER = 2.0
# Weights of the distance to the next use; fewer where walks are few, and segments at the last limit only.
_DISTANCES = (0.1, 0.6, 0.3, 0.0)
_MANY_WALKS = 300
# Nothing is looked for where all bytes are so few times those that are alive in every order.
_NEAR_FLOOR = 1.001
# Chains are looked at where less than this part of the bytes has to be there in every order; only with stages that are
# recomputed early where walks are fewer than so many.
_WORTH_CHAINS = 0.98
_BOTH_CHAINS = 100
# Limits for which repeated blocks are solved, one for so many walks.
_FEWEST_LIMITS, _MOST_LIMITS, _WALKS_A_LIMIT = 6, 32, 3
# Where so large a part of the time is added, segments are tried as well.
_DEAR = 0.1
# Orders that are made to keep more, one for so many walks, and limits up to which they do.
_FEWEST_STARTS, _MOST_STARTS, _WALKS = 4, 10, 10
_LIMITS = 32
# None of them has more runs than so many for each unit: they are many to choose from, and each choice changes many.
_MOST_RUNS = 4

PLANNERS = {
    "none": "each unit of the pipeline runs once",
    "chain": "checkpoints between stages of a chain, by dynamic programming",
    "blocks": "what is kept of repeated blocks, by an integer program for each distinct one",
    "segments": "a checkpoint between segments of about equal bytes, all else is recomputed a segment at a time",
    "eviction": "where there is no room, what is cheapest to recompute for its bytes and its next use is dropped",
    "offload": "what is not read for long lies in host memory meanwhile, optimizer state between its updates",
    "keep-more": "of what is recomputed, what saves most time for its bytes is kept where there is room",
}
"""What each planner does. A name with a plus is a planner whose order the next one improved."""


def planner_words(name: str) -> str:
    """The name of what planned a step, see `Frontier.planner`, and what that does."""
    names = dict.fromkeys(one.removesuffix(" in loops") for part in name.split(", ") for one in part.split("+"))
    told = [PLANNERS[one] for one in names if one in PLANNERS]
    return ": ".join(filter(None, (name, "; ".join(told))))


def candidates(problem: Problem, most: float = math.inf) -> list[Order]:
    """Orders from the fastest to the one with the fewest bytes alive, each with fewer than the one before. None but the
    first is looked for that has more than `most` alive.
    """
    first = problem.order(problem.first_runs(), 0.0)
    found = [first]
    floor = problem.floor()
    if first.peak <= floor * _NEAR_FLOOR:
        return found
    walks = max(_LEAST_WALKS, _WORK // len(problem.units))
    distances = _DISTANCES if walks >= _MANY_WALKS else _DISTANCES[: 1 + (walks > _LEAST_WALKS)]
    highest = min(float(first.peak), most)
    step = min(_STEP, (floor / highest) ** (2 * len(distances) / walks))
    dear = _DEAR * sum(unit.cost for unit in problem.units)
    by_blocks: list[Order] = []
    if floor < _WORTH_CHAINS * first.peak:
        chains = [Chain(problem, early) for early in ((True, False) if walks >= _BOTH_CHAINS else (True,))]
        differing = chains[: 1 + (chains[-1].begins != chains[0].begins)]
        found += [o.by("chain") for chain in differing for o in chain.orders(walks // (2 * len(chains)))]
        count = min(max(walks // _WALKS_A_LIMIT, _FEWEST_LIMITS), _MOST_LIMITS)
        by_blocks = [order.by("blocks") for order in Blocks(chains[0]).orders(count)]
    guides = Segments(problem).guides()
    limit, middle = highest, math.sqrt(highest * floor)
    while limit > floor:
        limit = max(limit * (step**_SPARSER if limit > middle else step), floor)
        found_with = {distance: evict(problem, int(limit), distance) for distance in distances}
        # One that came to no end would come to none under a tighter limit.
        distances = tuple(distance for distance, order in found_with.items() if order is not None)
        tried = [order.by("eviction") for order in found_with.values() if order is not None]
        many = walks >= _MANY_WALKS or limit <= floor
        if many and not any(o.peak <= limit and o.cost <= dear for o in tried):
            in_segments = (evict(problem, int(limit), _DISTANCES[0], guide) for guide in guides)
            tried += [order.by("segments") for order in in_segments if order is not None]
        if not tried:
            break
        found += tried
    found = pareto([*found, *_keeping(problem, pareto(found), walks, most), *by_blocks])
    return pareto([without_dead_runs(problem, order) for order in found])


def _keeping(problem: Problem, orders: Sequence[Order], walks: int, most: float) -> list[Order]:
    """Orders that keep what some of `orders`, the smallest among them, recompute, as far as there is room."""
    most, least = min(float(orders[0].peak), most), orders[-1].peak
    limits = [int(least * (most / max(least, 1)) ** (i / _LIMITS)) for i in range(1, _LIMITS)]
    few = [order for order in orders if len(order.runs) <= _MOST_RUNS * len(problem.units)]
    tight = [order for order in few if order.peak**2 <= most * least] or few[-1:]
    count = min(max(walks // _WALKS, _FEWEST_STARTS), _MOST_STARTS)
    starts = tight[:: -max(len(tight) // count, 1)][:count]
    return [
        order.by(f"{start.planner}+keep-more")
        for start in starts
        for order in kept_more(problem, start, [n for n in limits if n >= start.peak])
    ]


class _Costed(Protocol):
    @property
    def cost(self) -> float: ...
    @property
    def peak(self) -> int: ...


_C = TypeVar("_C", bound=_Costed)


def pareto(orders: Sequence[_C]) -> list[_C]:
    """Those that no other one beats, from the fastest to the smallest."""
    result: list[_C] = []
    for order in sorted(orders, key=lambda o: (o.cost, o.peak)):
        if not result or order.peak < result[-1].peak:
            result.append(order)
    return result
