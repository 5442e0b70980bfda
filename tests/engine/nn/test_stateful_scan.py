"""Loops whose steps go on with what the one before assigned to buffers."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)


class Unrolled(nn.Module):
    """A norm in every step of a loop, or of a Python loop."""

    def __init__(self, loop):
        self.linear, self.norm, self.unused = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.loop = loop

    def forward(self, xs):
        def step(h, x):
            h = self.norm(self.linear(h) + x)
            return h, h.sum()

        h = np.zeros(xs.shape[1:], xs.dtype)
        if self.loop:
            return nn.scan(self, step, h, xs, unroll=self.loop)[1].sum()
        total = 0
        for i in range(xs.shape[0]):
            h, y = step(h, xs[i])
            total = total + y
        return total


@pytest.mark.parametrize("unroll", [1, 2])
def test_buffers_are_those_of_a_loop_of_python(unroll):
    xs = RNG.standard_normal((4, 6, 3))
    steps = [
        gl.compile_step(Unrolled(loop).to("float64"), lambda m, x: m(x) ** 2, gl.optim.SGD(1e-3), xs, threads=1)
        for loop in (0, unroll)
    ]
    for _ in range(3):
        one, other = (step(xs) for step in steps)
        np.testing.assert_allclose(one, other, rtol=1e-9)
    assert steps[1].buffers()["norm.num_batches_tracked"] == 12
    for read in (gl.Step.buffers, gl.Step.parameters):
        for name, array in read(steps[1]).items():
            np.testing.assert_allclose(array, read(steps[0])[name], rtol=1e-9, atol=1e-12)


def test_outside_a_binding_it_is_a_plain_loop_and_in_evaluation_nothing_is_assigned():
    end, ys = nn.scan(nn.ReLU(), lambda c, x: (c + x, c), np.float64(0), np.arange(3.0))
    assert (end, ys.tolist()) == (3, [0, 0, 1])

    class Counting(nn.Module):
        def __init__(self):
            self.count = nn.Buffer((), "int64")

        def forward(self, xs):
            def step(c, x):
                self.count = self.count + 1
                return c, self.count

            return nn.scan(self, step, np.float64(0), xs)[1]

    model = Counting()
    np.testing.assert_array_equal(nn.functional_call(model, {}, np.ones(3), training=True), [1, 2, 3])
    with pytest.raises(RuntimeError, match="buffer count is assigned in eval mode"):
        nn.functional_call(model, {}, np.ones(3))
