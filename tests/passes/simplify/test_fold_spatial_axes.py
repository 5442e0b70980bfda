"""Convolutions over three and four axes as ones over two: the same numbers for every window."""

from __future__ import annotations

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.ir import ArrayType, Builder, interpret, verify
from gradloom.ir.ops.convolution import Window, conv, conv_weight_gradient, window_attrs
from gradloom.passes.simplify.fold_spatial_axes import FoldSpatialAxes


def test_every_window_gives_the_same_convolution_and_gradient_of_the_weight():
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    done = 0
    for _ in range(150):
        axes, groups = some(3, 4), some(1, 3)
        lengths, kernel = ([some(1, most) for _ in range(axes)] for most in (5, 3))
        windows = [Window(some(1, 3), some(-1, 2), some(-1, 2), some(1, 2), some(1, 3)) for _ in range(axes)]
        steps = [window.steps(n, k) for window, n, k in zip(windows, lengths, kernel)]
        b = Builder()
        x = b.input(ArrayType((some(1, 2), *lengths, groups * some(1, 2)), np.dtype("float64")))
        out = groups * some(1, 2)
        w = b.input(ArrayType((out, x.type.shape[-1] // groups, *kernel), x.type.dtype))
        g = b.input(ArrayType((x.type.shape[0], *steps, out), x.type.dtype))
        attrs = window_attrs(windows, groups)
        graph = b.graph([conv(b, x, w, **attrs), conv_weight_gradient(b, x, g, kernel=tuple(kernel), **attrs)])
        folded = FoldSpatialAxes()(graph)
        verify(folded)
        if g.type.size:
            done += 1
            shapes = [v.type.ndim for node in folded.nodes if node.op.family == "convolution" for v in node.inputs[:1]]
            assert set(shapes) <= {4}
        arrays = [rng.normal(size=v.type.shape) for v in graph.inputs]
        for expected, made in zip(interpret(graph, *arrays), interpret(folded, *arrays)):
            np.testing.assert_allclose(made, expected, atol=1e-12)
    assert done > 70


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
