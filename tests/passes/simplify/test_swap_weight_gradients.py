"""Gradients of weights whose operands are exchanged: the same numbers, for every window."""

from __future__ import annotations

import numpy as np
from gradloom.ir import ArrayType, Builder, interpret, verify
from gradloom.ir.ops.convolution import Window, conv_weight_gradient, window_attrs
from gradloom.passes.simplify.swap_weight_gradients import SwapWeightGradients


def test_every_window_gives_the_same_gradient():
    rng = np.random.default_rng(0)

    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    done = 0
    for _ in range(200):
        axes = some(1, 3)
        lengths, kernel = ([some(1, most) for _ in range(axes)] for most in (6, 3))
        windows = [Window(some(1, 3), some(-1, 2), some(-1, 2), some(1, 2), some(1, 3)) for _ in range(axes)]
        steps = [window.steps(n, k) for window, n, k in zip(windows, lengths, kernel)]
        b = Builder()
        x = b.input(ArrayType((2, *lengths, 16), np.dtype("float64")))
        g = b.input(ArrayType((2, *steps, some(1, 2)), x.type.dtype))
        graph = b.graph([conv_weight_gradient(b, x, g, kernel=tuple(kernel), **window_attrs(windows, 1))])
        made = SwapWeightGradients()(graph)
        verify(made)
        done += len(made.nodes) > 1
        arrays = [rng.normal(size=v.type.shape) for v in graph.inputs]
        np.testing.assert_allclose(interpret(made, *arrays)[0], interpret(graph, *arrays)[0], atol=1e-12)
    assert done > 70
