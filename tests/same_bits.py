"""One training step in several ways, compiled or interpreted: the bits of its results must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gradloom.engine.step.compile_step import compile_step
from gradloom.ir import interpret
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.remat.from_plan import GraphProblem
from gradloom.passes.remat.problem import Order
from gradloom.passes.verify.plan import check_plan
from random_graphs import random_inputs


def assert_same_bits(
    arguments: Callable[[], tuple[Any, ...]], batches: list[Any], ways: Iterable[tuple[int, Any]]
) -> None:
    """Run the step of `arguments()` over `batches` for each of `ways`, which are threads and a budget."""
    results = []
    for threads, memory in ways:
        step = compile_step(*arguments(), threads=threads, memory=memory, seed=3)
        losses = [step(batch) for batch in batches]
        results.append((losses, step.parameters()))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, results[0][1][name])


def assert_same_values(base: Plan, problem: GraphProblem, orders: Iterable[Order]) -> None:
    """Each of `orders` of the units of `base` is a sound plan, and computes what `base` does."""
    arrays = random_inputs(base.graph)
    expected = interpret(base.graph, *arrays)
    for order in orders:
        made = plan(problem.realized(order.runs, {}), base.threads, outputs_in_arena=True)
        check_plan(made)
        for a, b in zip(expected, interpret(made.graph, *arrays), strict=True):
            assert a.tobytes() == b.tobytes()
