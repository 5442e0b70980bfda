"""Kernels of length 1 that skip positions: the same numbers, of convolutions that skip none."""

from __future__ import annotations

import numpy as np
from gradloom.ir import ArrayType, Builder, interpret, verify
from gradloom.ir.ops.convolution import Window, conv, conv_weight_gradient, window_attrs, windows
from gradloom.passes.simplify.slice_pointwise_convs import SlicePointwiseConvs


def test_every_window_of_length_1_gives_the_same():
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    dense = 0
    for k in range(200):
        axes, groups = some(1, 3), some(1, 2)
        forward = k % 2 == 0
        windows_of = [
            Window(some(1, 3), some(-1, 0), some(-1, 0), some(1, 2), 1)
            if forward
            else Window(1, some(-1, 2), some(-1, 2), 1, some(1, 3))
            for _ in range(axes)
        ]
        lengths = [some(1, 6) for _ in range(axes)]
        b = Builder()
        x = b.input(ArrayType((2, *lengths, groups * some(1, 2)), np.dtype("float64")))
        out = groups * some(1, 2)
        w = b.input(ArrayType((out, x.type.shape[-1] // groups, *(1,) * axes), x.type.dtype))
        steps = [window.steps(n, 1) for window, n in zip(windows_of, lengths)]
        g = b.input(ArrayType((2, *steps, out), x.type.dtype))
        attrs = window_attrs(windows_of, groups)
        graph = b.graph([conv(b, x, w, **attrs), conv_weight_gradient(b, x, g, kernel=(1,) * axes, **attrs)])
        made = SlicePointwiseConvs()(graph)
        verify(made)
        convolutions = [n for n in made.nodes if n.op.family == "convolution"]
        dense += all(a.stride == a.expand == 1 for a in windows(convolutions[0].attrs))
        arrays = [rng.normal(size=v.type.shape) for v in graph.inputs]
        for expected, found in zip(interpret(graph, *arrays), interpret(made, *arrays)):
            np.testing.assert_allclose(found, expected, atol=1e-12)
    assert dense > 60
