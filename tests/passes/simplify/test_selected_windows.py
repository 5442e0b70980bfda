"""The backward of a relu before a pooling is taken window by window: the same bits."""

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Builder, interpret, spec
from gradloom.passes.simplify.simplify import Simplify


def selected(shape, dtype, comparison, bound, size, stride, low, dilation):
    """What windows over `x` hand to their largest elements, where these compare so."""
    b = Builder()
    x = b.input(spec(shape, dtype))
    spatial = len(shape) - 2
    numbers = {"size": size, "stride": stride, "low": low, "high": low, "dilation": dilation}
    attrs = {"axes": tuple(range(1, spatial + 1)), **{name: (n,) * spatial for name, n in numbers.items()}}
    largest = b.emit(OPS["window_max"], x, **attrs)
    places = b.emit(OPS["window_find"], x, largest, **attrs)
    g = b.input(largest.type)
    put = b.emit(OPS["window_put"], g, places, lengths=shape[1:-1], **attrs)
    there = b.emit(OPS[comparison], x, b.full(bound, x.type))
    return b.graph([b.emit(OPS["select"], there, put, b.full(0.0, x.type))])


@pytest.mark.parametrize(
    ("shape", "comparison", "bound", "size", "stride", "low", "dilation"),
    [
        ((2, 7, 9, 5), "gt", 0.0, 2, 2, 0, 1),
        ((2, 7, 9, 5), "gt", 0.0, 3, 2, 1, 1),
        ((2, 7, 9, 5), "lt", 1.0, 3, 1, 1, 2),
        ((3, 11, 6), "ge", 0.0, 3, 2, 1, 1),
        ((1, 6, 5, 7, 3), "ne", 0.0, 2, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_selecting_by_windows_gives_the_bits_of_selecting_by_elements(
    dtype, shape, comparison, bound, size, stride, low, dilation
):
    graph = selected(shape, dtype, comparison, bound, size, stride, low, dilation)
    by_windows = Simplify()(graph)
    assert by_windows.outputs[0].node.op.name == "window_put"
    rng = np.random.default_rng(3)
    # Few numbers, so that windows have several largest elements; some are zeros of both signs, infinite or NaN.
    x = rng.choice(np.array([-2, -0.0, 0.0, 0.5, 1, 3, np.nan, -np.inf, np.inf], dtype), shape)
    g = rng.normal(size=graph.inputs[1].type.shape).astype(dtype)
    (expected,) = interpret(graph, x, g)
    np.testing.assert_array_equal(interpret(by_windows, x, g)[0], expected)
    np.testing.assert_array_equal(run_compiled(graph, x, g)[0], expected)
