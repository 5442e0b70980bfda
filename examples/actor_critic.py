"""Advantage actor-critic: it learns to keep poles upright on carts, which move inside compiled programs.

python examples/actor_critic.py [--updates 1000] [--carts 32] [--length 32] [--lr 1e-3] [--seed 0]

The carts are NumPy code. `gl.scan` pushes all of them `length` times, by what the network draws, in one native call;
the step learns from what came of it. What is printed is the loss, and for how many of 500 pushes new poles stay up, on
average of 200, when the likelier push is taken. A value of 1 is that of a pole that never falls.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning"; the carts are those of Barto, Sutton and
Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control problems".
"""

import argparse
from functools import partial

import gradloom as gl
import numpy as np
from gradloom import nn

DISCOUNT, ENTROPY = 0.99, 0.01


class ActorCritic(nn.Module):
    """States (..., 4) to the logits (..., 2) of pushes to the left and to the right, and to values (...,)."""

    def __init__(self, width=64):
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.actor, self.critic = nn.Linear(width, 2), nn.Linear(width, 1)

    def forward(self, state):
        features = self.body(state)
        return self.actor(features), self.critic(features)[..., 0]


def pushed(state, action):
    """Carts (n, 4), with place, speed, angle and turning speed, a fiftieth of a second later; and whether they fell."""
    place, speed, angle, turning = state.T
    cos, sin = np.cos(angle), np.sin(angle)
    pull = (20.0 * action - 10.0 + 0.05 * turning**2 * sin) / 1.1
    turn = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    push = pull - 0.05 * turn * cos / 1.1
    moved = [place + 0.02 * speed, speed + 0.02 * push, angle + 0.02 * turning, turning + 0.02 * turn]
    return np.stack(moved, axis=1).astype(np.float32), (abs(place) > 2.4) | (abs(angle) > np.pi / 15)


def run(model, state, length, greedy=False):
    """The carts after `length` pushes, those put up again that fell, and what was seen before and at each of them."""

    def push(state, _):
        logits, _ = model(state)
        action = logits.argmax(axis=-1) if greedy else gl.random.categorical(logits)
        after, fell = pushed(state, action)
        upright = gl.random.uniform(state.shape, minval=-0.05, maxval=0.05)
        return np.where(fell[:, None], upright, after), {"state": state, "action": action, "fell": fell}

    return gl.scan(push, state, length=length)


def loss_fn(model, batch):
    logits, values = model(batch["state"])
    _, last = model(batch["last"])

    def earlier(later, fell):
        value = (1 - DISCOUNT) + DISCOUNT * np.where(fell, 0, later)
        return value, value

    _, returns = gl.scan(earlier, gl.stop_gradient(last), batch["fell"], reverse=True)
    advantages = gl.stop_gradient(returns - values)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_p = nn.log_softmax(logits, axis=-1)
    chosen = np.take_along_axis(log_p, batch["action"][..., None], axis=-1)[..., 0]
    entropy = -(np.exp(log_p) * log_p).sum(axis=-1).mean()
    return nn.mse_loss(values, returns) - (advantages * chosen).mean() - ENTROPY * entropy


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--carts", type=int, default=32)
    parser.add_argument("--length", type=int, default=32, help="pushes between two updates")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    n, t = options.carts, options.length
    batch = {"state": gl.spec((t, n, 4)), "action": gl.spec((t, n), "int64"), "fell": gl.spec((t, n), "bool")}
    batch["last"] = gl.spec((n, 4))
    adam = gl.optim.Adam(gl.optim.Cosine(options.lr, steps=options.updates))
    step = gl.compile_step(ActorCritic(), loss_fn, adam, batch, clip_norm=0.5, seed=options.seed)
    collect = step.bind(partial(run, length=t))
    watch = step.bind(lambda model, state: run(model, state, 500, greedy=True)[1]["fell"])
    carts, new = np.random.default_rng(options.seed).uniform(-0.05, 0.05, (2, max(n, 200), 4)).astype(np.float32)
    carts, up = carts[:n], []
    for i in range(options.updates):
        carts, seen = collect(carts)
        loss = step({**seen, "last": carts})
        if (i + 1) % max(options.updates // 10, 1) == 0:
            fell = watch(new)
            up.append(float(np.where(fell.any(axis=0), fell.argmax(axis=0), 500).mean()))
            print(f"update {i + 1:5}  loss {loss:7.4f}  up for {up[-1]:.0f} of 500 pushes", flush=True)
    return {"up": up}


if __name__ == "__main__":
    main()
