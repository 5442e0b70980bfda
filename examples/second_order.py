"""Second-order optimizers beside Adam on one small problem: steps and processor seconds to a loss.

python examples/second_order.py [--steps 2000] [--rows 256] [--seed 0]

A network 4-16-2 with tanh is fitted to what another network 4-6-2 gives, in float64, by steps on the whole batch.
Adam and SGD have the best of four learning rates; the others run as they are. A step of LBFGS evaluates the loss up to
25 times. The time is that of the steps on one thread, without compilation. A dash is a loss that is not reached.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn, optim

GOALS = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
RATES = (1e-3, 1e-2, 3e-2, 1e-1)

OPTIMIZERS: dict[str, list[optim.Optimizer]] = {
    "SGD, momentum 0.9": [optim.SGD(rate, momentum=0.9) for rate in RATES],
    "Adam": [optim.Adam(rate) for rate in RATES],
    "LBFGS": [optim.LBFGS(line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0)],
    "KFAC": [optim.KFAC()],
    "KFAC, update_every=5": [optim.KFAC(update_every=5)],
    "NaturalGradient": [optim.NaturalGradient(iterations=30)],
}


def network(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, dtype="float64"), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["y"])


def problem(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 4))
    return {"x": x, "y": np.tanh(x @ rng.standard_normal((4, 6))) @ rng.standard_normal((6, 2)) / 2}


def run(optimizer: optim.Optimizer, batch: Any, steps: int, seed: int) -> list[tuple[float, float]]:
    """After each step: the loss before it, and the processor seconds so far."""
    step = gl.compile_step(network(4, 16, 2), loss_fn, optimizer, batch, threads=1, seed=seed)
    path: list[tuple[float, float]] = []
    begin = time.process_time()
    for _ in range(steps):
        loss = float(step(batch))
        path.append((loss, time.process_time() - begin))
        if not loss > min(GOALS):
            break
    return path


def reached(path: list[tuple[float, float]], goal: float) -> str:
    """Steps and seconds until the loss was at most `goal`."""
    for i, (loss, seconds) in enumerate(path):
        if loss <= goal:
            return f"{i:5d} {seconds:6.2f} s"
    return "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    batch = problem(options.rows, options.seed)
    print(f"{'':22}{'each step':>12}" + "".join(f"{f'loss {goal:g}':>16}" for goal in GOALS))
    for name, candidates in OPTIMIZERS.items():
        paths = [run(optimizer, batch, options.steps, options.seed) for optimizer in candidates]
        best = min(paths, key=lambda path: (max(path[-1][0], min(GOALS)), len(path)))
        each = f"{best[-1][1] / len(best) * 1e6:.0f} us"
        print(f"{name:22}{each:>12}" + "".join(f"{reached(best, goal):>16}" for goal in GOALS), flush=True)


if __name__ == "__main__":
    main()
