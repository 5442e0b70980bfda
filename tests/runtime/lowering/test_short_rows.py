"""Short rows are walked many at a time, with several accumulators: to the same bits whatever else a region computes."""

import numpy as np
import pytest
from compiled import run_executable
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable
from unjitted import run_unjitted

SHAPES = [(6, 5, 7, 3), (32, 8, 8, 16), (3, 30, 31, 10), (40, 12), (1000, 5), (4, 3, 2, 300), (2, 1, 1, 4), (3, 1)]


def sums(shape, dtype="float32", strided=False):
    """max(x - m, 0) * s and its sum for each channel; with another array beside it, whose channels come first."""
    b = Builder()
    x, m, s = b.input(spec(shape, dtype), "x"), b.input(spec(shape[-1:], dtype), "m"), b.input(spec((), dtype), "s")
    axes = tuple(range(len(shape) - 1))
    mean = b.emit(OPS["broadcast"], m, shape=shape, axes=(len(shape) - 1,))
    scale = b.emit(OPS["broadcast"], s, shape=shape, axes=())
    made = ew.mul(b, ew.relu(b, ew.sub(b, x, mean)), scale)
    outputs = [made, b.emit(OPS["reduce_sum"], made, axes=axes), b.emit(OPS["reduce_max"], x, axes=axes)]
    if strided:
        turned = b.input(spec(shape[::-1], dtype), "t")
        outputs.append(ew.add(b, made, b.emit(OPS["transpose"], turned, perm=tuple(range(len(shape)))[::-1])))
    return b.graph(outputs)


def arrays_for(graph):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(v.type.shape), v.type.dtype) for v in graph.inputs]


def run(graph, threads, arrays):
    made = plan(run_passes(graph), threads)
    check_plan(made)
    return made, run_executable(Executable(made), graph, arrays)[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_have_the_same_bits_whatever_is_beside_them(shape):
    alone, beside = sums(shape), sums(shape, strided=True)
    arrays = arrays_for(beside)
    _, first = run(alone, 1, arrays[:3])
    for threads in (2, 4):
        for one, two in zip(first, run(alone, threads, arrays[:3])[1], strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(first, run(beside, 2, arrays)[1][:3], strict=True):
        np.testing.assert_array_equal(one, two)
    exact = interpret(sums(shape, "float64"), *(a.astype(np.float64) for a in arrays[:3]))
    for one, two in zip(first, exact, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 5, 7, 3), (40, 12), (3, 30, 31, 10)])
@pytest.mark.parametrize("strided", [False, True])
def test_kernels_keep_to_the_memory_that_is_theirs(shape, strided):
    graph = sums(shape, "float64", strided)
    arrays = arrays_for(graph)
    made = plan(run_passes(graph), 2)
    check_plan(made)
    for one, two in zip(run_unjitted(made, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-11)


def test_short_rows_are_walked_together_unless_something_lies_otherwise():
    def nests(strided):
        graph = sums((32, 8, 8, 16), strided=strided)
        return [nest for nest in run(graph, 1, arrays_for(graph))[0].nests.values() if nest.crossings]

    assert all((nest.together, nest.accumulators) == (16, 16) for nest in nests(False))
    assert {(nest.together, nest.accumulators) for nest in nests(True)} >= {(1, 16)}
