"""Graphs with collectives, interpreted on all their ranks."""

from __future__ import annotations

import re

import numpy as np
from gradloom.ir import Array, Graph, interpret, interpret_ranks, parse
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.ranks.loop_parts import LoopParts
from random_graphs import random_inputs


def ranks_of(graph: Graph) -> int:
    """The number of ranks that a graph runs on."""
    return max((node.attrs["ranks"] for node in all_nodes(graph) if node.op.on_ranks is not None), default=1)


def on_ranks(graph: Graph, inputs: list[list[Array]]) -> list[Array]:
    """The outputs on all ranks, one after another."""
    if len(inputs) == 1:
        return list(interpret(graph, *inputs[0]))
    return [output for outputs in interpret_ranks(graph, inputs) for output in outputs]


def both(before: Graph, after: Graph) -> tuple[list[Array], list[Array]]:
    """The outputs of two graphs on the same ranks, with inputs that differ from rank to rank."""
    ranks = max(ranks_of(before), ranks_of(after))
    inputs = [[x + x.dtype.type(rank) for x in random_inputs(before)] for rank in range(ranks)]
    return on_ranks(before, inputs), on_ranks(after, inputs)


def parts_and_ranks(before: Graph, after: Graph, step: LoopParts) -> tuple[list[Array], list[Array]]:
    """The outputs of the graph of a part on as many ranks as there are parts, and of that of a rank; of both those of
    the first rank.
    """
    of_part = parse(re.sub(r"ranks=\d+", f"ranks={step.parts}", str(before)))
    shared = random_inputs(before)
    parts = [
        [x + x.dtype.type(part) if i in step.leaves else x for i, x in enumerate(shared)] for part in range(step.parts)
    ]
    local = step.parts // step.ranks
    ranks = [
        [np.concatenate([part[i] for part in parts[first : first + local]]) if i in step.leaves else x
         for i, x in enumerate(shared)]
        for first in range(0, step.parts, local)
    ]  # fmt: skip
    count = len(before.outputs)
    return on_ranks(of_part, parts)[:count], on_ranks(after, ranks)[:count]
