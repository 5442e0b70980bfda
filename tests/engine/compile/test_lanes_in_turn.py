"""Under a tight budget the lanes of the batch run one after the other in one arena, to the same bits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.step.budget import Budget


def recipe() -> tuple[Any, ...]:
    """A small convolution net with dropout, which runs in two lanes."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((8, 3, 24, 24), np.float32), "y": rng.integers(0, 5, 8)}
    return model, lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"]), gl.optim.AdamW(1e-2), batch


def lanes(report: gl.MemoryReport) -> int:
    """How many turns of a loop run side by side."""
    return max(loop.lanes for loop in report.loops)


def test_a_plan_in_turn_has_the_bits_of_the_one_side_by_side():
    free = gl.plan_step(*recipe(), threads=2)
    assert lanes(free.report) == 2
    least = free.curve(2)[-1]
    assert least.arena_bytes < 0.6 * free.report.arena_bytes

    def run(threads: int, memory: int | None) -> tuple[list[bytes], dict[str, bytes], gl.MemoryReport]:
        model, loss_fn, optimizer, batch = recipe()
        step = gl.compile_step(model, loss_fn, optimizer, batch, threads=threads, memory=memory)
        step.report.check()
        losses = [np.asarray(step(batch)).tobytes() for _ in range(20)]
        return losses, {name: array.tobytes() for name, array in step.parameters().items()}, step.report

    expected = run(2, None)[:2]
    for threads in (1, 2, 3):
        smallest = gl.plan_step(*recipe(), threads=threads).curve(2)[-1].total_bytes
        *found, report = run(threads, smallest)
        assert tuple(found) == expected
        assert lanes(report) == 1
        assert not report.other_bits
        said = ("serialized iterations", "one after the other to save memory")
        assert [words in " ".join(str(report).split()) for words in said] == [threads == 2] * 2


def test_lanes_wait_for_each_other_only_where_that_pays():
    free = gl.plan_step(*recipe(), threads=2)
    within = [free._plans.within(Budget(point.total_bytes)) for point in free.curve(40)]
    side_by_side = [lanes(plan.report) == 2 for plan in within]
    assert side_by_side[0]
    assert not side_by_side[-1]
    for before, after in pairwise(within):
        assert after.report.total_bytes < before.report.total_bytes
        assert after.slowdown >= before.slowdown
        assert after.report.recompute_flops >= before.report.recompute_flops
        after.report.check()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_that_share_a_lane_anyway_have_no_other_plan(threads: int):
    assert lanes(gl.plan_step(*recipe(), threads=threads).report) == 1
