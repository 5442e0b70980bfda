"""A physics-informed network: it solves Burgers' equation, from the equation and its initial values alone.

python examples/pinn.py [--adam 500] [--lbfgs 120] [--points 2000] [--width 20] [--layers 3] [--memory 80%] [--seed 0]

u_t + u u_x = ν u_xx for x in -1..1 and t in 0..1, where u is -sin(πx) at first and 0 at both ends. A network is
u(t, x). Its loss is what is left of the equation at points inside, by derivatives of the network by its inputs, and the
error at points of the border. Adam begins, and L-BFGS goes on with the same parameters. What is printed is the loss,
and the relative error of u by the formula of Cole and Hopf, which comes to a few tenths of a percent.

Raissi, Perdikaris and Karniadakis 2019, "Physics-informed neural networks".
"""

import argparse
from itertools import pairwise

import gradloom as gl
import numpy as np
from gradloom import nn

NU = 0.03 / np.pi


class Solution(nn.Module):
    """u at times t and places x, of any one shape."""

    def __init__(self, width, layers):
        hidden = [layer for a, b in pairwise([2, *[width] * layers]) for layer in (nn.Linear(a, b), nn.Tanh())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, t, x):
        return self.layers(np.stack([t, x], axis=-1))[..., 0]


def residual(u, t, x):
    """What is left of the equation at one point."""
    u_t, u_x = gl.grad(u, argnums=(0, 1))(t, x)
    u_xx = gl.grad(gl.grad(u, argnums=1), argnums=1)(t, x)
    return u_t + u(t, x) * u_x - NU * u_xx


def loss_fn(model, batch):
    left = gl.vmap(lambda t, x: residual(model, t, x))(*batch["inside"].T)
    t, x, u = batch["border"].T
    return (left**2).mean() + nn.mse_loss(model(t, x), u)


def data(points, rng):
    """Points (t, x) inside, and (t, x, u) of a tenth as many at the beginning, and at the ends."""
    inside = rng.uniform([0, -1], [1, 1], (points, 2))
    t, x, zeros = rng.uniform(0, 1, points // 10), rng.uniform(-1, 1, points // 10), np.zeros(points // 10)
    begin = np.stack([zeros, x, -np.sin(np.pi * x)], axis=1)
    ends = np.stack([t, np.sign(x), zeros], axis=1)
    batch = {"inside": inside, "border": np.concatenate([begin, ends])}
    return {name: array.astype(np.float32) for name, array in batch.items()}


def solution(t, x):
    """u by the formula of Cole and Hopf and Gauss-Hermite quadrature, as Basdevant et al. 1986 have it."""
    z, weights = np.polynomial.hermite.hermgauss(100)
    y = x[:, None] - np.sqrt(4 * NU * t)[:, None] * z
    f = weights * np.exp(-np.cos(np.pi * y) / (2 * np.pi * NU))
    return -(np.sin(np.pi * y) * f).sum(axis=1) / f.sum(axis=1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adam", type=int, default=500, help="steps of Adam")
    parser.add_argument("--lbfgs", type=int, default=120, help="steps of L-BFGS, of up to 25 evaluations each")
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--memory", help="a bound for all that a step takes, such as 500kB or 80%%")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    rng = np.random.default_rng(options.seed)
    batch, model = data(options.points, rng), Solution(options.width, options.layers)
    t, x = rng.uniform([0.01, -1], [1, 1], (2000, 2)).astype(np.float32).T
    exact = solution(t, x)
    settings = {"memory": options.memory, "seed": options.seed}
    adam = gl.compile_step(model, loss_fn, gl.optim.Adam(2e-3), batch, **settings)
    search = gl.optim.LBFGS(line_search_fn="strong_wolfe", history_size=50, tolerance_change=0)
    lbfgs = gl.compile_step(model, loss_fn, search, batch, share=adam, **settings)
    u = adam.bind(lambda model, t, x: model(t, x))

    def error():
        return float(np.linalg.norm(u(t, x) - exact) / np.linalg.norm(exact))

    figures = {}
    for name, step, count in (("Adam", adam, options.adam), ("L-BFGS", lbfgs, options.lbfgs)):
        for i in range(count):
            loss = step(batch)
            if (i + 1) % max(count // 5, 1) == 0:
                print(f"{name:6} step {i + 1:4}  loss {loss:.2e}  relative error {error():.1%}", flush=True)
        figures[name] = error()
    return figures


if __name__ == "__main__":
    main()
