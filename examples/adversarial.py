"""A generator and a discriminator on one model, trained by two steps that share it.

python examples/adversarial.py [--steps 4000] [--seed 0]

Data are eight narrow bumps on a circle. Each step has a loss, an optimizer and a part of the parameters of its own; the
noise of the generator is drawn inside the steps. What is printed are the losses, the norm of the generator's gradients,
how many of the bumps its samples reach, and how many of the samples lie within three deviations of one. An average of
the generator's parameters, which the optimizer keeps, makes the samples.
"""

from __future__ import annotations

import argparse
from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn, optim

BUMPS = 2 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
DEVIATION, NOISE, BATCH = 0.1, 8, 256


def layers(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


class Gan(nn.Module):
    def __init__(self) -> None:
        self.generator, self.discriminator = layers(NOISE, 2), layers(2, 1)


def samples(model: Gan, count: int) -> Any:
    return model.generator(gl.random.normal((count, NOISE)))


def judge(model: Gan, real: Any) -> Any:
    fake = gl.stop_gradient(samples(model, len(real)))
    return nn.softplus(-model.discriminator(real)).mean() + nn.softplus(model.discriminator(fake)).mean()


def fool(model: Gan, real: Any) -> Any:
    return nn.softplus(-model.discriminator(samples(model, len(real)))).mean()


def data(rng: np.random.Generator, count: int) -> Any:
    return (BUMPS[rng.integers(0, 8, count)] + DEVIATION * rng.standard_normal((count, 2))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    model, batch = Gan(), data(rng, BATCH)
    adam = optim.Adam(1e-3, betas=(0.5, 0.9))
    step_d = gl.compile_step(model, judge, adam, batch, train="discriminator.*", seed=options.seed)
    step_g = gl.compile_step(
        model,
        fool,
        optim.EMA(adam, decay=0.99),
        batch,
        train="generator.*",
        share=step_d,
        outputs="gradient_norm",
        seed=options.seed + 1,
    )
    sample = step_g.bind(lambda model: samples(model, 4096), averaged=True, key=options.seed)
    print(f"{'step':>6}{'discriminator':>15}{'generator':>11}{'gradient':>10}{'bumps':>7}{'near':>7}")
    for i in range(1, options.steps + 1):
        batch = data(rng, BATCH)
        loss_d, (loss_g, metrics) = step_d(batch), step_g(batch)
        if i % max(options.steps // 8, 1) == 0:
            distances = np.linalg.norm(sample()[:, None] - BUMPS, axis=-1)
            near = distances.min(axis=1) < 3 * DEVIATION
            reached = np.bincount(distances.argmin(axis=1)[near], minlength=8) >= 4096 // 80
            norm = metrics["gradient_norm"]
            print(f"{i:6}{loss_d:15.3f}{loss_g:11.3f}{norm:10.3f}{reached.sum():7}{near.mean():7.1%}", flush=True)


if __name__ == "__main__":
    main()
