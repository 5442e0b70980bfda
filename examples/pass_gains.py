"""What single passes are for: models in which each of them matters, planned and run with the pass and without it.

python examples/pass_gains.py [PASS ...] [--bytes]

The table has the bytes of the arena and the milliseconds of a step on one thread, both with the pass and without it.
Time is the process's own, the median of steps that alternate between the two programs. `--bytes` runs nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.ir import Graph
from gradloom.passes.graph.rewrite import Pass
from gradloom.passes.pipeline import pipeline
from gradloom.tools.training_data import RandomBatches

Recipe = tuple[Any, Any, Any, Any]


class GatedMlp(nn.Module):
    """The feed-forward part of a transformer with a gated activation, both halves from one product: Shazeer 2020, "GLU
    variants improve transformer".
    """

    def __init__(self, width: int, hidden: int) -> None:
        self.hidden = hidden
        self.into = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Any) -> Any:
        both = self.into(x)
        return self.out(nn.functional.silu(both[..., : self.hidden]) * both[..., self.hidden :])


def gated_mlp() -> Recipe:
    """2048 tokens of width 256."""
    batch = {"x": gl.spec((16, 128, 256)), "y": gl.spec((16, 128, 256))}
    return nn.Sequential(GatedMlp(256, 704), GatedMlp(256, 704)), squared_error, gl.optim.SGD(0.1), batch


class HandWrittenLstm(nn.Module):
    """An LSTM as it is written by hand: one product for the four gates of each step, then slices."""

    def __init__(self, width: int, hidden: int) -> None:
        self.hidden = hidden
        self.of_input = nn.Linear(width, 4 * hidden)
        self.of_state = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Any) -> Any:
        n = self.hidden

        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            gates = self.of_input(x) + self.of_state(h)
            i, f, g, o = (gates[:, k * n : (k + 1) * n] for k in range(4))
            c = nn.functional.sigmoid(f) * c + nn.functional.sigmoid(i) * np.tanh(g)
            h = nn.functional.sigmoid(o) * np.tanh(c)
            return (h, c), h

        start = np.zeros((x.shape[1], n), np.float32)
        return gl.scan(step, (start, start), x)[1]


def hand_written_lstm() -> Recipe:
    """48 steps of 32 sequences."""
    batch = {"x": gl.spec((48, 32, 64)), "y": gl.spec((48, 32, 128))}
    return HandWrittenLstm(64, 128), squared_error, gl.optim.SGD(0.1), batch


class DenseBlock(nn.Module):
    """Layers that each read the images of all layers before: Huang et al. 2017, "Densely connected convolutional
    networks".
    """

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        self.layers = nn.ModuleList([nn.Conv2d(channels + i * growth, growth, 3, padding=1) for i in range(layers)])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = gl.numpy.concat([x, nn.functional.relu(layer(x))], axis=1)
        return x


def dense_net() -> Recipe:
    """8 images of 32 x 32."""
    batch = {"x": gl.spec((8, 32, 32, 32)), "y": gl.spec((8, 128, 32, 32))}
    return DenseBlock(32, 32, 3), squared_error, gl.optim.SGD(0.1), batch


class UpAndDown(nn.Module):
    """The outermost level of a U-Net: Ronneberger, Fischer and Brox 2015."""

    def __init__(self, width: int) -> None:
        self.down = nn.Sequential(nn.Conv2d(16, width, 3, padding=1), nn.ReLU())
        self.below = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU())

    def forward(self, x: Any) -> Any:
        skipped = self.down(x)
        return self.merge(gl.numpy.concat([skipped, self.up(self.below(skipped))], axis=1))


def u_net() -> Recipe:
    """8 images of 64 x 64."""
    batch = {"x": gl.spec((8, 16, 64, 64)), "y": gl.spec((8, 32, 64, 64))}
    return UpAndDown(32), squared_error, gl.optim.SGD(0.1), batch


def batch_norm() -> Recipe:
    """32 images of 64 x 64, normalized before they are convolved, as in residual networks of the second version."""
    model = nn.Sequential(
        *(part for _ in range(3) for part in (nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)))
    )
    batch = {"x": gl.spec((32, 16, 64, 64)), "y": gl.spec((32, 16, 64, 64))}
    return model, squared_error, gl.optim.SGD(0.1), batch


def depthwise() -> Recipe:
    """Depthwise convolutions with batch norm: Howard et al. 2017, "MobileNets"."""
    layers = ((nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(3))
    batch = {"x": gl.spec((16, 32, 48, 48)), "y": gl.spec((16, 32, 48, 48))}
    return nn.Sequential(*(part for layer in layers for part in layer)), squared_error, gl.optim.SGD(0.1), batch


def conv_bias_relu() -> Recipe:
    """Convolution, bias and activation on large images, eight at a time."""
    layers = ((nn.Conv2d(a, 32, 3, padding=1), nn.ReLU()) for a in (3, 32, 32))
    model = nn.Sequential(*(part for layer in layers for part in layer))
    return model, squared_error, gl.optim.SGD(0.1), {"x": gl.spec((4, 3, 256, 256)), "y": gl.spec((4, 32, 256, 256))}


def squared_error(model: Any, batch: Any) -> Any:
    return np.mean((model(batch["x"]) - batch["y"]) ** 2)


CASES: dict[str, tuple[Callable[[], Recipe], ...]] = {
    "push-slices": (hand_written_lstm, gated_mlp),
    "split-concat-conv": (u_net, dense_net),
    "one-pass-variance": (batch_norm, depthwise),
    "fuse-conv-epilogue": (batch_norm, conv_bias_relu),
    "fuse-concat": (hand_written_lstm, gated_mlp),
}
"""Passes, each with models in which it matters."""


@contextmanager
def without(name: str) -> Iterator[None]:
    """The pass of this name leaves every graph as it is."""
    kinds = {type(step) for step in pipeline() if step.name == name}
    before = {kind: kind.__call__ for kind in kinds}

    def unchanged(self: Pass, graph: Graph) -> Graph:
        return graph

    for kind in kinds:
        kind.__call__ = unchanged
    try:
        yield
    finally:
        for kind, call in before.items():
            kind.__call__ = call


class Gain(NamedTuple):
    """Bytes of the arena and milliseconds of a step, with a pass and without it."""

    arenas: tuple[int, int]
    times: tuple[float, float] | None


def gain(name: str, recipe: Callable[[], Recipe], timed: bool = False) -> Gain:
    """What a model gains by a pass."""
    with_it = gl.plan_step(*recipe(), threads=1).report.arena_bytes
    with without(name):
        without_it = gl.plan_step(*recipe(), threads=1).report.arena_bytes
    return Gain((with_it, without_it), _times(name, recipe) if timed else None)


def _times(name: str, recipe: Callable[[], Recipe], seconds: float = 4) -> tuple[float, float]:
    model, loss_fn, optimizer, specs = recipe()
    batch = next(RandomBatches(specs, 0).epoch(0))
    steps = [gl.compile_step(model, loss_fn, optimizer, batch, threads=1)]
    with without(name):
        steps.append(gl.compile_step(*recipe()[:3], batch, threads=1))
    taken: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < 6:
        for step, times in zip(steps, taken):
            began = time.process_time()
            step(batch)
            times.append(time.process_time() - began)
    first, second = (1e3 * float(np.median(times[1:])) for times in taken)
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passes", nargs="*", metavar="PASS", help=", ".join(CASES))
    parser.add_argument("--bytes", action="store_true", help="plan only: no times")
    options = parser.parse_args()
    print("| pass | model | arena | without | milliseconds | without |\n|---|---|---|---|---|---|")
    for name in options.passes or CASES:
        for recipe in CASES[name]:
            found = gain(name, recipe, timed=not options.bytes)
            cells = [f"{n / 1e6:.2f} MB" for n in found.arenas]
            cells += [f"{t:.1f}" for t in found.times] if found.times else ["", ""]
            print("|", " | ".join([f"`{name}`", recipe.__name__, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
