"""A frontier is made of the variants that lead somewhere."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.passes.memory.plan import Plan
from gradloom.passes.remat import frontier as frontiers
from gradloom.passes.remat.frontier import Frontier
from gradloom.passes.remat.problem import Order, Problem
from gradloom.passes.variants import variant_plans


class Block(nn.Module):
    """What a residual network repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Any) -> Any:
        return x + self.outer(nn.gelu(self.inner(self.norm(x))))


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    """The plans of a residual network and of its variant that keeps more, which does not help here."""
    model = nn.Sequential(*(Block() for _ in range(8)))
    planned = gl.plan_step(model, lambda m, x: np.mean(m(x) ** 2), optim.SGD(0.1), gl.spec((32, 16)), threads=1)
    planner = planned._plans.planner
    others = variant_plans(planner.stages, planner.base, planner.preparation)
    assert list(others) == ["keep-far-values"]
    return {"default": planner.base, **others}


def searched(plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[tuple[int, float]]]:
    """How many problems all planners look at, and the bytes and costs of the frontier."""
    asked: list[Problem] = []

    def candidates(problem: Problem, most: float = math.inf) -> list[Order]:
        asked.append(problem)
        return search(problem, most)

    search = frontiers.candidates
    with monkeypatch.context() as patch:
        patch.setattr(frontiers, "candidates", candidates)
        made = Frontier(plans["default"], {name: p for name, p in plans.items() if name != "default"})
    return len(asked), [(order.peak, order.cost) for order in made.orders]


def test_a_variant_of_a_large_graph_that_leads_nowhere_is_not_searched(
    plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch
):
    everything = searched(plans, monkeypatch)
    monkeypatch.setattr(frontiers, "_WORTH_PROBING", 0)
    assert everything[0] == 2
    assert searched(plans, monkeypatch) == (1, everything[1])


def test_what_a_variant_beats_is_not_searched_whichever_comes_first(
    plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frontiers, "_WORTH_PROBING", 0)
    assert searched({"default": plans["keep-far-values"], "better": plans["default"]}, monkeypatch)[0] == 1


def test_equal_variants_are_both_searched(plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frontiers, "_WORTH_PROBING", 0)
    assert searched({"default": plans["default"], "equal": plans["default"]}, monkeypatch)[0] == 2
