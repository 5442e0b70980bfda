"""`GRADLOOM_FRONT_END`: which front end compiles, and that machine code by either computes the same bits."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import Array
from gradloom.runtime.codegen import front_end, object_code
from gradloom.runtime.codegen.kernel_cache import FunctionRequest, KernelRequest, compile_kernels
from gradloom.runtime.lowering.namespace import kernel_namespace
from gradloom.tools.bench.workloads import WORKLOADS, task
from op_cases import CASES
from op_programs import plain

VARIABLE = "GRADLOOM_FRONT_END"
ROWS = {name: [case for case in CASES if case.name == name] for name in {case.name for case in CASES}}


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that our own front end is given."""
    names: list[str] = []
    lower = object_code.lower

    def noted(function: Any, *others: Any) -> Any:
        names.append(function.__name__)
        return lower(function, *others)

    monkeypatch.setattr(object_code, "lower", noted)
    monkeypatch.setenv("GRADLOOM_CACHE", "0")
    return names


def test_the_variable_says_which_front_end_compiles(lowered: list[str], monkeypatch: pytest.MonkeyPatch):
    for value, number, expected in (("", 1, ["kernel"]), ("own", 2, ["kernel"]), ("numba", 3, [])):
        monkeypatch.setenv(VARIABLE, value)
        source = f"def kernel(block):\n    return word(block, 0) + {number}\n"
        compile_kernels([KernelRequest(source, "kernel", kernel_namespace, salt="which")])
        assert lowered == expected
        lowered.clear()


def test_kernels_and_functions_have_a_key_for_each_front_end(monkeypatch: pytest.MonkeyPatch):
    requests = [
        KernelRequest("def kernel(block):\n    return block\n", "kernel", {}),
        FunctionRequest("gradloom.runtime.cpu.driver", "drive", "int64(int64)", "salt"),
    ]
    names = [request.key().name for request in requests]
    monkeypatch.setenv(VARIABLE, "own")
    assert [request.key().name for request in requests] == names
    monkeypatch.setenv(VARIABLE, "numba")
    assert not {request.key().name for request in requests} & set(names)


def test_an_unknown_front_end_is_refused_with_the_names_of_those_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "nubma")
    message = r"GRADLOOM_FRONT_END='nubma' is no front end; write GRADLOOM_FRONT_END=numba or GRADLOOM_FRONT_END=own"
    with pytest.raises(ValueError, match=message):
        front_end.front_end()
    with pytest.raises(ValueError, match=message):
        gl.compile(lambda x: x + 1)(np.zeros(3))


@pytest.mark.slow
@pytest.mark.front_ends
@pytest.mark.parametrize("name", sorted(ROWS))
def test_both_front_ends_give_every_row_of_an_op_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch):
    program = plain(ROWS[name])
    results: list[list[Array]] = []
    for value in ("own", "numba"):
        monkeypatch.setenv(VARIABLE, value)
        results.append(run_compiled(program.b.graph(program.outputs), *program.arrays))
    for case, own, numba in zip(program.rows, *results, strict=True):
        assert own.tobytes() == numba.tobytes(), case


@pytest.mark.slow
@pytest.mark.front_ends
@pytest.mark.parametrize("name", WORKLOADS)
def test_both_front_ends_train_a_workload_to_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch):
    results: list[dict[str, Array]] = []
    for value in ("own", "numba"):
        monkeypatch.setenv(VARIABLE, value)
        workload = task(name)
        step = gl.compile_step(*workload.ingredients[:3], workload.batch, threads=2)
        for _ in range(2):
            step(workload.batch)
        results.append(step.parameters())
    own, numba = results
    assert own.keys() == numba.keys()
    for parameter in own:
        assert own[parameter].tobytes() == numba[parameter].tobytes(), parameter
