"""Graphs of many thousand nodes go through passes, planner and plan verifier in time that grows with their size."""

from __future__ import annotations

import cProfile
import pstats

import pytest
from gradloom.ir import OPS, Builder, Graph, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.autodiff.backward import vjp_graph
from gradloom.passes.memory import arena
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.plan import check_plan


def unrolled_lstm(steps: int) -> Graph:
    """A cell that is applied `steps` times to a batch of 8, with the derivative by its weights, which are updated."""
    b = Builder()
    n, h = 8, 16
    w, bias = b.input(spec((2 * h, 4 * h)), "w"), b.input(spec((4 * h,)), "bias")
    sequence = b.input(spec((steps, n, h)), "x")
    state = cell = b.full(0.0, spec((n, h)))
    total = b.full(0.0, spec(()))
    for t in range(steps):
        x = OPS["slice"](b, sequence, start=(t, 0, 0), stop=(t + 1, n, h), step=(1, 1, 1))
        joined = OPS["concatenate"](b, OPS["reshape"](b, x, shape=(n, h)), state, axis=1)
        z = OPS["dot"](b, joined, w, contract=((1,), (0,)), batch=((), ()))
        z = ew.add(b, z, OPS["broadcast"](b, bias, shape=(n, 4 * h), axes=(1,)))
        i, f, g, o = (OPS["slice"](b, z, start=(0, k * h), stop=(n, k * h + h), step=(1, 1)) for k in range(4))
        cell = ew.add(b, ew.mul(b, ew.sigmoid(b, f), cell), ew.mul(b, ew.sigmoid(b, i), ew.tanh(b, g)))
        state = ew.mul(b, ew.sigmoid(b, o), ew.tanh(b, cell))
        total = ew.add(b, total, OPS["reduce_sum"](b, state, axes=(0, 1)))
    graph = vjp_graph(b.graph([total]), [0, 1])
    b = Builder()
    inputs = [b.input(v.type, v.name) for v in graph.inputs]
    loss, *gradients = b.inline(graph, inputs)
    return b.graph([*(ew.sub(b, p, d) for p, d in zip(inputs, gradients)), loss], {0: 0, 1: 1})


def calls_for(graph: Graph) -> int:
    """Function calls that it takes to plan `graph` and to check the plan: a clock that is the same on every machine."""
    profile = cProfile.Profile()
    profile.enable()
    check_plan(plan(run_passes(graph), threads=2))
    profile.disable()
    return pstats.Stats(profile).total_calls  # pyright: ignore[reportAttributeAccessIssue]


def test_work_grows_with_the_size_of_the_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arena, "_QUADRATIC_LIMIT", 0)  # as in large graphs
    calls_for(unrolled_lstm(2))  # what is imported on demand counts for none
    assert calls_for(unrolled_lstm(40)) < 2.2 * calls_for(unrolled_lstm(20))


@pytest.mark.slow
def test_a_graph_of_fifty_thousand_nodes_is_planned():
    graph = unrolled_lstm(760)
    assert len(graph.nodes) > 50_000
    check_plan(plan(run_passes(graph), threads=2))
