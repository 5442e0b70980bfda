"""Every op of the table stands before every pass: alone, in a loop, behind a transposition, and with its derivative."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from gradloom.ir import OPS, Array, Builder, Graph, Value, interpret, is_float, verify
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.autodiff.backward import add_backward
from gradloom.passes.graph.rewrite import Pass
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import in_bodies, passed, pipeline, preparation, scheduling
from gradloom.passes.remat.accumulate_early import AccumulateEarly
from gradloom.passes.remat.checkpoint_scans import CheckpointScans
from gradloom.passes.remat.delay_comparisons import DelayComparisons
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.verify.plan import check_plan
from op_cases import CASES, OpCase, sample

STEPS = 6
ALTERNATIVE = (*preparation(), CheckpointScans(), *scheduling(1.5, True), DelayComparisons(), AccumulateEarly())
"""Passes of the alternative pipelines, all of them at once."""


def _rows() -> list[OpCase]:
    """For each op the row with the most elements, of those that can be differentiated where there are any."""
    rows = ([c for c in CASES if c.name == name] for name in OPS)
    return [max(some, key=lambda c: (c.order, sum(t.size for t in c.types))) for some in rows if some]


def _turned(b: Builder, x: Value) -> Value:
    """The same elements, read through the transposition of what a window has left in the other order."""
    perm = tuple(reversed(range(x.type.ndim)))
    base = OPS["copy"](b, OPS["transpose"](b, x, perm=perm))
    if is_float(x.type.dtype) and x.type.ndim and x.type.size:
        one, none = (1,), (0,)
        base = OPS["window_sum"](b, base, axes=(0,), size=one, stride=one, low=none, high=none, dilation=one)
    return OPS["transpose"](b, base, perm=perm)


def _repeated(b: Builder, x: Value) -> Value:
    return OPS["broadcast"](b, x, shape=(STEPS, *x.type.shape), axes=tuple(range(1, x.type.ndim + 1)))


def _in_a_loop(b: Builder, case: OpCase, inputs: Sequence[Value]) -> list[Value]:
    """The op in each step of a loop, of an element of a sequence and of what is the same in all; and the sum of all
    steps.
    """
    inside = Builder()
    consts = [inside.input(v.type) for v in inputs[1:]]
    (out,) = case.graph().outputs
    carried = out.type.dtype.kind != "b"
    carries = [inside.input(out.type)] if carried else []
    xs = [inside.input(v.type) for v in inputs[:1]]
    made = inside.emit(case.op, *xs, *consts, **case.attrs)
    sums = [ew.add(inside, carry, made) for carry in carries]
    alone = ew.copy(inside, made)
    counts = {"consts": len(consts), "carries": len(carries), "length": STEPS, "reverse": False}
    start = [b.full(0, v.type) for v in carries]
    node = b.emit_node(
        OPS["scan"],
        *inputs[1:],
        *start,
        *(_repeated(b, v) for v in inputs[:1]),
        body=inside.graph([*sums, alone]),
        **counts,
    )
    return list(node.outputs)


def _graph(case: OpCase) -> Graph:
    b = Builder()
    inputs = [b.input(t, f"x{i}") for i, t in enumerate(case.types)]
    plain = [ew.neg(b, v) if is_float(v.type.dtype) else v for v in inputs]
    plain = [ew.neg(b, v) if is_float(v.type.dtype) else v for v in plain]
    results = [b.emit(case.op, *plain, **case.attrs), b.emit(case.op, *(_turned(b, v) for v in inputs), **case.attrs)]
    results += _in_a_loop(b, case, inputs)
    wrt = [v for v in inputs if is_float(v.type.dtype)] if case.order else []
    cotangents = {v: b.full(1 / max(math.prod(v.type.shape), 1), v.type) for v in results if is_float(v.type.dtype)}
    gradients = add_backward(b, list(b.nodes), cotangents, wrt) if wrt else []
    return b.graph([*results, *gradients])


def _passes(graph: Graph) -> Iterator[tuple[Pass, Graph]]:
    for step in pipeline():
        graph = in_bodies(step(graph), step)
        verify(graph, after=step.name)
        yield step, graph


def _assert_close(actual: Sequence[Array], expected: Sequence[Array], what: str) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), what
        scale = np.abs(other[np.isfinite(other)]).max(initial=0) if other.dtype.kind == "f" else 0
        tolerance = {"float32": 1e-4, "float64": 1e-11}.get(other.dtype.name, 0)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale, err_msg=what)


@pytest.mark.parametrize("case", _rows(), ids=str)
def test_every_pass_keeps_what_an_op_computes(case: OpCase):
    graph, arrays = _graph(case), sample(case)
    verify(graph)
    expected = interpret(graph, *arrays)
    *_, (_, last) = _passes(graph)
    try:
        _assert_close(interpret(last, *arrays), expected, "all passes")
    except AssertionError:
        for step, after in _passes(graph):
            _assert_close(interpret(after, *arrays), expected, f"after {step.name}")
        raise
    made = plan(last, 2, outputs_in_arena=True)
    check_plan(made)
    others = [passed(graph, ALTERNATIVE)]
    # Every unit that may be recomputed is, right behind its first run. A check is not: what it leaves is its input.
    problem = graph_problem(made, smallest=1)
    again = (
        (run, replace(run, is_recompute=True)) if problem.units[run.unit].recomputable and run.makes else (run,)
        for run in problem.first_runs()
    )
    others += [] if case.op.is_check else [problem.realized([run for runs in again for run in runs], {})]
    for other in others:
        verify(other)
        _assert_close(interpret(other, *arrays), expected, "recomputed")
        check_plan(plan(other, 2, outputs_in_arena=True))
