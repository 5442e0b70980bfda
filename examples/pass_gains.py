"""What single passes are for: models in which each of them matters, planned and run with the pass and without it.

python examples/pass_gains.py [PASS ...] [--bytes]

The table has the bytes of the arena, the bytes that units read and write, and the milliseconds of a step on one thread,
each with the pass and without it. Time is the process's own, the median of steps that alternate between the two
programs. `--bytes` runs nothing.
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
from gradloom.ir import Graph, Node, Value
from gradloom.passes.graph.rewrite import Pass
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import pipeline
from gradloom.tools.training_data import RandomBatches

Recipe = tuple[Any, Any, Any, Any]


class QuasiRecurrent(nn.Module):
    """Gates of all steps by one product, and a loop without products: Bradbury et al. 2017, "Quasi-recurrent neural
    networks".
    """

    def __init__(self, width: int, hidden: int) -> None:
        self.hidden = hidden
        self.gates = nn.Linear(width, 3 * hidden)

    def forward(self, x: Any) -> Any:
        gates, n = self.gates(x), self.hidden
        z, f, o = np.tanh(gates[..., :n]), gates[..., n : 2 * n], gates[..., 2 * n :]

        def step(c: Any, now: Any) -> Any:
            z, f = now
            c = f * c + (1 - f) * z
            return c, c

        start = np.zeros((x.shape[1], n), np.float32)
        return nn.functional.sigmoid(o) * gl.scan(step, start, (z, nn.functional.sigmoid(f)))[1]


def quasi_recurrent() -> Recipe:
    """128 steps of 64 sequences."""
    batch = {"x": gl.spec((128, 64, 16)), "y": gl.spec((128, 64, 128))}
    return QuasiRecurrent(16, 128), squared_error, gl.optim.SGD(0.1), batch


class FourierFeatures(nn.Module):
    """Sines and cosines of projections side by side: Tancik et al. 2020, "Fourier features let networks learn high
    frequency functions in low dimensional domains".
    """

    def __init__(self, frequencies: int) -> None:
        self.phases = nn.Linear(3, frequencies)
        self.out = nn.Linear(2 * frequencies, 4)

    def forward(self, x: Any) -> Any:
        phases = self.phases(x)
        return self.out(gl.numpy.concat([np.sin(phases), np.cos(phases)], axis=-1))


def fourier_features() -> Recipe:
    """16,384 points."""
    batch = {"x": gl.spec((16_384, 3)), "y": gl.spec((16_384, 4))}
    return FourierFeatures(128), squared_error, gl.optim.SGD(0.1), batch


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
    """32 steps of 512 sequences."""
    batch = {"x": gl.spec((32, 512, 16)), "y": gl.spec((32, 512, 32))}
    return HandWrittenLstm(16, 32), squared_error, gl.optim.SGD(0.1), batch


def convolved(channels: int, width: int) -> nn.Sequential:
    """Convolution, batch norm and activation."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


class UNet(nn.Module):
    """Three levels of a U-Net with batch norm: Ronneberger, Fischer and Brox 2015."""

    def __init__(self, width: int) -> None:
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList([convolved(16, width), convolved(width, 2 * width), convolved(2 * width, 4 * width)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in (2 * width, width)])
        self.merge = nn.ModuleList([convolved(2 * w, w) for w in (2 * width, width)])

    def forward(self, x: Any) -> Any:
        skipped = []
        for level, down in enumerate(self.down):
            x = down(self.pool(x) if level else x)
            skipped.append(x)
        for up, merge, beside in zip(self.up, self.merge, skipped[-2::-1]):
            x = merge(gl.numpy.concat([beside, up(x)], axis=1))
        return x


def u_net() -> Recipe:
    """8 images of 96 x 96."""
    batch = {"x": gl.spec((8, 16, 96, 96)), "y": gl.spec((8, 32, 96, 96))}
    return UNet(32), squared_error, gl.optim.SGD(0.1), batch


def tabular_batch_norm() -> Recipe:
    """Batch norm of 524,288 rows of 64 columns, which no cache holds."""
    model = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 8))
    batch = {"x": gl.spec((1 << 19, 64)), "y": gl.spec((1 << 19, 8))}
    return model, squared_error, gl.optim.SGD(0.1), batch


def normalized_first() -> Recipe:
    """32 images of 64 x 64, normalized before they are convolved: He et al. 2016, "Identity mappings in deep residual
    networks".
    """
    model = nn.Sequential(
        *(part for _ in range(3) for part in (nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)))
    )
    batch = {"x": gl.spec((32, 16, 64, 64)), "y": gl.spec((32, 16, 64, 64))}
    return model, squared_error, gl.optim.SGD(0.1), batch


