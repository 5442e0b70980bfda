"""Whole training steps of random models under random budgets: sound plans, the same bits, and no surprises."""

from __future__ import annotations

from random import Random
from typing import Any

import gradloom as gl
import pytest
from random_models import random_step


def options(seed: int) -> dict[str, Any]:
    random = Random(-seed)
    return {"threads": random.randint(1, 3), "clip_norm": random.choice([None, None, 1.0])}


def budgets(seed: int, least: int, most: int) -> list[int]:
    """The least that fits, all of it, and some between."""
    random = Random(seed)
    return sorted({least, most, *(random.randint(least, most) for _ in range(4))})


def planned(seed: int, memory: int | None = None) -> gl.MemoryReport:
    report = gl.plan_step(*random_step(Random(seed)), memory=memory, **options(seed)).report
    report.check()
    return report


def least_bytes(seed: int) -> int:
    with pytest.raises(gl.MemoryBudgetError) as refused:
        planned(seed, 1)
    return refused.value.least_bytes


def check_budgets(seed: int) -> None:
    """Every budget down to the least is kept; with more memory nothing takes longer, or is computed again more often,
    as long as the bits are those of the step without a budget, which computes again only what the user asks for.
    """
    least, total = least_bytes(seed), planned(seed).total_bytes
    slowest, most = float("inf"), float("inf")
    for memory in budgets(seed, least, total):
        report = planned(seed, memory)
        assert report.total_bytes <= memory
        if not report.other_bits:
            assert report.slowdown <= slowest
            assert memory == total or report.recompute_flops <= most
            slowest, most = report.slowdown, report.recompute_flops
    assert slowest == 0.0
    with pytest.raises(gl.MemoryBudgetError) as refused:
        planned(seed, least - 1)
    assert refused.value.least_bytes == least


def results(seed: int, memory: int | None) -> tuple[list[bytes], gl.MemoryReport]:
    model, loss_fn, optimizer, batch = random_step(Random(seed))
    step = gl.compile_step(model, loss_fn, optimizer, batch, memory=memory, **options(seed))
    losses = [step(batch).tobytes() for _ in range(2)]
    return [*losses, *(array.tobytes() for array in step.parameters().values())], step.report


@pytest.mark.parametrize("seed", [6, 15])
def test_random_models_keep_every_budget(seed: int):
    check_budgets(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_many_random_models_keep_every_budget_with_the_same_bits(seed: int):
    check_budgets(seed)
    free, report = results(seed, None)
    least = least_bytes(seed)
    for memory in (least, (least + report.total_bytes) // 2):
        made, tight = results(seed, memory)
        assert tight.other_bits or made == free
