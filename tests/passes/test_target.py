"""A target holds all that depends on the machine: plans follow from it and the graph, on any host."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.passes import target as targets
from gradloom.passes.budget import StepPlanner
from gradloom.passes.kernels import loop_nest, matmul_tiles, row_tiles
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import pipeline
from gradloom.passes.target import DEFAULT_TARGET, Target, TargetError
from gradloom.passes.verify.errors import PlanVerificationError
from gradloom.passes.verify.plan import check_plan

NAMES = tuple(targets._CPUS)  # pyright: ignore[reportPrivateUsage]
PASSES = Path(gl.__file__).parent / "passes"


class Net(nn.Module):
    """A convolution, a recurrent loop and products: each kind of tile that follows a target."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 24, 3, padding=1)
        self.lstm = nn.LSTM(24, 16, batch_first=True)
        self.linear = nn.Linear(16, 50)

    def forward(self, x: Any) -> Any:
        y = np.maximum(self.conv(x), 0)
        y = np.moveaxis(y.reshape(*y.shape[:2], -1), 1, 2)
        return self.linear(self.lstm(y)[0][:, -1])


def planned(target: gl.Target | str, memory: str | None = None, accumulate: int = 1) -> gl.StepPlan:
    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": gl.spec((16, 3, 6, 6)), "y": gl.spec((16,), "int64")}
    return gl.plan_step(
        Net(), loss_fn, optim.SGD(0.1), batch, target=target, threads=2, memory=memory, accumulate=accumulate
    )


def all_plans(made: Plan) -> Iterator[Plan]:
    yield made
    for body in (body for bodies in made.bodies.values() for body in bodies):
        yield from all_plans(body)


def test_vectors_and_registers_are_those_of_the_instructions():
    found = {name: (Target.cpu(name).vector_bytes, Target.cpu(name).vector_registers) for name in NAMES}
    known = {
        "avx512": (64, 32),
        "avx512_bf16": (64, 32),
        "avx2": (32, 16),
        "sse": (16, 16),
        "neon": (16, 32),
        "generic": (16, 16),
    }
    assert found | known == found


@pytest.mark.parametrize("name", NAMES)
def test_a_register_tile_fits_the_registers(name: str):
    target = Target.cpu(name)
    for vectors in range(1, target.tile_vectors + 1):
        rows = target.tile_rows(vectors)
        assert rows * vectors + vectors + 1 <= target.vector_registers
        assert rows == 14 or (rows + 1) * vectors + vectors + 1 > target.vector_registers


def test_a_target_is_a_frozen_value():
    target = Target.cpu("avx2")
    assert target == Target.cpu("avx2") != Target.cpu("sse")
    assert hash(target) == hash(Target.cpu("avx2"))
    assert str(target) == "cpu:avx2"
    assert repr(target) == "Target.cpu('avx2')"
    assert "l2_bytes=512" in repr(replace(target, l2_bytes=512))
    with pytest.raises(FrozenInstanceError):
        target.l2_bytes = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_name_is_an_error_that_lists_the_names():
    with pytest.raises(TargetError, match="no CPU target 'avx9'; there are 'avx512', 'avx512_bf16', 'avx2', 'sse'"):
        gl.Target.cpu("avx9")
    assert issubclass(gl.TargetError, ValueError)


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_of_a_step_is_for_its_target_and_passes_its_verifier(name: str):
    target = Target.cpu(name)
    for memory, accumulate in ((None, 1), ("70%", 1), (None, 2)):
        made = planned(target, memory, accumulate)
        assert all(plan.target is target for plan in all_plans(made.plan))
        assert all(nest.target is target for plan in all_plans(made.plan) for nest in plan.nests.values())
        assert made.report.target is target
        made.report.check()
        assert f"2 threads of cpu:{name}\n" in str(made.report)
        assert gl.MemoryReport.from_json(made.report.to_json()).target == target


def test_two_targets_give_two_plans_on_one_machine():
    targets = (Target.cpu("avx512"), Target.cpu("generic"))
    assert len({planned(target).plan.arena_bytes for target in targets}) == 2


def test_passes_and_planners_hand_their_target_on():
    target = replace(DEFAULT_TARGET, barrier_ns=1.0)
    steps = pipeline(target=target)
    of_target = [step for step in steps if any(f.name == "target" for f in fields(step))]
    assert len(of_target) >= 10
    assert all(step.target is target for step in of_target)  # pyright: ignore[reportAttributeAccessIssue]
    planner = StepPlanner(planned("cpu").graph, 2, target=target)
    choices = [planner.unbounded, planner.smallest(), planner.in_tiles.smallest()]
    assert all(plan.target is target for choice in choices if choice for plan in all_plans(choice.plan))


def test_a_plan_whose_loops_are_for_another_target_is_refused_by_the_verifier():
    made = planned(Target.cpu("avx512")).plan
    with pytest.raises(PlanVerificationError):
        check_plan(replace(made, target=replace(made.target, l2_bytes=1 << 12)))


def test_no_pass_asks_the_host():
    known = {"llvmlite", "platform", "multiprocessing", "psutil", "numba", "ctypes"}
    for path in PASSES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert known.isdisjoint(name.partition(".")[0] for name in names), path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vector_bytes": 0}, "vector_bytes of a target is above 0, got 0"),
        ({"vector_bytes": 4}, "vector_bytes of a target is a power of two of 16 or more, got 4"),
        ({"line_bytes": 48}, "line_bytes of a target is a power of two"),
        ({"l2_bytes": -5}, "l2_bytes of a target is above 0"),
        ({"l1_bytes": 1}, "l1_bytes of a target is 16 or more"),
        ({"memory_bytes_per_ns": 0.0}, "memory_bytes_per_ns of a target is above 0"),
        ({"matmul": "cublas"}, "matmul of a target is 'registers', 'blas' or 'blocks', got 'cublas'"),
    ],
)
def test_numbers_that_no_machine_has_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(TargetError, match=message):
        replace(DEFAULT_TARGET, **wrong)


def test_the_name_that_a_report_prints_is_taken_as_a_target():
    assert str(planned("cpu:avx2").report.target) == "cpu:avx2"
    with pytest.raises(TargetError, match="there is no CPU target 'avx9'"):
        planned("cpu:avx9")


def test_the_text_of_a_target_with_other_cores_makes_it_again():
    many = replace(Target.cpu("neon"), cores=16)
    assert repr(many) == "dataclasses.replace(Target.cpu('neon'), cores=16)"
    assert many.whole_rounds(17) == 32
    assert Target.cpu("neon").whole_rounds(17) == 17


def test_a_target_has_a_whole_number_of_cores():
    for cores in (0, 1.5, 2000):
        with pytest.raises(TargetError, match="cores of a target"):
            replace(DEFAULT_TARGET, cores=cores)


def test_products_and_rows_have_a_part_for_each_of_many_cores():
    for cores in (6, 12, 16, 64):
        many = replace(DEFAULT_TARGET, cores=cores)
        assert matmul_tiles.cut_product(1, 2048, 2048, 512, target=many).tiles % cores == 0
        rows = loop_nest.tile_rows(12 * 1024, 256, many)
        assert -(-12 * 1024 // rows) >= cores
        assert row_tiles.shared_rows(4096, 128, 128, many) <= -(-4096 // cores)
    assert matmul_tiles.cut_product(1, 128, 512, 784).tiles == 4
