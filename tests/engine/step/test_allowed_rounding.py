"""A budget that may round what the backward reads, beside recomputing it."""

from __future__ import annotations

from itertools import pairwise

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.report.schema import MemoryReport, RoundedReport
from gradloom.engine.step.budget import Budget
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
    assert "of the 6 values that the backward reads in bfloat16" in chosen.report.other_bits
    assert "other bits: it stores 2 of the 6 values" in " ".join(str(chosen.report).split())


def test_no_more_values_are_rounded_than_a_budget_needs():
    free = gl.plan_step(*recipe(), target=AVX512, threads=1).report
    rounded = gl.plan_step(*recipe(), target=AVX512, threads=1, precision={"kept": "bf16"}).report
    assert not free.rounded
    assert not rounded.rounded  # without a budget there is no choice
    before: tuple[RoundedReport, ...] = ()
    counts: list[int] = []
    for part in np.linspace(1, 0.88, 9):
        memory = int(part * free.total_bytes)
        report = gl.plan_step(*recipe(), target=AVX512, threads=1, memory=memory, allow="bf16").report
        assert report.total_bytes <= memory
        assert report.rounded[: len(before)] == before, "a smaller budget rounds more values of one order"
        assert bool(report.rounded) == (report.precision == "kept=bf16") == bool(report.other_bits)
        before = report.rounded
        counts.append(len(before))
    assert {0, 1, 2, 3, 4} <= set(counts)
    assert not report.recompute_flops, "recomputing takes more time"
    least, tight = (
        gl.plan_step(*recipe(), target=AVX512, threads=1, memory="75%", **options).report
        for options in ({}, {"allow": "bf16"})
    )
    assert tight.rounded
    assert tight.slowdown < least.slowdown


def test_the_report_names_what_a_budget_rounds():
    widths = (16, 96, 32, 128, 48, 64, 16)
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.Tanh())]
    batch = {"x": np.zeros((512, 16), np.float32)}
    of_step = nn.Sequential(*layers), lambda m, b: gl.numpy.mean(m(b["x"]) ** 2), gl.optim.SGD(), batch
    report = gl.plan_step(*of_step, target=AVX512, threads=1, memory="99%", allow="bf16").report
    first = report.rounded[0]
    assert (first.name, first.scope, first.bytes, first.type) == ("tanh", "5", 2 * 512 * 128, "f32[512,128]")
    assert first.source.partition(":")[0].endswith("test_allowed_rounding.py")
    assert "rounded: tanh of 5 131.07 kB" in " ".join(str(report).split())
    again = MemoryReport.from_json(report.to_json())
    assert again.rounded == report.rounded
    assert str(again) == str(report)
    free = gl.plan_step(*of_step).report
    assert "rounded" not in free.to_json()
    assert MemoryReport.from_json(free.to_json()).rounded == ()


def test_the_bits_of_such_a_step_follow_from_what_is_rounded():
    # How much a target needs before it rounds some of them differs.
    parts = ("97%", "94%", "90%", "85%", "80%", "70%")
    plans = (gl.plan_step(*recipe(), memory=part, allow="bf16", threads=1).report for part in parts)
    part, count = next((part, len(report.rounded)) for part, report in zip(parts, plans) if report.rounded)
    one, two = (gl.compile_step(*recipe(), memory=part, allow="bf16", threads=n) for n in (1, 2))
    assert 0 < count == len(one.report.rounded)
    batch = recipe()[-1]
    exact = gl.compile_step(*recipe())
    one._budget = Budget()  # gradients, which are all there at once, take more bytes than the step
    gradients, wide, before = one.gradients(batch), exact.gradients(batch), one.parameters()
    losses = [one(batch)]
    np.testing.assert_allclose(losses, exact(batch), rtol=1e-6)  # the forward rounds nothing
    others = 0
    for name, after in one.parameters().items():
        updated = before[name] - np.float32(0.1) * gradients[name]
        np.testing.assert_allclose(after, updated, rtol=1e-6, atol=1e-8, err_msg=name)
        others += not np.array_equal(gradients[name], wide[name])
    assert others
    if one.report.rounded == two.report.rounded and "tiles of" not in two.report.other_bits:
        assert [*losses, one(batch), one(batch)] == [two(batch) for _ in range(3)]
    longer = {"x": np.concatenate([batch["x"], batch["x"][:64]])}
    assert np.isfinite(one(longer))


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
