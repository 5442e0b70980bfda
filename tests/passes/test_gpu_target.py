"""A GPU is a target: plans for it are made on any machine, verified, and have none of a CPU's tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import gradloom as gl
import pytest
from gradloom.passes.cards import CARDS, TYPICAL
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import pipeline, plan_graph, preparation
from gradloom.passes.target import DEFAULT_TARGET, LIBRARIES, Target, TargetError
from gradloom.passes.variants import tile_preparation
from gradloom.passes.verify.plan import check_plan
from gradloom.tools.find_recipe import make_recipe
from hypothesis import given, settings
from random_steps import step_graphs

NAMES = (*TYPICAL, *CARDS)
ON_A_GPU = (
    "regather-parameters split-complex merge-scans push-casts widen-bfloat16 simplify row-sparse-updates "
    "distribute-scans push-slices simplify channels-last accumulate tile-batch tile-logits fuse-attention push-casts "
    "canonicalize narrow-products fuse-library-epilogue loop-parts lower-collectives min-cut-remat own-casts fuse "
    "fuse-block-epilogue fuse-concat schedule overlap-messages"
)
"""The pipeline; `tile-batch` is there for budgets, and leaves the graph as it is."""


def all_plans(made: Plan) -> Iterator[Plan]:
    yield made
    for body in (body for bodies in made.bodies.values() for body in bodies):
        yield from all_plans(body)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_a_target(name: str):
    target, card = Target.cuda(name), CARDS[TYPICAL.get(name, name)]
    assert (target.device, str(target), repr(target)) == ("cuda", f"cuda:{name}", f"Target.cuda({name!r})")
    assert {target: 1}[Target.cuda(name)] == 1
    assert (target.is_gpu, DEFAULT_TARGET.is_gpu) == (True, False)
    assert (target.capability, target.device_bytes, target.line_bytes) == (card.capability, card.memory_bytes, 256)
    assert target.workers == 4 * card.multiprocessors
    # Rates are of one worker, and make up those of the card.
    assert target.workers * target.memory_bytes_per_ns == pytest.approx(card.memory_bytes_per_ns)
    assert target.workers * target.matmul_flops_per_ns == pytest.approx(card.fp32_flops_per_ns)


def test_the_typical_card_has_the_capability():
    assert all(CARDS[card].capability == name for name, card in TYPICAL.items())
    assert Target.cuda() == Target.cuda("sm_90")


def test_an_emulated_gpu_has_the_same_numbers():
    emulated = Target.cuda("a100", emulated=True)
    assert (str(emulated), repr(emulated)) == ("cuda-emulated:a100", "Target.cuda('a100', emulated=True)")
    assert replace(emulated, device="cuda", libraries=LIBRARIES) == Target.cuda("a100")


def test_an_unknown_gpu_is_an_error_that_lists_the_names():
    message = r"no GPU target 'h900'; similar: h100, h200; there are 'sm_80', .*'h100', .*'rtx4090'"
    with pytest.raises(TargetError, match=message):
        gl.Target.cuda("h900")


def test_the_passes_of_cpus_stand_aside_on_a_gpu():
    target = Target.cuda()
    assert " ".join(step.name for step in pipeline(target=target)) == ON_A_GPU
    assert len(pipeline()) > len(pipeline(target=target))


def test_segments_of_time_run_on_a_gpu_where_a_budget_asks_for_them():
    target = Target.cuda()
    assert "strip-mine-scans" not in {step.name for step in preparation(target=target)}
    assert "strip-mine-scans" in {step.name for step in preparation(target=target, tiles=True)}
    assert [step.name for step in tile_preparation(None, target)][-1] == "accumulate"


@pytest.mark.parametrize(
    ("recipe", "budgets"), [("mlp_s", [None]), ("cnn", [None, "70%"]), ("lstm_bench", [None, "70%"])]
)
def test_every_plan_of_a_recipe_is_for_the_gpu(recipe: str, budgets: list[str | None]):
    for memory in budgets:
        made = gl.plan_step(*make_recipe(recipe), memory=memory, target="cuda:h100")
        target = Target.cuda("h100")
        check_plan(made.plan)
        made.report.check()
        assert all(plan.target == target and plan.threads == target.workers for plan in all_plans(made.plan))
        assert not any(unit.op.is_conv_region for plan in all_plans(made.plan) for unit in plan.scratch)
        assert "phases on 132 SMs of cuda:h100\n" in str(made.report)
        assert "predicted on 132 SMs" in " ".join(str(made.report).split())
        again = gl.MemoryReport.from_json(made.report.to_json())
        assert again.target == target
        assert str(again) == str(made.report)


@settings(max_examples=20)
@given(step_graphs(scans=True))
def test_the_plan_of_any_step_passes_the_verifier(graph: gl.Graph):
    for target in (Target.cuda("sm_90"), replace(Target.cuda("l4"), workers=3, l1_bytes=48, l2_bytes=320)):
        check_plan(plan_graph(graph, target.workers or 1, True, target))


def test_smaller_tiles_on_a_gpu_are_told_with_the_time_that_their_plan_predicts():
    ingredients = make_recipe("lstm_bench")
    whole, tiled = (gl.plan_step(*ingredients, memory=memory, target="cuda:h100") for memory in (None, "50%"))
    assert tiled.report.other_bits
    times = [sum(unit.nanoseconds for unit in made.report.units if unit.loop is None) for made in (whole, tiled)]
    # The frontier of the smallest tiles counts what it recomputes a little less than the units of the report do.
    assert tiled.slowdown == pytest.approx(times[1] / times[0] - 1, rel=0.1)
