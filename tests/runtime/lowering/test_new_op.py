"""An op that declares no trait: passes know nothing of it, and what is computed is right all the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Builder, Graph, Op, Value, interpret, spec
from gradloom.ir.op import one_per_input
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.lowering import unit
from gradloom.runtime.lowering.launch import TILE, Call, Launch, Pointer

_KERNEL = """
def kernel(b):
    x, o = array_f32(word(b, 1), 0), array_f32(word(b, 2), 0)
    length, inner = word(b, 3), word(b, 4)
    block = word(b, 0)
    for j in range(inner):
        best = x[block * length * inner + j]
        for k in range(length):
            e = x[(block * length + k) * inner + j]
            best = e if e > best else best
            o[(block * length + k) * inner + j] = best
    return i64(0)
"""


def _lower(node: Any, plan: Any, traps: Any) -> list[Launch]:
    shape, axis = node.output.type.shape, node.attrs["axis"]
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    return [
        Launch(math.prod(shape[:axis]), [Call(_KERNEL, [TILE, *operands, shape[axis], math.prod(shape[axis + 1 :])])])
    ]


@pytest.fixture
def running_maximum(monkeypatch: pytest.MonkeyPatch) -> Op:
    """The largest of all elements up to each along `axis`: only what an op cannot be declared without."""
    op = Op(
        "running_maximum",
        "reduction",
        lambda x, axis: x,
        lambda x, axis: np.maximum.accumulate(x, axis),
        one_per_input,
        lambda inputs, output, attrs: [[None if i == attrs["axis"] else i for i in range(output.ndim)]],
    )
    monkeypatch.setitem(OPS, op.name, op)
    monkeypatch.setitem(unit._LOWERINGS, op, _lower)
    return op


def _in_a_loop(b: Builder, op: Op, table: Value, xs: Value) -> tuple[Value, ...]:
    """The op on a const, on a step of a sequence that is a view, and on a carry, in every step."""
    inside = Builder()
    const, carry, x = inside.input(table.type), inside.input(table.type), inside.input(spec(xs.type.shape[1:]))
    turned = OPS["transpose"](inside, x, perm=(1, 0))
    made = ew.add(inside, op(inside, const, axis=1), op(inside, turned, axis=0))
    after = ew.mul(inside, op(inside, ew.add(inside, carry, made), axis=0), inside.full(0.5, table.type))
    counts = {"consts": 1, "carries": 1, "length": xs.type.shape[0], "reverse": True}
    body = inside.graph([after, ew.copy(inside, made)])
    return b.emit_node(OPS["scan"], table, table, xs, body=body, **counts).outputs


def _graph(op: Op) -> Graph:
    b = Builder()
    x, weight, xs = b.input(spec((4, 6))), b.input(spec((4, 6))), b.input(spec((3, 6, 4)))
    turned = OPS["transpose"](b, x, perm=(1, 0))
    window = OPS["slice"](b, x, start=(1, 0), stop=(4, 6), step=(2, 2))
    repeated = OPS["broadcast"](b, OPS["reduce_max"](b, x, axes=(1,)), shape=(4, 6), axes=(0,))
    back = OPS["reverse"](b, ew.exp(b, x), axes=(1,))
    largest = [op(b, v, axis=axis) for v in (x, turned, window, repeated, back) for axis in (0, 1)]
    # It may refuse what it reads, for all that passes know: the parameter is overwritten after it.
    updated = ew.sub(b, weight, op(b, ew.mul(b, weight, x), axis=1))
    return b.graph([updated, *largest, *_in_a_loop(b, op, x, xs)], {0: 1})


@pytest.mark.parametrize("threads", [1, 2])
def test_an_op_without_traits_is_computed_right(running_maximum: Op, threads: int) -> None:
    graph = _graph(running_maximum)
    check_plan(plan(run_passes(graph), threads))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=v.type.shape).astype("float32") for v in graph.inputs]
    results = run_compiled(graph, *arrays, threads=threads)
    for got, wanted in zip(results, interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
