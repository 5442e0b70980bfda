"""Regions of a GPU that begin with the product that they alone read: fewer launches, the same bits, no product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, Node, interpret, parse, spec
from gradloom.nn import functional as F
from gradloom.passes.fusion.block_epilogue import FuseBlockEpilogue
from gradloom.passes.kernels.loop_nest import product_of
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import pipeline, run_passes
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram

EMULATED = Target.cuda(emulated=True)
RNG = np.random.default_rng(2)


def planned(graph: Graph, fused: bool = True, target: Target = EMULATED) -> Plan:
    passes = [p for p in pipeline(target=target) if fused or not isinstance(p, FuseBlockEpilogue)]
    made = plan(run_passes(graph, passes), target.workers or 1, target=target)
    check_plan(made)
    return made


def joined(made: Plan) -> list[Node]:
    return [n for phase in made.phases for n in phase if n.op.is_region and product_of(n) is not None]


def outputs(made: Plan, graph: Graph, arrays: list[Any]) -> list[Any]:
    return run_executable(EmulatedProgram(made, allocate(made.arena_bytes)), graph, arrays)[0]


def linear(x: Any, w: Any, b: Any) -> Any:
    return np.maximum(x @ w.T + b, 0) * 0.3


def residual(x: Any, w: Any, b: Any, z: Any) -> Any:
    y = x @ w + b
    return np.tanh(y) + z.T, y


def batched(x: Any, y: Any, z: Any) -> Any:
    return np.exp(x @ y) * z


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (linear, [(40, 9), (33, 9), (33,)]),
        (linear, [(5, 1300), (3, 1300), (3,)]),
        (residual, [(17, 6), (6, 20), (20,), (20, 17)]),
        (batched, [(3, 4, 5), (3, 5, 7), (4, 7)]),
    ],
)
def test_a_region_of_a_product_has_the_bits_that_it_has_by_itself(
    function: Callable[..., Any], shapes: list[tuple[int, ...]]
):
    graph = gl.trace(function, *(spec(shape) for shape in shapes))
    arrays = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    fused, apart = planned(graph), planned(graph, fused=False)
    assert len(joined(fused)) == 1
    assert not joined(apart)
    assert sum(map(len, fused.phases)) == sum(map(len, apart.phases)) - 1
    found, expected = outputs(fused, graph, arrays), outputs(apart, graph, arrays)
    for one, other, right in zip(found, expected, interpret(graph, *arrays), strict=True):
        assert one.tobytes() == other.tobytes()
        np.testing.assert_allclose(one, right, 1e-4, 1e-4)


def test_the_gradient_of_a_weight_is_updated_with_and_never_lies_in_memory():
    def loss_fn(model: Any, batch: Any) -> Any:
        return F.cross_entropy(model(batch["x"]), batch["y"])

    model = nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 10))
    batch = {"x": spec((16, 40)), "y": spec((16,), "int64")}
    graph = trace_step(model, loss_fn, optim.AdamW(1e-3), batch).graph
    fused, apart = planned(graph), planned(graph, fused=False)
    updates = {fused.graph.outputs[i].node for i in fused.graph.aliases}
    assert len([node for node in joined(fused) if node in updates]) == 2
    assert fused.arena_bytes < apart.arena_bytes
    arrays = [
        RNG.integers(0, 3, v.type.shape) if v.type.dtype.kind == "i" else np.abs(0.1 * RNG.normal(size=v.type.shape))
        for v in graph.inputs
    ]
    arrays = [np.asarray(array, v.type.dtype) for array, v in zip(arrays, graph.inputs)]
    for one, other in zip(outputs(fused, graph, arrays), outputs(apart, graph, arrays), strict=True):
        assert one.tobytes() == other.tobytes()


def test_what_is_read_twice_summed_along_rows_or_made_by_a_library_stays_apart():
    def twice(x: Any, y: Any) -> Any:
        product = x @ y
        return np.tanh(product), product.sum(axis=1)

    def along_rows(x: Any, y: Any) -> Any:
        return nn.functional.softmax(x @ y, -1)

    for function in (twice, along_rows):
        assert not joined(planned(gl.trace(function, spec((5, 6)), spec((6, 7)))))
    graph = gl.trace(linear, spec((4, 5)), spec((6, 5)), spec((6,)))
    assert joined(planned(graph, target=EMULATED))
    assert not joined(planned(graph, target=Target.cuda()))


def test_a_product_of_what_its_region_is_written_over_stays_apart_and_nothing_is_copied_back():
    graph = parse("""graph(%m: f32[40,40], %x: f32[40,40]) {
      %0: f32[40,40] = dot(%x, %m) {contract=((1,), (0,)), batch=((), ())}
      return "m"=%0 -> %m
    }""")
    made = planned(graph)
    assert not joined(made)
    assert not made.copied_back
