"""A budget that may round what the backward reads, beside recomputing it."""

from __future__ import annotations

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.passes.target import Target

AVX512 = Target.cpu("avx512")
"""Whose plans of the recipe recompute where they do not round: others have smaller tiles instead."""


def recipe():
    layers = [layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.Tanh())]
    batch = {"x": np.random.default_rng(0).normal(size=(512, 64)).astype("float32")}
    return nn.Sequential(*layers), lambda m, b: gl.numpy.mean(m(b["x"]) ** 2), gl.optim.SGD(lr=0.1), batch


def test_it_rounds_where_that_takes_less_time_or_nothing_else_fits():
    free = gl.plan_step(*recipe(), target=AVX512, threads=1)
    rounded = gl.plan_step(*recipe(), target=AVX512, threads=1, precision={"kept": "bf16"})
    assert rounded.report.total_bytes < free.report.total_bytes
    for memory in (free.report.total_bytes, "100%"):
        enough = gl.plan_step(*recipe(), target=AVX512, threads=1, memory=memory, allow="bf16")
        assert enough.report.precision == "fp32"
        assert not enough.report.other_bits
    memory = (rounded.report.total_bytes + free.report.total_bytes) // 2
    exact = gl.plan_step(*recipe(), target=AVX512, threads=1, memory=memory)
    chosen = gl.plan_step(*recipe(), target=AVX512, threads=1, memory=memory, allow="bf16")
    assert exact.report.precision == "fp32"
    assert exact.slowdown > 0
    assert chosen.report.precision == "kept=bf16"
    assert chosen.report.total_bytes <= memory
    assert "stores what the backward reads in bfloat16" in chosen.report.other_bits
    assert "other bits: it stores what the backward reads" in " ".join(str(chosen.report).split())


def test_such_a_step_runs_with_the_bits_of_the_precision_that_it_chose():
    rounded = gl.compile_step(*recipe(), precision={"kept": "bf16"})
    memory = rounded.report.total_bytes
    chosen = gl.compile_step(*recipe(), memory=memory, allow="bf16")
    assert chosen.report.precision == "kept=bf16"
    batch = recipe()[-1]
    assert [chosen(batch) for _ in range(3)] == [rounded(batch) for _ in range(3)]
    gradients = rounded.gradients(batch)
    for name, gradient in chosen.gradients(batch).items():
        np.testing.assert_array_equal(gradient, gradients[name])
    longer = {"x": np.concatenate([batch["x"], batch["x"][:64]])}
    assert np.isfinite(chosen(longer))


def test_padded_batches_and_float16_are_rounded_too():
    memory = gl.plan_step(*recipe(), precision={"kept": "fp16"}).report.total_bytes
    chosen = gl.compile_step(*recipe(), memory=memory, allow="float16", shapes="bucket")
    assert chosen.report.precision == "kept=fp16"
    assert "in float16, as allow=" in chosen.report.other_bits
    x = recipe()[-1]["x"]
    assert all(np.isfinite(chosen({"x": x[:rows]})) for rows in (512, 300, 290))


def test_what_fits_neither_way_is_refused():
    with pytest.raises(gl.MemoryBudgetError, match="the step needs"):
        gl.plan_step(*recipe(), memory="5%", allow="bf16")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow": "bf16"}, "is for a budget; write memory= too, or precision=dict"),
        ({"memory": "80%", "allow": "fp8"}, "got 'fp8'"),
    ],
)
def test_it_is_for_budgets_alone(options: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        gl.plan_step(*recipe(), **options)
