"""Gradloom's side of the benchmark."""

from __future__ import annotations

from typing import Any

from ...engine.step.compile_step import compile_step
from ...engine.step.step import Step
from ...ir import Graph, node_flops
from ...ir.ops.creation import random_bits
from ...passes.graph.dead_code import without_dead_code
from .side import Place, Side
from .workloads import Task

_MATMULS = ("contraction", "convolution")
"""Families of the operations that are products of matrices, each of another kind."""


def build(task: Task, place: Place) -> Side:
    """The compiled step; its bytes are the planned arena and constants, which is what is allocated."""
    model, loss_fn, optimizer, _ = task.ingredients
    step = compile_step(model, loss_fn, optimizer, task.batch, target=place.target, precision=place.precision)

    def run() -> Any:
        result = step(task.batch)
        return result[0] if isinstance(result, tuple) else result

    plan = step.report.plan
    assert plan is not None  # it is missing only from a report that was read from a file
    sizes = (parameter.size for parameter in step.parameters().values())
    draws = any(node.op is random_bits for node in without_dead_code(plan.graph).nodes)
    return Side(run, lambda: _bytes_beyond(step), matmul_flops(plan.graph), sum(sizes), draws)


def _bytes_beyond(step: Step) -> int:
    return step.report.arena_bytes + step.report.constant_bytes


def matmul_flops(graph: Graph) -> int:
    """The operations of all matrix products and convolutions that the outputs of a graph need, those in regions and in
    loops included.
    """
    total = 0
    for node in without_dead_code(graph).nodes:
        body = node.attrs.get("body")
        if isinstance(body, Graph):
            total += matmul_flops(body) * node.attrs.get("length", 1)
        elif node.op.family in _MATMULS and node.origin.role != "recompute":
            total += node_flops(node)
    return total
