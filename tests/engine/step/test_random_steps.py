"""Whole training steps of random models under random budgets: sound plans, the same bits, and no surprises."""

from __future__ import annotations

from random import Random
from typing import Any

import gradloom as gl
import pytest
from random_models import random_step


def options(seed: int, target: str | None) -> dict[str, Any]:
    random = Random(-seed)
    if target is not None:
        return {"target": target, "clip_norm": random.choice([None, None, 1.0])}
    return {"threads": random.randint(1, 3), "clip_norm": random.choice([None, None, 1.0])}


def budgets(seed: int, least: int, most: int) -> list[int]:
    """The least that fits, all of it, and some between."""
    random = Random(seed)
    return sorted({least, most, *(random.randint(least, most) for _ in range(4))})


def planned(seed: int, target: str | None, memory: int | None = None) -> gl.MemoryReport:
    report = gl.plan_step(*random_step(Random(seed)), memory=memory, **options(seed, target)).report
    report.check()
    return report


def least_bytes(seed: int, target: str | None) -> int:
    with pytest.raises(gl.MemoryBudgetError) as refused:
        planned(seed, target, 1)
    return refused.value.least_bytes


def check_budgets(seed: int, target: str | None = None) -> None:
    """Every budget down to the least is kept; with more memory nothing takes longer, or is computed again more often,
    as long as the bits are those of the step without a budget, which computes again only what the user asks for.
    """
    least, total = least_bytes(seed, target), planned(seed, target).total_bytes
    slowest, most = float("inf"), float("inf")
    for memory in budgets(seed, least, total):
        report = planned(seed, target, memory)
        assert report.total_bytes <= memory
        if not report.other_bits:
            assert report.slowdown <= slowest
            assert memory == total or report.recompute_flops <= most
            slowest, most = report.slowdown, report.recompute_flops
    assert slowest == 0.0
    with pytest.raises(gl.MemoryBudgetError) as refused:
        planned(seed, target, least - 1)
    assert refused.value.least_bytes == least


def results(seed: int, memory: int | None, target: str | None = None) -> tuple[list[bytes], gl.MemoryReport]:
    model, loss_fn, optimizer, batch = random_step(Random(seed))
    step = gl.compile_step(model, loss_fn, optimizer, batch, memory=memory, **options(seed, target))
    losses = [step(batch).tobytes() for _ in range(2)]
    return [*losses, *(array.tobytes() for array in step.parameters().values())], step.report


@pytest.mark.parametrize(("seed", "target"), [(6, None), (15, None), (15, "cuda:l4")])
def test_random_models_keep_every_budget(seed: int, target: str | None):
    check_budgets(seed, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "target"), [*((seed, None) for seed in range(200)), *((seed, "cuda-emulated") for seed in range(40))]
)
def test_many_random_models_keep_every_budget_with_the_same_bits(seed: int, target: str | None):
    check_budgets(seed, target)
    free, report = results(seed, None, target)
    least = least_bytes(seed, target)
    for memory in (least, (least + report.total_bytes) // 2):
        made, tight = results(seed, memory, target)
        assert tight.other_bits or made == free
