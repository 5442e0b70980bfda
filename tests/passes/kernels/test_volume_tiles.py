"""Convolutions over three axes: compiled, for every window, and within a budget."""

from __future__ import annotations

from itertools import pairwise

import gradloom as gl
import numpy as np
from compiled import run_compiled
from gradloom import nn
from gradloom.ir import ArrayType, Builder, Value, interpret
from gradloom.ir.ops.convolution import Window, conv, conv_weight_gradient, window_attrs

from .test_conv_tiles import arrays_for


def test_every_window_gives_the_same_convolution_and_gradient_of_the_weight():
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    for first, last in pairwise(range(0, 49, 12)):
        b, outputs = Builder(), list[Value]()
        for _ in range(first, last):
            groups, kernel, lengths = some(1, 3), (0,), [some(1, most) for most in (9, 5, 6)]
            steps = [0]
            while 0 in steps:
                kernel = tuple(some(1, 3) for _ in range(3))
                windows = [Window(some(1, 3), some(-1, 2), some(-1, 2), some(1, 2), some(1, 3)) for _ in range(3)]
                steps = [window.steps(n, k) for window, n, k in zip(windows, lengths, kernel)]
            x = b.input(ArrayType((some(1, 3), *lengths, groups * some(1, 2)), np.dtype("float64")))
            w = b.input(ArrayType((groups * some(1, 2), x.type.shape[-1] // groups, *kernel), x.type.dtype))
            g = b.input(ArrayType((x.type.shape[0], *steps, w.type.shape[0]), x.type.dtype))
            attrs = window_attrs(windows, groups)
            outputs += [conv(b, x, w, **attrs), conv_weight_gradient(b, x, g, kernel=kernel, **attrs)]
        graph = b.graph(outputs)
        arrays = arrays_for(graph)
        for made, expected in zip(run_compiled(graph, *arrays, threads=2), interpret(graph, *arrays), strict=True):
            np.testing.assert_allclose(made, expected, atol=1e-11)


def test_a_net_over_volumes_keeps_to_a_budget_with_the_same_bits():
    class Net(nn.Module):
        def __init__(self):
            self.down = nn.Sequential(nn.Conv3d(2, 6, 3, 2, 1), nn.BatchNorm3d(6), nn.ReLU(), nn.Conv3d(6, 6, 3, 1, 1))
            self.up = nn.ConvTranspose3d(6, 2, 2, 2)

        def forward(self, x):
            return self.up(self.down(x))

    batch = np.random.default_rng(1).normal(size=(8, 2, 8, 32, 32)).astype("float32")

    def loss(model, batch):
        return gl.numpy.mean((model(batch) - batch) ** 2)

    wide = gl.compile_step(Net(), loss, gl.optim.SGD(lr=0.1), batch)
    tight = gl.compile_step(Net(), loss, gl.optim.SGD(lr=0.1), batch, memory="90%", threads=1)
    assert tight.report.arena_bytes < wide.report.arena_bytes
    losses = [wide(batch) for _ in range(4)]
    assert losses == [tight(batch) for _ in range(4)]
    assert losses[-1] < losses[0]
