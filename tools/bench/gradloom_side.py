"""Gradloom's side of the benchmark."""

from __future__ import annotations

from typing import Any

from ...engine.compile.compile import compile
from ...engine.compile.targets import target_of, with_cores, worker_count
from ...engine.nn.binding import functional_call, init_buffers, init_parameters
from ...engine.step.compile_step import compile_step
from ...engine.step.step import Step
from ...engine.tracing.trace import trace
from ...ir import Graph, node_flops
from ...ir.ops.creation import random_bits
from ...passes.graph.dead_code import without_dead_code
from ...passes.memory.plan import Plan
from ...passes.pipeline import plan_graph
from .side import Place, Side, Work
from .workloads import Task

_MATMULS = ("contraction", "convolution")
"""Families of the operations that are products of matrices, each of another kind."""


def build(task: Task, place: Place) -> Side:
    """The compiled step; its bytes are the planned arena and constants, which is what is allocated."""
    if task.is_inference:
        return _inference(task, place)
    model, loss_fn, optimizer, _ = task.ingredients
    machine = {"target": place.target, "threads": place.threads, "cores": place.cores}
    step = compile_step(model, loss_fn, optimizer, task.batch, precision=place.precision, **machine)

    def run() -> Any:
        result = step(task.batch)
        return result[0] if isinstance(result, tuple) else result

    plan = step.report.plan
    assert plan is not None  # it is missing only from a report that was read from a file
    size = sum(parameter.size for parameter in step.parameters().values())
    return Side(run, lambda: _bytes_beyond(step), lambda: _work(plan.graph, size))


def _inference(task: Task, place: Place) -> Side:
    """The model's outputs by `gl.compile`, whose arguments are parameters, buffers and the batch."""
    model = task.ingredients.model
    values, inputs = {**init_parameters(model, 0), **init_buffers(model, 0)}, tuple(task.batch.values())

    def forward(values: Any, inputs: Any) -> Any:
        return functional_call(model, values, *inputs)

    predict = compile(forward, target=place.target, threads=place.threads, cores=place.cores)

    def planned() -> Plan:
        target = with_cores(target_of(place.target), place.cores)
        return plan_graph(trace(forward, values, inputs), worker_count(place.threads, target), target=target)

    return Side(lambda: predict(values, inputs), lambda: planned().arena_bytes, lambda: _work(planned().graph, 0))


def _work(graph: Graph, parameters: int) -> Work:
    needed = without_dead_code(graph)
    return Work(matmul_flops(needed), parameters, any(node.op is random_bits for node in needed.nodes))


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
