"""Meta-learned initial values are worth more after a step than others, and come as torch's second derivatives say."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import maml
from trained_against_torch import assert_trains_like_torch


def test_it_runs_and_one_step_is_worth_more_from_what_was_meta_learned():
    figures = maml.main(["--steps", "800", "--tasks", "10"])
    assert list(figures["meta-learned"]) == [0, 1, 5, 10]
    ours, others = figures["meta-learned"], figures["trained jointly"]
    assert ours[10] < ours[5] < ours[1] < 0.8 * ours[0]
    assert ours[1] < 0.8 * others[1]


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
@pytest.mark.parametrize("steps", [1, 2])
def test_it_trains_as_torchs(steps):
    torch = pytest.importorskip("torch")
    n = torch.nn

    def error(model, parameters, x, y):
        return n.functional.mse_loss(torch.func.functional_call(model, parameters, (x,)), y)

    def loss_fn(model, tasks):
        def of_task(task):
            parameters = dict(model.named_parameters())
            for _ in range(steps):
                gradients = torch.func.grad(lambda p: error(model, p, task["x"], task["y"]))(parameters)
                parameters = {name: p - maml.RATE * gradients[name] for name, p in parameters.items()}
            return error(model, parameters, task["x_new"], task["y_new"])

        return torch.func.vmap(of_task)(tasks).mean()

    rng = np.random.default_rng(0)
    batches = [gl.tree.map(np.float64, maml.sines(6, 5, rng)) for _ in range(5)]
    theirs = n.Sequential(n.Linear(1, 40), n.ReLU(), n.Linear(40, 40), n.ReLU(), n.Linear(40, 1))
    adam, make = gl.optim.Adam(1e-3), partial(torch.optim.Adam, lr=1e-3)
    meta_loss = partial(maml.meta_loss, steps=steps)
    assert_trains_like_torch(maml.network(), theirs, meta_loss, loss_fn, batches, adam, make)
