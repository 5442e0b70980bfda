"""Other plans of a step to recompute in: they keep other values for the backward, and give the same bits."""

from __future__ import annotations

from collections import Counter

from ..ir import Graph, Node
from .autodiff.min_cut_remat import has_far_values
from .fusion.regions import compares_forward
from .graph.comparisons import compares
from .graph.rewrite import all_nodes
from .memory.plan import Plan, plan
from .pipeline import passed, scheduling
from .remat.accumulate_early import AccumulateEarly
from .remat.checkpoint_scans import CheckpointScans
from .remat.delay_comparisons import DelayComparisons
from .remat.from_plan import graph_problem
from .tiling.parallel_loops import SerializeIterations, run_concurrently

_REACH = 1.5
"""Of the passes `MinCutRemat` and `FusePrologue`."""
_RERUNS = (
    (CheckpointScans(products=True),),
    *((CheckpointScans(share=share), CheckpointScans(products=True)) for share in (0.45, 0.7)),
    (CheckpointScans(),),
)
_WORTH_COMPARING = 50
"""Booleans of more than this part of what the forward makes had better be made as late as possible."""
_ENOUGH = 0.2
"""Where no unit needs more than this part of the arena, recomputing in the plan itself leads far enough."""
_WORTH_TURNS = 20
"""Lanes take turns where one of them takes more than this part of the arena."""


def other_plans(prepared: Graph, base: Plan) -> list[Plan]:
    """Plans of the `prepared` graph (see `preparation`) that may need fewer bytes than `base` under a tight limit, and
    more without one.
    """
    graphs = [passed(prepared, [*way, *scheduling()]) for way in _RERUNS if way[0].applies(prepared)]
    if graph_problem(base).floor() > _ENOUGH * base.arena_bytes:
        graphs.append(_compared_late(prepared) or passed(prepared, scheduling(_REACH)))
    elif has_far_values(prepared, _REACH):
        graphs.append(passed(prepared, scheduling(_REACH)))
    found: list[Plan] = []
    known, costly = [_kept(base)], _costly(base.graph)
    eager = AccumulateEarly()
    if eager.applies(base.graph):
        graphs = [passed(graph, [eager]) for graph in (base.graph, *graphs)]
    for scheduled in graphs:
        # Products and convolutions that are cut into other pieces may add up in another order.
        if not _costly(scheduled) <= costly:
            continue
        other = plan(scheduled, base.threads, outputs_in_arena=True)
        if (kept := _kept(other)) not in known:
            known.append(kept)
            found.append(other)
    # Where lanes run one after the other they hold one arena instead of several.
    apart = [p for p in (base, *found) if _lanes_bytes(p) * _WORTH_TURNS > p.arena_bytes]
    return [*found, *(plan(SerializeIterations()(p.graph), p.threads, outputs_in_arena=True) for p in apart)]


def _compared_late(prepared: Graph) -> Graph | None:
    """The scheduled graph whose backward compares by itself, as late as possible; None where it compares little."""
    if not any(map(compares_forward, all_nodes(prepared))):
        return None
    scheduled = passed(prepared, [*scheduling(separate_comparisons=True), DelayComparisons()])
    return scheduled if _compared_share(scheduled) * _WORTH_COMPARING > 1 else None


def _compared_share(graph: Graph) -> float:
    """Bytes of what only compares, beside those that the forward makes; in the loop in which they are the most."""
    made = sum(v.type.nbytes for n in graph.nodes if n.origin.role == "forward" for v in n.outputs)
    compared = sum(v.type.nbytes for n in graph.nodes if compares(n) for v in n.outputs)
    inner = (_compared_share(node.attrs["body"]) for node in graph.nodes if node.op.is_scan)
    return max([compared / max(made, 1), *inner])


def _lanes_bytes(made: Plan) -> int:
    """The most bytes that a lane of several side by side takes."""
    apart = (body for node, body in made.bodies.items() if run_concurrently(node, made.threads))
    return max((body.arena_bytes for body in apart), default=0)


def _kept(made: Plan) -> Counter[tuple[int, ...]]:
    """How often a plan keeps an array of so many bytes for so many phases; plans in which that is equal differ in
    little.
    """
    found: Counter[tuple[int, ...]] = Counter((b.nbytes, b.birth, b.death) for b in made.blocks if b.unit is None)
    for body in made.bodies.values():
        found.update((*key, len(body.phases)) for key in _kept(body).elements())
    return found


def _costly(graph: Graph, inside: str = "") -> set[tuple[str, ...]]:
    """Products and convolutions by the regions that they are inside of.

    A convolution adds up in the same order whether or not it makes what it reads itself, and all do in any loop.
    """
    found: set[tuple[str, ...]] = set()
    for node in graph.nodes:
        body = node.attrs.get("body")
        if isinstance(body, Graph):
            found |= _costly(body, f"{inside}/{node.op.name}" if node.op.is_region else inside)
        elif node.op.is_contraction:
            found.add(_described(node, inside))
    return found


def _described(node: Node, inside: str) -> tuple[str, ...]:
    types = (str(v.type) for v in (*node.inputs, *node.outputs))
    return (inside, node.op.name, *types, str(sorted(node.attrs.items(), key=lambda item: item[0])))
