"""Polyphase components, and the outputs of each tap, are all the products of a convolution, each once."""

import pytest
from gradloom.ir.ops.convolution import Window
from gradloom.passes.kernels.polyphase import polyphase_components, tap_outputs


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("expand", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_polyphase_components_and_outputs_of_taps_are_all_the_products_of_a_convolution(stride, expand, dilation):
    for low, kernel, length in ((0, 1, 1), (2, 3, 4), (-1, 2, 5), (5, 4, 2), (1, 3, 6)):
        window = Window(stride, low, low + 1, dilation, expand)
        steps = window.steps(length, kernel)
        expected = {
            (o, k, (o * stride + k * dilation - low) // expand)
            for o in range(steps)
            for k in range(kernel)
            if (o * stride + k * dilation - low) % expand == 0
        }
        components = polyphase_components(window, length, kernel)
        found = [
            (p.first + q * p.stride, p.first_tap + t * p.tap_stride, p.reach[0] + q * p.input_stride + t * p.dilation)
            for p in components
            for q in range(p.count)
            for t in range(p.taps)
        ]
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert sorted(p.first + q * p.stride for p in components for q in range(p.count)) == list(range(steps))
        met = {
            (m.first + t * m.stride, k, m.input_first + t * m.input_stride)
            for k, m in enumerate(tap_outputs(window, length, steps, kernel))
            for t in range(m.count)
        }
        assert met == {(o, k, i) for o, k, i in expected if 0 <= i < length}
