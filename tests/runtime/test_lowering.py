"""Every op, lowered: its kernels as plain Python first, then as machine code, against the interpreter."""

import pytest
from compiled import run_compiled
from gradloom.ir import interpret
from gradloom.passes.pipeline import run_passes
from gradloom.passes.plan import plan
from op_cases import CASES, OpCase, assert_matches, sample
from unjitted import run_unjitted


@pytest.mark.parametrize("case", CASES, ids=str)
def test_un_jitted_kernels_compute_what_the_interpreter_does(case: OpCase):
    graph, arrays = case.graph(), sample(case)
    (expected,) = interpret(graph, *arrays)
    (actual,) = run_unjitted(plan(run_passes(graph), threads=3), *arrays)
    assert_matches(case, actual, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_machine_code_computes_what_the_interpreter_does(case: OpCase):
    graph, arrays = case.graph(), sample(case)
    (expected,) = interpret(graph, *arrays)
    (actual,) = run_compiled(graph, *arrays)
    assert_matches(case, actual, expected)
