"""Other plans of a step to recompute in: they keep other values for the backward, and give the same bits."""

from __future__ import annotations

from collections import Counter

from ..ir import Graph, Node
from .pipeline import passed, scheduling
from .plan import Plan, plan
from .recompute import graph_problem

_REACHES = (1.5, 2.5)
"""Of the passes `Rebuild` and `Prologue`."""
_ENOUGH = 0.2
"""Where no unit needs more than this part of the arena, recomputing in the plan itself leads far enough."""


def other_plans(prepared: Graph, base: Plan) -> list[Plan]:
    """Plans of the `prepared` graph (see `preparation`) that may need fewer bytes than `base` under a tight limit, and
    more without one.
    """
    if graph_problem(base).floor() <= _ENOUGH * base.arena_bytes:
        return []
    found: list[Plan] = []
    known, costly = [_kept(base)], _costly(base.graph)
    for reach in _REACHES:
        scheduled = passed(prepared, scheduling(reach))
        # Products and convolutions that are cut into other pieces may add up in another order.
        if _costly(scheduled) != costly:
            continue
        other = plan(scheduled, base.threads, outputs_in_arena=True)
        if (kept := _kept(other)) not in known:
            known.append(kept)
            found.append(other)
    return found


def _kept(made: Plan) -> Counter[tuple[int, ...]]:
    """How often a plan keeps an array of so many bytes for so many phases; plans in which that is equal differ in
    little.
    """
    found: Counter[tuple[int, ...]] = Counter((b.nbytes, b.birth, b.death) for b in made.blocks if b.unit is None)
    for body in made.bodies.values():
        found.update((*key, len(body.phases)) for key in _kept(body).elements())
    return found


def _costly(graph: Graph, inside: str = "") -> Counter[tuple[str, ...]]:
    """Products and convolutions by what they are inside of.

    A convolution adds up in the same order whether or not it makes what it reads itself.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for node in graph.nodes:
        body = node.attrs.get("body")
        if isinstance(body, Graph):
            found.update(_costly(body, inside if node.op.name == "conv_region" else f"{inside}/{node.op.name}"))
        elif node.op.family in ("contraction", "convolution"):
            found[_described(node, inside)] += 1
    return found


def _described(node: Node, inside: str) -> tuple[str, ...]:
    types = (str(v.type) for v in (*node.inputs, *node.outputs))
    return (inside, node.op.name, *types, str(sorted(node.attrs.items(), key=lambda item: item[0])))