def pointwise() -> Recipe:
    """Convolutions of single pixels with batch norm, 16 images of 128 x 128."""
    layers = ((nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(3))
    batch = {"x": gl.spec((16, 16, 128, 128)), "y": gl.spec((16, 16, 128, 128))}
    return nn.Sequential(*(part for layer in layers for part in layer)), squared_error, gl.optim.SGD(0.1), batch


def squared_error(model: Any, batch: Any) -> Any:
    return np.mean((model(batch["x"]) - batch["y"]) ** 2)


class NumpyRnn(nn.Module):
    """The recurrent network of Elman 1990, as a few lines of NumPy."""

    def __init__(self, width: int, hidden: int) -> None:
        draw = nn.init.normal(0.0, hidden**-0.5)
        self.w = nn.Parameter((width, hidden), "float32", draw)
        self.u = nn.Parameter((hidden, hidden), "float32", draw)

    def forward(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = np.tanh(x @ self.w + h @ self.u)
            return h, h

        return gl.scan(step, np.zeros((x.shape[1], self.u.shape[0]), np.float32), x)[1]


def numpy_rnn() -> Recipe:
    """64 steps of 32 sequences."""
    batch = {"x": gl.spec((64, 32, 256)), "y": gl.spec((64, 32, 256))}
    return NumpyRnn(256, 256), squared_error, gl.optim.SGD(0.1), batch


def long_lstm() -> Recipe:
    """128 steps of 16 sequences of width 256."""
    batch = {"x": gl.spec((128, 16, 256)), "y": gl.spec((128, 16, 128))}
    return HandWrittenLstm(256, 128), squared_error, gl.optim.SGD(0.1), batch


class Outputs(nn.Module):
    """What torch's LSTM gives for every step."""

    def __init__(self, width: int, hidden: int) -> None:
        self.lstm = nn.LSTM(width, hidden)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0]


def few_sequences() -> Recipe:
    """200 steps of 4 sequences."""
    batch = {"x": gl.spec((200, 4, 64)), "y": gl.spec((200, 4, 256))}
    return Outputs(64, 256), squared_error, gl.optim.SGD(0.1), batch


class ClickThrough(nn.Module):
    """Tables of which an example reads one row each: Naumov et al. 2019, "Deep learning recommendation model for
    personalization and recommendation systems".
    """

    def __init__(self, tables: int, rows: int, width: int) -> None:
        self.rows = rows
        self.tables = nn.ModuleList([nn.Embedding(rows, width, sparse=True) for _ in range(tables)])
        self.top = nn.Sequential(nn.Linear(tables * width, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: Any) -> Any:
        hashed = np.abs(x * self.rows).astype("int64") % self.rows
        return self.top(np.concatenate([table(hashed[:, i]) for i, table in enumerate(self.tables)], axis=1))


def click_through() -> Recipe:
    """8 tables of 125,000 rows, 512 examples."""
    batch = {"x": gl.spec((512, 8)), "y": gl.spec((512, 1))}
    return ClickThrough(8, 125_000, 32), squared_error, gl.optim.SGD(0.1), batch


CASES: dict[str, tuple[Callable[[], Recipe], ...]] = {
    "push-slices": (quasi_recurrent,),
    "split-concat-conv": (u_net,),
    "one-pass-variance": (tabular_batch_norm, pointwise),
    "fuse-conv-epilogue": (normalized_first, pointwise),
    "fuse-concat": (fourier_features, hand_written_lstm),
    "distribute-scans": (numpy_rnn, long_lstm),
    "strip-mine-scans": (long_lstm,),
    "prepack-weights": (few_sequences,),
    "row-sparse-updates": (click_through,),
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


def traffic(made: Plan) -> int:
    """Bytes that the units of a plan read and write."""
    total = 0
    for unit in (unit for phase in made.phases for unit in phase):
        if unit in made.bodies:
            total += unit.attrs.get("length", 1) * max(map(traffic, made.bodies[unit]))
        else:
            total += sum(v.type.nbytes for v in dict.fromkeys((*unit.inputs, *unit.outputs)) if v not in _tables(unit))
    return total


def _tables(unit: Node) -> tuple[Value, ...]:
    """What a unit reads or changes only a few rows of."""
    indexed = unit.op.family == "indexing"
    return (unit.inputs[0], *(unit.outputs if unit.op.begins_with == 0 else ())) if indexed else ()


class Cost(NamedTuple):
    """What a step takes: bytes of the arena, bytes that units read and write, milliseconds where they were measured."""

    arena: int
    moved: int
    time: float = 0.0


def costs(name: str, recipe: Callable[[], Recipe], timed: bool = False) -> tuple[Cost, Cost]:
    """What a step takes with a pass, and without it."""
    with_it = gl.plan_step(*recipe(), threads=1).plan
    with without(name):
        without_it = gl.plan_step(*recipe(), threads=1).plan
    times = _times(name, recipe) if timed else (0.0, 0.0)
    first, second = (Cost(made.arena_bytes, traffic(made), t) for made, t in zip((with_it, without_it), times))
    return first, second


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
    print("| pass | model | arena | without | moved | without | ms | without |\n|---|---|---|---|---|---|---|---|")
    for name in options.passes or CASES:
        for recipe in CASES[name]:
            both = costs(name, recipe, timed=not options.bytes)
            cells = [f"{n / 1e6:.2f} MB" for n in (*(c.arena for c in both), *(c.moved for c in both))]
            cells += [f"{c.time:.1f}" if c.time else "" for c in both]
            print("|", " | ".join([f"`{name}`", f"`{recipe.__name__}`", *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
