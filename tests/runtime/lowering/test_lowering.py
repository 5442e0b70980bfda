"""Every op, lowered: its kernels as plain Python first, then as machine code, against the interpreter."""

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import Builder, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.runtime.lowering.launch_list import lower
from op_cases import CASES
from op_programs import plain, unjitted, wrong_rows

ROWS = {name: [case for case in CASES if case.name == name] for name in {case.name for case in CASES}}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_un_jitted_kernels_compute_what_the_interpreter_does(name: str):
    assert not wrong_rows(plain, ROWS[name], unjitted)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_machine_code_computes_what_the_interpreter_does(name: str):
    assert not wrong_rows(plain, ROWS[name], run_compiled)


def sources(build, shape, dtype="float32"):
    """The kernels of a function of one array."""
    b = Builder()
    x = b.input(spec(shape, dtype), "x")
    graph = b.graph([build(b, x)])
    return set(lower(plan(run_passes(graph), 1)).sources())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_numbers_that_are_added_and_multiplied_make_no_other_kernel(dtype):
    def scaled(factor):
        return lambda b, x: ew.add(b, ew.mul(b, x, b.full_like(x, factor)), b.full_like(x, 0.3))

    assert sources(scaled(0.25), (6, 5), dtype) == sources(scaled(-7.5), (6, 5), dtype)
    assert sources(scaled(0.25), (6, 5), dtype) != sources(scaled(1.0), (6, 5), dtype)  # which is no product
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(dtype)
    b = Builder()
    graph = b.graph([scaled(1e-3)(b, b.input(spec((6, 5), dtype), "x"))])
    (actual,) = run_compiled(graph, x, threads=1)
    np.testing.assert_array_equal(actual, x * x.dtype.type(1e-3) + x.dtype.type(0.3))


def test_a_region_of_one_element_has_loops_that_run_once():
    (source,) = sources(lambda b, x: ew.sqrt(b, x), ())
    assert "range(1)" in source
    assert "    n = 1\n" in source
