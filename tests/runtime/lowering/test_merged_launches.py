"""Launches of a GPU merged into fewer: which are, what the merged ones compute, and whom they name."""

from dataclasses import replace

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn, optim
from gradloom.nn import functional as F
from gradloom.passes.kernels import cost
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from gradloom.runtime.lowering import launch_list
from gradloom.runtime.lowering.launch_list import lower
from gradloom.tools.find_recipe import make_recipe

TARGET = replace(Target.cuda(emulated=True), workers=5)


def launches(plan):
    return [launch for launch, _ in lower(plan).launches() if launch.tiles]


def compare(monkeypatch, function, *arrays):
    """Runs a function with merged launches and without: the bits are the same. Returns the launches of both."""
    graph = gl.trace(function, *arrays)
    plan = plan_graph(graph, target=TARGET)
    found = []
    for merges in (True, False):
        with monkeypatch.context() as patch:
            if not merges:
                patch.setattr(launch_list, "merge_launches", lambda phases, plan: None)
            program = EmulatedProgram(plan, allocate(plan.arena_bytes))
            found.append((launches(plan), run_executable(program, graph, arrays)[0]))
    (merged, results), (all_of_them, others) = found
    for one, other in zip(results, others, strict=True):
        assert one.tobytes() == other.tobytes()
    return merged, all_of_them


def test_launches_of_one_kernel_are_one_over_the_tiles_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (1025, 0, 3000, 257, 5000)]
    merged, before = compare(monkeypatch, lambda *xs: [np.exp(x) * 2 for x in xs], *arrays)
    assert (len(merged), len(before)) == (1, 4)
    assert merged[0].tiles == sum(launch.tiles for launch in before)
    assert len(merged[0].units) == 4


def test_kernels_that_share_memory_and_others_beside_them_are_one(monkeypatch):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((rows, 300)).astype(np.float32) for rows in (3, 6, 1)]
    merged, before = compare(monkeypatch, lambda *xs: [x.sum(axis=1) for x in xs] + [np.tanh(xs[0])], *arrays)
    assert (len(merged), len(before)) == (1, 4)
    assert "shared_f32" in merged[0].calls[0].source


def test_scalars_that_depend_on_each_other_are_one_block_in_turn(monkeypatch):
    def scalars(x, y):
        total = (x * x).sum()
        root = np.sqrt(total)
        share = x / root
        high = (share * y).max()
        return share * high, np.exp(high - y).sum() + root

    x, y = np.random.default_rng(2).standard_normal((2, 50)).astype(np.float32)
    merged, before = compare(monkeypatch, scalars, x, y)
    assert len(merged) == 1
    assert merged[0].tiles == 1
    assert len(before) > 2


def test_a_table_longer_than_a_kernels_words_is_several(monkeypatch):
    arrays = [np.full(2000 + i, i, np.float32) for i in range(130)]
    merged, before = compare(monkeypatch, lambda *xs: [np.tanh(x) for x in xs], *arrays)
    assert 1 < len(merged) < 8
    assert len(before) == 130
    assert all(len(launch.calls[0].args) < 500 for launch in merged)


def test_updates_of_all_parameters_of_a_step_are_few_launches_and_a_trap_comes_first():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((9, 6)).astype(np.float32), rng.integers(0, 4, 9)
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(6)), nn.Linear(6, 4))
    step = gl.compile_step(
        model,
        lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]),
        optim.AdamW(0.01),
        (gl.spec(x.shape), gl.spec(y.shape, y.dtype)),
        target="cuda-emulated",
    )
    step((x, y))
    before = [np.array(value) for value in step.state_dict().values()]
    with pytest.raises(IndexError, match="out of range for 4 entries"):
        step((x, np.where(np.arange(9) == 5, 4, y)))
    for value, now in zip(before, step.state_dict().values(), strict=True):
        np.testing.assert_array_equal(value, np.asarray(now))


@pytest.mark.parametrize("recipe", ["mlp_s", "cnn"])
def test_the_model_of_costs_counts_about_as_many_launches(recipe):
    plan = gl.plan_step(*make_recipe(recipe), target="cuda:sm_90").plan
    items = [item for unit, _ in lower(plan).units() for stage in launch_list.stages_of(unit) for item in stage]
    guessed = sum(cost.launches(node, plan.target) for node in plan.graph.nodes if node.op.has_kernel)
    assert 0.75 < guessed / len(items) < 1.33
