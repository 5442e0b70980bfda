"""Other plans of a step to recompute in: they keep other values for the backward, and give the same bits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..ir import Graph, Node
from .pipeline import in_bodies, pipeline
from .plan import Plan, plan
from .prologue import Prologue
from .rebuild import Rebuild
from .recompute import graph_problem

_REACHES = (1.5, 2.5)
"""Of the passes `Rebuild` and `Prologue`."""
_ENOUGH = 0.2
"""Where no unit needs more than this part of the arena, recomputing in the plan itself leads far enough."""


def other_plans(graph: Graph, base: Plan) -> list[Plan]:
    """Plans of the traced `graph` that may need fewer bytes than `base` under a tight limit, and more without one."""
    if graph_problem(base).floor() <= _ENOUGH * base.arena_bytes:
        return []
    steps = pipeline()
    at = next(i for i, step in enumerate(steps) if isinstance(step, Rebuild))
    for step in steps[:at]:
        graph = in_bodies(step(graph), step)
    found: list[Plan] = []
    for reach in _REACHES:
        scheduled = graph
        for step in steps[at:]:
            if isinstance(step, Rebuild | Prologue):
                step = replace(step, reach=reach)
            scheduled = in_bodies(step(scheduled), step)
        known = (base, *found)
        # Products and convolutions that are cut into other pieces may add up in another order.
        if _costly(scheduled) == _costly(base.graph) and all(str(scheduled) != str(p.graph) for p in known):
            found.append(plan(scheduled, base.threads, outputs_in_arena=True))
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
