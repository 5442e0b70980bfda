"""What cuBLASLt adds to a product, and the activation, are part of its call: fewer launches, no product in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gpu_libraries import LIBRARY_TARGET, program
from gpu_target import GPU_TARGET
from gradloom import nn, optim
from gradloom.ir import Graph, interpret, parse, spec
from gradloom.passes.fusion.library_epilogue import FuseLibraryEpilogue
from gradloom.passes.kernels.loop_nest import product_of
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import pipeline, plan_graph, run_passes
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from gradloom.runtime.lowering.launch import Launch, Pointer
from gradloom.runtime.lowering.launch_list import lower, stages_of
from gradloom.runtime.lowering.library_call import LibraryCall, ProductCall

RNG = np.random.default_rng(3)


def items(made: Plan, **options: Any) -> list[Launch | LibraryCall]:
    return [
        item for phase in lower(made, **options).phases for unit in phase for stage in stages_of(unit) for item in stage
    ]


def apart(graph: Graph) -> Plan:
    passes = [p for p in pipeline(target=LIBRARY_TARGET) if not isinstance(p, FuseLibraryEpilogue)]
    return plan(run_passes(graph, passes), LIBRARY_TARGET.workers or 1, target=LIBRARY_TARGET)


def bias(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b


def transposed(x: Any, w: Any, b: Any) -> Any:
    return b + x.T @ w.T


def relu(x: Any, w: Any, b: Any) -> Any:
    return np.maximum(x @ w + b, 0)


def activated(x: Any, w: Any) -> Any:
    return nn.functional.relu(x @ w)


def residual(x: Any, w: Any, z: Any) -> Any:
    return x @ w + z


def gelu(x: Any, w: Any, b: Any) -> Any:
    return nn.functional.gelu(x @ w + b, approximate="tanh") @ w.T


def gelu_alone(x: Any, w: Any) -> Any:
    return nn.functional.gelu(x @ w, approximate="tanh")


def all_of_them(x: Any, w: Any, z: Any, b: Any) -> Any:
    return nn.functional.relu(z + x @ w + b)


def read_by_a_product(x: Any, w: Any, b: Any) -> Any:
    return (x @ w + b) @ w.T


def residual_of_a_call(x: Any, w: Any, b: Any) -> Any:
    y = x @ w + b
    return y @ w.T + x


MATCHING = [
    (bias, [(17, 9), (9, 33), (33,)], "bias"),
    (bias, [(1, 9), (9, 3), (3,)], "bias"),
    (bias, [(5, 1300), (1300, 3), (3,)], "bias"),
    (bias, [(2, 3, 4), (4, 5), (5,)], ""),
    (bias, [(3, 4, 5), (3, 5, 6), (6,)], "bias"),
    (transposed, [(9, 17), (33, 9), (33,)], "bias"),
    (relu, [(17, 9), (9, 33), (33,)], "bias relu"),
    (activated, [(17, 9), (9, 33)], "relu"),
    (gelu, [(17, 9), (9, 33), (33,)], "bias gelu_tanh"),
    (gelu, [(2, 3, 4), (4, 5), (5,)], "bias gelu_tanh"),
    (gelu_alone, [(17, 9), (9, 33)], "gelu_tanh"),
    (residual, [(17, 9), (9, 33), (17, 33)], "added"),
    (residual, [(3, 4, 5), (3, 5, 6), (3, 4, 6)], "added"),
    (all_of_them, [(17, 9), (9, 33), (17, 33), (33,)], "added bias relu"),
    (read_by_a_product, [(2, 3, 4), (4, 5), (5,)], "bias"),
    (residual_of_a_call, [(6, 4), (4, 5), (5,)], "bias, added"),
]
WITH_GELU = [row for row in MATCHING[1::3] + MATCHING[2::3] if "gelu" in row[2]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_follows_a_product_is_part_of_its_call(dtype: str):
    for function, shapes, expected in MATCHING if dtype == "float32" else [*MATCHING[::3], *WITH_GELU]:
        graph = gl.trace(function, *(spec(shape, dtype) for shape in shapes))
        arrays = [RNG.normal(size=shape).astype(dtype) for shape in shapes]
        made = program(graph)
        found = run_executable(made, graph, arrays)[0]
        own = run_executable(by_own_kernels(made.plan), graph, arrays)[0]
        for one, other, right in zip(found, own, interpret(graph, *arrays), strict=True):
            np.testing.assert_allclose(one, right, 1e-4, 1e-4)
            np.testing.assert_allclose(other, right, 1e-4, 1e-4)
        if dtype == "float64" and "gelu" in expected:
            expected = ""
        assert ", ".join(filter(None, map(described, made.calls))) == expected, function
        saved = len(items(apart(graph))) - len(items(made.plan))
        assert saved == len(expected.split(", ")) if expected else saved == 0


def by_own_kernels(made: Plan) -> EmulatedProgram:
    """The program of a plan as where the library knows none of its calls."""
    return EmulatedProgram(replace(made, target=GPU_TARGET), allocate(made.arena_bytes))


def described(call: LibraryCall) -> str:
    assert isinstance(call, ProductCall)
    told = {"added": call.added, "bias": call.bias, call.activation: call.activation != "none" or None}
    return " ".join(name for name, value in told.items() if value is not None)


def test_the_product_never_lies_in_memory_and_an_array_that_dies_is_written_over():
    graph = gl.trace(residual_of_a_call, spec((64, 64)), spec((64, 64)), spec((64,)))
    assert plan_graph(graph, target=LIBRARY_TARGET).arena_bytes == 64 * 64 * 4
    assert apart(graph).arena_bytes == 2 * 64 * 64 * 4

    def summed(x: Any, w: Any) -> Any:
        return (x @ w + x @ x) @ w

    made = plan_graph(gl.trace(summed, spec((64, 64)), spec((64, 64))), target=LIBRARY_TARGET)
    check_plan(made)
    call = next(item for item in items(made) if isinstance(item, ProductCall) and item.added is not None)
    assert isinstance(call.added, Pointer)
    assert isinstance(call.result.at, Pointer)
    assert made.locations[call.added.value] == made.locations[call.result.at.value]


def read_twice(x: Any, w: Any, b: Any) -> Any:
    y = x @ w
    return y + b, y


def of_rows(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b[:, None]


def scaled(x: Any, w: Any, b: Any) -> Any:
    return (x @ w) * 2 + b


def made_bias(x: Any, w: Any, b: Any) -> Any:
    return x @ w + np.exp(b)


def of_a_loop(x: Any, w: Any, b: Any) -> Any:
    return np.tanh(x @ w + b)


def added_to_itself(x: Any, w: Any, b: Any) -> Any:
    y = x @ w
    return y + y


def turned(x: Any, w: Any, b: Any) -> Any:
    return x @ w + (b * x).T


def exact_gelu(x: Any, w: Any, b: Any) -> Any:
    return nn.functional.gelu(x @ w + b)


@pytest.mark.parametrize(
    "function", [exact_gelu, read_twice, of_rows, scaled, made_bias, of_a_loop, added_to_itself, turned]
)
def test_what_is_no_epilogue_of_the_library_stays_apart(function: Callable[..., Any]):
    graph = gl.trace(function, spec((6, 6)), spec((6, 6)), spec((6,)))
    assert list(filter(None, map(described, products(plan_graph(graph, target=LIBRARY_TARGET))))) == []


def test_what_is_kept_beside_its_activation_ends_the_call():
    def kept(x: Any, w: Any, b: Any) -> Any:
        y = x @ w + b
        return nn.functional.gelu(y, approximate="tanh"), y

    graph = gl.trace(kept, spec((6, 6)), spec((6, 6)), spec((6,)))
    assert list(map(described, products(plan_graph(graph, target=LIBRARY_TARGET)))) == ["bias"]


def products(made: Plan) -> list[ProductCall]:
    return [item for item in items(made) if isinstance(item, ProductCall)]


def test_a_vector_that_is_not_aligned_is_added_apart():
    def part(x: Any, w: Any, b: Any) -> Any:
        return x @ w + b[1:7]

    graph = gl.trace(part, spec((5, 6)), spec((6, 6)), spec((8,)))
    assert not any(map(described, products(plan_graph(graph, target=LIBRARY_TARGET))))


def test_integers_and_targets_without_the_library_are_left_alone():
    for target, dtype in ((LIBRARY_TARGET, "int32"), (replace(LIBRARY_TARGET, libraries=("cudnn",)), "float32")):
        graph = gl.trace(relu, spec((5, 6), dtype), spec((6, 7), dtype), spec((7,), dtype))
        traced = run_passes(graph, [FuseLibraryEpilogue(target=target)])
        assert [node.op for node in traced.nodes] == [node.op for node in graph.nodes]


TEXT = """graph(%x: f32[6,4], %w: f32[4,5], %b: f32[5]) {
  %0: f32[6,5] = dot(%x, %w) {contract=((1,), (0,)), batch=((), ())}
  %1: f32[2,3,5] = reshape(%0) {shape=(2, 3, 5)}
  %2: f32[2,3,5] = broadcast(%b) {shape=(2, 3, 5), axes=(2,)}
  %3: f32[2,3,5] = add(%1, %2)
  %4: f32[6,5] = reshape(%3) {shape=(6, 5)}
  %5: f32[6,6] = dot(%4, %4) {contract=((1,), (1,)), batch=((), ())}
  return %5
}"""

FUSED = """graph(%x: f32[6,4], %w: f32[4,5], %b: f32[5]) {
  %0: f32[6,5] = broadcast(%b) {shape=(6, 5), axes=(1,)}
  %1: f32[6,5] = region(%x, %0, %w) {body=graph(%in0: f32[6,4], %in1: f32[6,5], %in2: f32[4,5]) {
      %0: f32[6,5] = dot(%in0, %in2) {contract=((1,), (0,)), batch=((), ())}
      %1: f32[6,5] = add(%0, %in1)
      return %1
    }, domain=(6, 5), rows=-1}
  %2: f32[2,3,5] = reshape(%1) {shape=(2, 3, 5)}
  %3: f32[6,5] = reshape(%2) {shape=(6, 5)}
  %4: f32[6,6] = dot(%3, %3) {contract=((1,), (1,)), batch=((), ())}
  return %4
}"""


def test_a_bias_of_more_axes_is_one_of_the_columns():
    assert str(FuseLibraryEpilogue(target=LIBRARY_TARGET)(parse(TEXT))) == FUSED


def test_the_calls_are_the_same_under_every_budget():
    def loss_fn(model: Any, batch: Any) -> Any:
        return (model(batch["x"]) ** 2).mean()

    def calls(memory: Any) -> tuple[set[str], int]:
        layers = [layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.ReLU())]
        batch = {"x": gl.spec((512, 64))}
        made = gl.plan_step(nn.Sequential(*layers), loss_fn, optim.SGD(0.1), batch, memory=memory, target="cuda")
        check_plan(made.plan)
        units = [node for node in made.plan.graph.nodes if node.op.is_region and product_of(node) is not None]
        assert {unit.name for unit in made.report.units if unit.flops > 10**6} == {"dot", "dot relu add"}
        found = products(made.plan)
        return {f"{c.left.rows, c.left.columns, c.right.columns} {described(c)}" for c in found}, len(units)

    (whole, once), (less, again) = calls(None), calls("60%")
    assert whole == less
    assert once == 5
    assert again > once  # a product is computed a second time, with the epilogue of the first
