"""The physics-informed network knows its equation, comes nearer to the solution, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import pinn
from trained_against_torch import assert_trains_like_torch


def test_it_runs_and_comes_nearer_to_the_solution():
    figures = pinn.main(["--adam", "100", "--lbfgs", "20", "--points", "300", "--width", "16", "--layers", "2"])
    assert figures["L-BFGS"] < 0.8 * figures["Adam"] < 0.8


def test_nothing_is_left_of_the_equation_by_its_solutions():
    t, x = np.random.default_rng(0).uniform([0.1, -0.9], [0.9, 0.9], (20, 2)).T
    left = gl.vmap(lambda t, x: pinn.residual(lambda t, x: x / (1 + t), t, x))(t, x)
    np.testing.assert_allclose(left, 0, atol=1e-12)
    h = 1e-4
    u = pinn.solution(t, x)
    u_t = (pinn.solution(t + h, x) - pinn.solution(t - h, x)) / (2 * h)
    up, down = pinn.solution(t, x + h), pinn.solution(t, x - h)
    np.testing.assert_allclose(u_t + u * (up - down) / (2 * h), pinn.NU * (up - 2 * u + down) / h**2, atol=1e-3)
    np.testing.assert_allclose(pinn.solution(np.full(20, 1e-9), x), -np.sin(np.pi * x), atol=1e-6)


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs():
    torch = pytest.importorskip("torch")
    n = torch.nn

    class Solution(n.Module):
        def __init__(self):
            super().__init__()
            self.layers = n.Sequential(n.Linear(2, 8), n.Tanh(), n.Linear(8, 8), n.Tanh(), n.Linear(8, 1))

        def forward(self, t, x):
            return self.layers(torch.stack([t, x], dim=-1))[..., 0]

    def loss_fn(model, batch):
        t, x = (batch["inside"][:, i].clone().requires_grad_() for i in range(2))
        u = model(t, x)
        u_t, u_x = torch.autograd.grad(u.sum(), (t, x), create_graph=True)
        (u_xx,) = torch.autograd.grad(u_x.sum(), x, create_graph=True)
        t, x, at_border = batch["border"].T
        return ((u_t + u * u_x - pinn.NU * u_xx) ** 2).mean() + n.functional.mse_loss(model(t, x), at_border)

    rng = np.random.default_rng(0)
    batches = [gl.tree.map(np.float64, pinn.data(50, rng)) for _ in range(5)]
    adam, make = gl.optim.Adam(2e-3), partial(torch.optim.Adam, lr=2e-3)
    assert_trains_like_torch(pinn.Solution(8, 2), Solution(), pinn.loss_fn, loss_fn, batches, adam, make)
