"""Every op, lowered for a GPU: its kernels as plain Python on threads of Python, against the interpreter."""

import re

import numpy as np
import pytest
from gpu_emulated import run_emulated
from gpu_target import gpu_plan, run_on_threads
from gradloom.ir import OPS, Builder, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.ir.ops.reduction import reduce_sum
from gradloom.passes.kernels import scatter_sums
from gradloom.runtime.lowering.launch_list import lower
from op_cases import CASES, CPU_ONLY
from op_programs import plain, wrong_rows

ROWS = {name: [case for case in CASES if case.name == name] for name in {case.name for case in CASES} - CPU_ONLY}
# A row of each kind that the default suite runs: parts of sums, shared memory, traps, batches, strides, one thread.
SAMPLE = (
    "reduce_sum",
    "argmax",
    "dot",
    "gather",
    "pad",
    "conv",
    "scatter_add",
    "scatter_max",
    "window_put",
    "cumsum",
    "sort",
)


def sampled(name):
    """Some rows of an op, of all its forms."""
    return ROWS[name][:: max(1, len(ROWS[name]) // 8)]


@pytest.mark.parametrize("name", [name for name in SAMPLE if name in ROWS])
def test_kernels_compute_what_the_interpreter_does(name):
    assert not wrong_rows(plain, sampled(name), run_on_threads)


def test_sums_and_products_of_bytes_are_handed_on_as_int32():
    rows = [case for case in ROWS["reduce_sum"] + ROWS["reduce_prod"] if case.types[0].dtype == np.uint8]
    assert rows
    assert not wrong_rows(plain, rows, run_on_threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS))
def test_kernels_of_every_row_compute_what_the_interpreter_does(name):
    assert not wrong_rows(plain, ROWS[name], run_on_threads)


def test_every_row_lowers_to_one_call_a_launch_whose_arguments_are_constant_words():
    for name, rows in ROWS.items():
        program = plain(rows)
        lowered = lower(gpu_plan(program.b.graph(program.outputs)))
        for phase in lowered.phases:
            for launch in (launch for unit in phase for stage in unit for launch in stage):
                (call,) = launch.calls
                assert launch.threads == 1 or launch.threads % 32 == 0, name
                assert all(number.isdigit() for number in re.findall(r"word\(b, ([^)]*)\)", call.source)), name


def test_an_index_out_of_range_is_a_trap():
    b = Builder()
    x, at = b.input(spec((4, 2)), "x"), b.input(spec((3,), "int64"), "at")
    graph = b.graph([OPS["gather"](b, x, at, axis=0, batch=0)])
    with pytest.raises(IndexError):
        run_on_threads(graph, np.ones((4, 2), np.float32), np.array([0, 4, 1]))


def test_results_may_lie_over_what_they_are_made_of():
    b = Builder()
    x = b.input(spec((7, 50)), "x")
    doubled = ew.add(b, x, x)
    total = reduce_sum(b, doubled, axes=(1,))
    graph = b.graph([ew.mul(b, total, total), ew.sub(b, doubled, x)])
    data = np.random.default_rng(0).standard_normal((7, 50)).astype(np.float32)
    squares, same = run_on_threads(graph, data)
    np.testing.assert_allclose(squares, (2 * data).sum(1) ** 2, rtol=1e-5)
    np.testing.assert_array_equal(same, data)


@pytest.mark.parametrize("most_linked", [1 << 15, 100])
def test_many_updates_of_an_entry_are_added_up_by_links_or_in_groups(monkeypatch, most_linked):
    monkeypatch.setattr(scatter_sums, "_MOST_LINKED", most_linked)
    random = np.random.default_rng(0)
    x, updates = (random.standard_normal((n, 70)).astype(np.float32) for n in (300, 1500))
    at = random.integers(-300, 300, 1500) // random.integers(1, 9, 1500)
    b = Builder()
    given = [b.input(spec(a.shape, str(a.dtype)), name) for a, name in ((x, "x"), (at, "at"), (updates, "updates"))]
    graph = b.graph([OPS["scatter_add"](b, *given, axis=0, batch=0)])
    (actual,) = run_emulated(graph, x, at, updates)
    expected = x.astype(np.float64)
    np.add.at(expected, at, updates)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    with pytest.raises(IndexError):
        run_emulated(graph, x, np.full_like(at, 300), updates)


@pytest.mark.parametrize(("m", "k", "n"), [(65, 300, 70), (130, 17, 64), (3, 1, 100), (1, 600, 1)])
def test_products_of_any_size_are_whole(m, k, n):
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, k, m)), random.standard_normal((2, k, n))
    b = Builder()
    given = [b.input(spec(a.shape, str(a.dtype)), name) for a, name in ((x, "x"), (y, "y"))]
    graph = b.graph([OPS["dot"](b, *given, contract=((1,), (1,)), batch=((0,), (0,)))])
    (actual,) = run_emulated(graph, x, y)
    np.testing.assert_allclose(actual, x.transpose(0, 2, 1) @ y, atol=1e-12)
