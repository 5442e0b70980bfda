"""Under a budget the backward compares by itself, before the gradients that are selected by it: to the same bits."""

import numpy as np
from gradloom import nn, optim
from gradloom.engine.step.compile_step import plan_step
from gradloom.nn import functional as F
from gradloom.passes.graph.comparisons import compares
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import Stages, passed, preparation, scheduling
from gradloom.passes.remat.candidates import candidates
from gradloom.passes.remat.delay_comparisons import DelayComparisons
from gradloom.passes.remat.from_plan import graph_problem
from gradloom.passes.variants import variant_plans
from same_bits import assert_same_bits


def model():
    """Convolutions at one size, which the masks of activations follow."""
    layers = [nn.Conv2d(2, 32, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32 * 49, 5))


def loss_fn(model, batch):
    return F.cross_entropy(model(batch["x"]), batch["y"])


def batch_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((rows, 2, 28, 28), np.float32), "y": rng.integers(0, 5, rows)}


ARGUMENTS = model(), loss_fn, optim.SGD(0.1, momentum=0.9), batch_of(1)


def test_what_is_compared_goes_before_the_gradient_to_it_is_made():
    prepared = passed(plan_step(*ARGUMENTS).graph, preparation())
    whole, apart = (plan(passed(prepared, way)) for way in (scheduling(), scheduling(separate_comparisons=True)))
    late = plan(DelayComparisons()(apart.graph))
    assert sum(map(compares, late.graph.nodes)) == sum(map(compares, apart.graph.nodes)) >= 3
    assert apart.arena_bytes > late.arena_bytes
    orders = [candidates(graph_problem(made)) for made in (whole, late)]
    limit = orders[1][1].peak
    cheapest = [min(order.cost for order in found if order.peak <= limit) for found in orders]
    assert cheapest[0] > 5 * cheapest[1] > 0


def test_it_is_one_of_the_plans_that_budgets_choose_among():
    planned = plan_step(*ARGUMENTS)
    prepared = passed(planned.graph, preparation())
    others = variant_plans(Stages(prepared), planned.plan)
    assert any(any(map(compares, all_nodes(other.graph))) for other in others.values())


def test_steps_have_the_same_bits_for_any_threads_and_budget():
    free = plan_step(*ARGUMENTS, threads=3)  # the most scratch
    totals = [point.total_bytes for point in free.curve(4)]
    assert min(totals) < free.report.total_bytes
    ways = ((1, None), (2, None), *((1 + i % 3, total) for i, total in enumerate(totals)))
    assert_same_bits(lambda: ARGUMENTS, [batch_of(1, seed) for seed in range(3)], ways)
