"""Launches: what lowering makes of units names kernels, memory and routines, and no machine."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from gradloom.ir import OPS, Builder, Graph, Value, spec
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.target import DEFAULT_TARGET, Target
from gradloom.runtime.cpu.tables import Tables
from gradloom.runtime.lowering.launch import Call, KernelAddress, Launch, Pointer, Routine, Scratch, Tile
from gradloom.runtime.lowering.launch_list import LaunchList, Loop, lower
from op_cases import CASES

Build = Callable[[Builder, Value, Value], Value]


def lowered(
    build: Build, dtype: str = "float32", shape: tuple[int, int] = (6, 6), target: Target = DEFAULT_TARGET
) -> LaunchList:
    """The launches of a function of two arrays."""
    b = Builder()
    x, y = b.input(spec(shape, dtype)), b.input(spec(shape, dtype))
    return lower(plan(run_passes(b.graph([build(b, x, y)])), 2, target=target))


def launches(of: LaunchList) -> Iterator[Launch]:
    for phase in of.phases:
        for unit in phase:
            for stage in unit.before if isinstance(unit, Loop) else unit:
                yield from stage
            if isinstance(unit, Loop):
                yield from launches(unit.body)


def calls(of: LaunchList) -> list[Call]:
    return [call for launch in launches(of) for call in launch.calls]


def product(b: Builder, x: Value, y: Value) -> Value:
    return b.emit(OPS["dot"], x, y, contract=((1,), (0,)), batch=((), ()))


@pytest.mark.parametrize(("dtype", "routines"), [("float32", {"sgemm"}), ("float64", {"dgemm"}), ("int64", set())])
def test_a_product_names_the_routine_that_multiplies(dtype: str, routines: set[str]):
    for target, named in ((replace(DEFAULT_TARGET, matmul="blas"), routines), (DEFAULT_TARGET, set[str]())):
        found = [arg for call in calls(lowered(product, dtype, (5, 5), target)) for arg in call.args]
        assert {arg.name for arg in found if isinstance(arg, Routine)} == named


def test_what_is_concatenated_is_copied_by_concurrent_launches():
    concatenated = lowered(lambda b, x, y: b.emit(OPS["concatenate"], x, y, axis=0))
    (stage,) = (stage for phase in concatenated.phases for unit in phase for stage in unit)
    assert [launch.concurrent for launch in stage] == [False, True]
    targets = [call.args[4] for launch in stage for call in launch.calls]
    assert [target.offset for target in targets] == [0, 6 * 6 * 4]


def test_a_check_is_a_trap_with_a_code_of_its_own():
    b = Builder()
    x, i, j = b.input(spec((5, 4), "float32")), b.input(spec((3,), "int64")), b.input(spec((3, 2), "int64"))
    graph = b.graph([b.emit(OPS["gather"], x, i, axis=0, batch=0), b.emit(OPS["gather"], x, j, axis=1, batch=0)])
    gathers = lower(plan(run_passes(graph), 2))
    assert [(trap.node.op.name, trap.size) for trap in gathers.traps.entries] == [("gather", 5), ("gather", 4)]
    assert [call.args[0] for call in calls(gathers)] == [1, 2]


def loop(length: int) -> Graph:
    body = Builder()
    h, x = body.input(spec((3, 4), "float32")), body.input(spec((3, 4), "float32"))
    body_graph = body.graph([body.emit(OPS["tanh"], body.emit(OPS["add"], h, x))])
    b = Builder()
    h, x = b.input(spec((3, 4), "float32")), b.input(spec((length, 3, 4), "float32"))
    attrs = {"body": body_graph, "consts": 0, "carries": 1, "length": length, "reverse": True}
    return b.graph([b.emit_node(OPS["scan"], h, x, **attrs).outputs[0]])


def test_a_loop_has_the_launches_of_its_body_once_and_its_iterations_in_their_order():
    (unit,) = (unit for phase in lower(plan(run_passes(loop(5)), 2)).phases for unit in phase)
    assert isinstance(unit, Loop)
    assert list(unit.iterations) == [4, 3, 2, 1, 0]
    assert len(list(launches(unit.body))) == len(list(launches(lower(plan(run_passes(loop(9)), 2)).phases[0][0].body)))


def test_every_op_is_lowered_to_launches_that_a_target_can_encode():
    """Arguments are of the kinds that launches have, and the words of the CPU's tables are as many."""
    for case in CASES[::7]:
        of_case = lower(plan(run_passes(case.graph()), 3))
        for call in calls(of_case):
            for arg in call.args:
                assert isinstance(arg, (int, Tile, Pointer, Scratch, KernelAddress, Routine)), (case, arg)
                assert not isinstance(arg, Pointer) or arg.value in of_case.plan.locations, case
                assert not isinstance(arg, Scratch) or arg.offset <= of_case.plan.arena_bytes, case
        tables = Tables(of_case, dict.fromkeys(of_case.sources(), 1)).arrays()
        assert len(tables["launches"]) == len(list(launches(of_case)))
        assert len(tables["args"]) == sum(len(call.args) for call in calls(of_case))
        assert (np.asarray(tables["calls"])[:, 0] == 1).all()
