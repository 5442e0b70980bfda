"""What holds for the pipeline on any graph: each pass keeps the values, and so do plan, kernels and machine code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import Array, Graph, interpret, parse, verify
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import in_bodies, pipeline, run_passes
from gradloom.passes.target import DEFAULT_TARGET, Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.lowering import data_movement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import random_inputs
from random_steps import step_graphs
from small_target import SMALL_TARGET
from unjitted import run_unjitted


def assert_close(actual: Array, expected: Array) -> None:
    """Equal but for rounding; a sum of many terms may be rounded in another order."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    relative = {"float32": 1e-4, "float64": 1e-11}.get(actual.dtype.name, 0)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0) if actual.dtype != bool else 1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * scale)


def assert_same_values(graph: Graph, before: Graph) -> None:
    arrays = random_inputs(before)
    for actual, expected in zip(interpret(graph, *arrays), interpret(before, *arrays), strict=True):
        assert_close(actual, expected)


@settings(max_examples=100)
@given(step_graphs(scans=True))
def test_each_pass_keeps_the_values(graph: Graph):
    for step in pipeline():
        after = in_bodies(step(graph), step)
        verify(after, after=step.name)
        assert after.aliases == graph.aliases
        assert after.output_names == graph.output_names
        assert [v.type for v in after.inputs] == [v.type for v in graph.inputs]
        assert str(parse(str(after))) == str(after)
        assert_same_values(after, graph)
        graph = after


@pytest.fixture(params=["tiles of 5 elements", "tiles as they are"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Small tiles and chunks make many of them even of small arrays."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tiles of 5 elements":
            patch.setattr(data_movement, "TILE_ELEMENTS", 5)
            yield SMALL_TARGET
        else:
            yield DEFAULT_TARGET


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=step_graphs(), threads=st.sampled_from([1, 3]), outputs_in_arena=st.booleans())
def test_every_plan_passes_its_verifier_and_its_kernels_compute_the_values(
    target: Target, graph: Graph, threads: int, outputs_in_arena: bool
):
    made = plan(run_passes(graph, pipeline(target=target)), threads, outputs_in_arena, target=target)
    check_plan(made)
    arrays = random_inputs(graph)
    for actual, expected in zip(run_unjitted(made, *arrays), interpret(graph, *arrays), strict=True):
        assert_close(actual, expected)


@settings(max_examples=8)
@given(step_graphs(scans=True))
def test_machine_code_computes_the_values_with_the_same_bits_for_any_number_of_threads(graph: Graph):
    arrays = random_inputs(graph)
    first = run_compiled(graph, *arrays)
    for actual, expected in zip(first, interpret(graph, *arrays), strict=True):
        assert_close(actual, expected)
    for threads in (1, 2, 4):
        for actual, before in zip(run_compiled(graph, *arrays, threads=threads), first):
            assert actual.tobytes() == before.tobytes()


def test_each_stage_is_written_down_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_DUMP", str(tmp_path))
    graph = parse("graph(%x: f32[4]) {\n  %0: f32[4] = add(%x, %x)\n  %1: f32[4] = add(%x, %x)\n  return %0, %1\n}")
    found = run_passes(graph)
    files = sorted(tmp_path.iterdir())
    assert [file.stem.partition("_")[2] for file in files] == ["traced", *(step.name for step in pipeline())]
    assert files[0].read_text().strip() == str(graph).strip()
    assert files[-1].read_text().strip() == str(found).strip()
