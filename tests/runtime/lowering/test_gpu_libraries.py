"""Units that libraries of a GPU run: what is asked of them says what the unit computes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from gpu_target import GPU_TARGET
from gradloom.ir import OPS, Builder, Graph, spec
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target, TargetError
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.lowering.launch import Launch, Pointer, Scratch
from gradloom.runtime.lowering.launch_list import lower
from gradloom.runtime.lowering.library_call import LibraryCall, ProductCall

LIBRARIES = replace(GPU_TARGET, libraries=("cublaslt", "cudnn"))


def items(plan: Plan, **options: Any) -> list[Launch | LibraryCall]:
    return [item for phase in lower(plan, **options).phases for unit in phase for stage in unit for item in stage]


def product(x: tuple[int, ...], y: tuple[int, ...], dtype: str = "float32") -> Graph:
    b = Builder()
    left, right = b.input(spec(x, dtype), "x"), b.input(spec(y, dtype), "y")
    batch = tuple(range(len(x) - 2))
    contract = ((len(x) - 1,), (len(y) - 2,))
    return b.graph([OPS["dot"](b, left, right, contract=contract, batch=(batch, batch))])


def test_a_product_of_floats_is_one_call_and_takes_no_kernel():
    (call,) = items(plan_graph(product((70, 30), (30, 50)), target=LIBRARIES))
    assert isinstance(call, ProductCall)
    assert (call.left.rows, call.left.columns, call.right.columns, call.batches) == (70, 30, 50, 1)
    assert (call.compute, call.added, call.activation) == ("fp32", None, "none")


@pytest.mark.parametrize(
    "graph", [product((70, 30), (30, 50), "int32"), product((0, 3), (3, 5)), product((2, 0), (0, 5))]
)
def test_products_of_integers_and_of_nothing_are_our_own(graph: Graph):
    assert all(isinstance(item, Launch) for item in items(plan_graph(graph, target=LIBRARIES)))


def test_what_a_library_does_not_support_is_our_own_in_the_same_memory():
    plan = plan_graph(product((64, 4096), (4096, 64)), target=LIBRARIES)
    (call,) = items(plan)
    assert isinstance(call, ProductCall)
    assert call.workspace_bytes == plan.arena_bytes == 16 * 64 * 64 * 4
    assert all(isinstance(item, Launch) for item in items(plan, supports=lambda call: False))


def test_workspace_follows_from_the_shape_and_large_products_have_none():
    def workspace(m: int, n: int, k: int) -> int:
        plan = plan_graph(product((m, k), (k, n)), target=Target.cuda("h100"))
        check_plan(plan)
        (call,) = items(plan)
        assert isinstance(call, ProductCall)
        assert plan.arena_bytes == call.workspace_bytes
        return call.workspace_bytes

    assert workspace(4096, 4096, 4096) == workspace(64, 64, 256) == 0
    assert workspace(64, 64, 4096) == 16 * 64 * 64 * 4
    assert workspace(1024, 1024, 1 << 20) == 2 * 1024 * 1024 * 4
    assert workspace(128, 40_000, 1 << 16) == 0


def test_tf32_is_what_the_target_says_and_of_float32_alone():
    target = replace(LIBRARIES, precision="tf32")
    computed = {dtype: items(plan_graph(product((8, 8), (8, 8), dtype), target=target))[0] for dtype in ("f4", "f8")}
    assert [call.compute for call in computed.values() if isinstance(call, ProductCall)] == ["tf32", "fp64"]


def test_libraries_of_a_target_are_known_ones():
    assert Target.cuda().libraries == ("cublaslt", "cudnn")
    assert Target.cuda(emulated=True).libraries == ()
    with pytest.raises(TargetError, match=re.escape("libraries of a target are of cublaslt, cudnn, got ('mkl',)")):
        replace(Target.cuda(), libraries=("mkl",))
    with pytest.raises(TargetError, match="precision of a target is 'fp32' or 'tf32', got 'fp8'"):
        replace(Target.cuda(), precision="fp8")


def test_a_batch_along_two_axes_is_a_call_for_each_place_of_the_shorter():
    b = Builder()
    x, y = b.input(spec((2, 5, 3, 4)), "x"), b.input(spec((2, 5, 3, 6)), "y")
    moved = [OPS["transpose"](b, v, perm=(0, 2, 1, 3)) for v in (x, y)]  # (2, 3, 5, 4) and (2, 3, 5, 6)
    graph = b.graph([OPS["dot"](b, *moved, contract=((2,), (2,)), batch=((0, 1), (0, 1)))])
    calls = items(plan_graph(graph, target=LIBRARIES))
    assert len(calls) == 2
    assert all(isinstance(call, ProductCall) and call.batches == 3 for call in calls)
    offsets = [
        call.left.at.offset for call in calls if isinstance(call, ProductCall) and isinstance(call.left.at, Pointer)
    ]
    assert offsets == [0, 5 * 3 * 4 * 4]
    assert {call.workspace for call in calls if isinstance(call, ProductCall)} == {Scratch(0)}
