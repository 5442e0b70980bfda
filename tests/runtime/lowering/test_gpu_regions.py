"""Regions on a GPU, whose threads share rows of every length: in the emulator, each access checked."""

from dataclasses import replace

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gpu_target import GPU_TARGET
from gradloom.ir import interpret
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram

LARGE = replace(Target.cuda(), workers=3)
"""A real GPU, of which three blocks run at a time."""


def run(target, function, *arrays):
    """What a function computes on a GPU, and what the interpreter does."""
    graph = gl.trace(function, *arrays)
    plan = plan_graph(graph, target=target)
    check_plan(plan)
    program = EmulatedProgram(plan, allocate(plan.arena_bytes))
    return run_executable(program, graph, arrays)[0], interpret(graph, *arrays)


def compare(target, function, *arrays):
    for actual, wanted in zip(*run(target, function, *arrays), strict=True):
        rounding = 1e-5 * max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)))
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=rounding)


def rows_of(x):
    """A softmax with what else rows and columns have: outputs of every kind, sums over either side and over all."""
    highest = x.max(axis=1, keepdims=True)
    weights = np.exp(x - highest)
    softmax = weights / weights.sum(axis=1, keepdims=True)
    return softmax, softmax.sum(axis=0), (softmax * x).sum(axis=0), highest


def kinds_of(x):
    """Reductions of other dtypes, and the places of extremes."""
    near = np.abs(x) < 1
    return near.any(axis=1), near.all(axis=1), x.argmax(axis=1), x.argmin(axis=1), np.where(near, 1, -1).sum(axis=1)


SHAPES = [(1, 1), (33, 2), (5, 31), (70, 32), (257, 33), (7, 129), (9, 257), (3, 1025), (2, 5000)]


@pytest.mark.parametrize("target", [GPU_TARGET, LARGE], ids=["small", "large"])
def test_rows_of_every_length(target):
    rng = np.random.default_rng(0)
    shapes = SHAPES if target is LARGE else SHAPES[:6]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    compare(target, lambda *xs: [part for x in xs for part in rows_of(x)], *arrays)
    compare(target, lambda *xs: [part for x in xs for part in kinds_of(x)], *arrays[1::2])


def test_rows_that_no_chip_holds_are_in_the_arena():
    x = np.random.default_rng(1).standard_normal((3, 9000))
    compare(LARGE, lambda x: rows_of(x) + kinds_of(x), x)


def test_no_rows_and_no_columns():
    for shape in ((0, 5), (5, 0), (0, 0)):
        x = np.zeros(shape, np.float32)
        compare(LARGE, lambda x: (np.exp(x), x.sum(axis=1), x.sum(axis=0), x.sum(), np.exp(x) * 2 + x), x)


def test_sums_of_everything_and_over_a_middle_axis():
    rng = np.random.default_rng(2)
    flat = [rng.standard_normal(n).astype(np.float32) for n in (1, 31, 1025, 40000)]
    blocks = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 5, 7), (2, 600, 33), (2, 3, 300))]
    compare(LARGE, lambda *xs: [(x * x).sum() for x in xs], *flat)
    compare(LARGE, lambda *xs: [part for x in xs for part in (np.exp(x).sum(axis=1), x.max(axis=1))], *blocks)


def test_a_sum_has_the_same_bits_with_and_without_others_beside_it():
    x = np.random.default_rng(3).standard_normal((100, 70)).astype(np.float32)
    (alone,), _ = run(LARGE, lambda x: (x.sum(axis=1),), x)
    (beside, *_), _ = run(LARGE, lambda x: (x.sum(axis=1), x.max(axis=1), x.sum(axis=0), np.exp(x)), x)
    np.testing.assert_array_equal(alone, beside)
    blocks = replace(LARGE, workers=7)
    for one, other in zip(run(LARGE, rows_of, x)[0], run(blocks, rows_of, x)[0], strict=True):
        np.testing.assert_array_equal(one, other)
