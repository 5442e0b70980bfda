"""`examples/actor_critic.py` keeps poles up for longer, moves carts as the equations say, and trains as torch's."""

from functools import partial

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import actor_critic
from trained_against_torch import assert_trains_like_torch

RNG = np.random.default_rng(0)


def test_poles_stay_up_for_longer():
    assert max(actor_critic.main(["--updates", "200", "--carts", "16"])["up"]) > 100


def test_carts_move_as_the_equations_say():
    """Forces and moments of a cart of 1 kg with a pole of 0.1 kg and 1 m: a linear system for both accelerations."""
    states, actions = RNG.uniform(-0.2, 0.2, (20, 4)), RNG.integers(0, 2, 20)
    after, fell = actor_critic.pushed(states, actions)
    for (x, v, a, w), action, found in zip(states, actions, after):
        masses = [[1.1, 0.05 * np.cos(a)], [np.cos(a), 0.5 * 4 / 3]]
        forces = [20 * action - 10 + 0.05 * w**2 * np.sin(a), 9.8 * np.sin(a)]
        pushing, turning = np.linalg.solve(masses, forces)
        np.testing.assert_allclose(found, np.array([x, v, a, w]) + 0.02 * np.array([v, pushing, w, turning]), atol=1e-6)
    assert not fell.any()
    assert actor_critic.pushed(np.array([[2.5, 0, 0, 0], [0, 0, 0.3, 0]]), np.array([0, 1]))[1].all()


def test_a_cart_that_falls_is_put_up_again():
    state = np.array([[0, 0, 0.3, 0], [0, 0, 0, 0]], np.float32)
    spec = {"state": gl.spec((2, 2, 4)), "action": gl.spec((2, 2), "int64"), "fell": gl.spec((2, 2), "bool")}
    adam, batch = gl.optim.Adam(1e-3), {**spec, "last": gl.spec((2, 4))}
    step = gl.compile_step(actor_critic.ActorCritic(8), actor_critic.loss_fn, adam, batch)
    last, seen = step.bind(partial(actor_critic.run, length=3))(state)
    assert seen["fell"].tolist() == [[True, False], [False, False], [False, False]]
    np.testing.assert_array_equal(seen["state"][0], state)
    assert (abs(seen["state"][1, 0]) < 0.05).all()
    np.testing.assert_allclose(actor_critic.pushed(seen["state"][2], seen["action"][2])[0], last, rtol=1e-5)


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs():
    torch = pytest.importorskip("torch")
    n = torch.nn

    class ActorCritic(n.Module):
        def __init__(self):
            super().__init__()
            self.body = n.Sequential(n.Linear(4, 8), n.Tanh(), n.Linear(8, 8), n.Tanh())
            self.actor, self.critic = n.Linear(8, 2), n.Linear(8, 1)

        def forward(self, state):
            features = self.body(state)
            return self.actor(features), self.critic(features)[..., 0]

    def loss_fn(model, batch):
        logits, values = model(batch["state"])
        value, returns = model(batch["last"])[1].detach(), []
        for fell in batch["fell"].flip(0):
            value = 0.01 + 0.99 * torch.where(fell, 0, value)
            returns.insert(0, value)
        returns = torch.stack(returns)
        advantages = (returns - values).detach()
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        choices = torch.distributions.Categorical(logits=logits)
        chosen = (advantages * choices.log_prob(batch["action"])).mean()
        return n.functional.mse_loss(values, returns) - chosen - 0.01 * choices.entropy().mean()

    batches = [
        {
            "state": RNG.standard_normal((5, 3, 4)),
            "action": RNG.integers(0, 2, (5, 3)),
            "fell": RNG.random((5, 3)) < 0.3,
            "last": RNG.standard_normal((3, 4)),
        }
        for _ in range(4)
    ]
    ours, adam, make = actor_critic.ActorCritic(8), gl.optim.Adam(1e-3), partial(torch.optim.Adam, lr=1e-3)
    assert_trains_like_torch(ours, ActorCritic(), actor_critic.loss_fn, loss_fn, batches, adam, make)
