"""Polyphase components of a convolution along one axis: which outputs, taps and elements of the input meet.

A convolution whose input has zeros between its elements (`expand`, as the gradient of a strided convolution has) would
mostly multiply by zeros. Its outputs split into components: the outputs of a component meet the same taps of the
kernel, and only elements of the input, never a zero between two of them. Known elsewhere as sub-pixel decomposition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir.ops.convolution import Window


@dataclass(frozen=True, slots=True)
class PolyphaseComponent:
    """Outputs `first + q * stride` along one axis, for q below `count`.

    They meet the taps `first_tap + t * tap_stride` of the kernel, for t below `taps`, with the input at
    `input_first + q * input_stride + t * dilation`. The strides and `dilation` are the same for all components.
    """

    first: int
    count: int
    stride: int
    input_first: int
    input_stride: int
    taps: int
    first_tap: int
    tap_stride: int
    dilation: int

    @property
    def input_last_tap(self) -> int:
        """The place of the input that the first output meets at the last tap."""
        return self.input_first + (self.taps - 1) * self.dilation

    @property
    def reach(self) -> tuple[int, int]:
        """The first and the last place of the input that is met; they may lie in the padding."""
        return self.input_first, (self.count - 1) * self.input_stride + self.input_last_tap


def polyphase_components(window: Window, length: int, kernel: int) -> list[PolyphaseComponent]:
    """The components of one axis with an input of `length` and `kernel` taps. One with `taps` of 0 is all zeros."""
    outputs = window.steps(length, kernel)
    # Output o meets tap k where `o * stride + k * dilation - low` is a multiple of `expand`. Whether it is repeats with
    # this period in o, and with that one in k.
    stride = window.expand // math.gcd(window.expand, window.stride)
    tap_stride = window.expand // math.gcd(window.expand, window.dilation)
    input_stride, dilation = stride * window.stride // window.expand, tap_stride * window.dilation // window.expand
    result: list[PolyphaseComponent] = []
    for first in range(min(stride, outputs)):
        begin = first * window.stride - window.low
        taps = [k for k in range(kernel) if (begin + k * window.dilation) % window.expand == 0]
        first_tap = taps[0] if taps else 0
        input_first = (begin + first_tap * window.dilation) // window.expand
        count = -(-(outputs - first) // stride)
        result.append(
            PolyphaseComponent(
                first, count, stride, input_first, input_stride, len(taps), first_tap, tap_stride, dilation
            )
        )
    return result


@dataclass(frozen=True, slots=True)
class TapOutputs:
    """The outputs along one axis that meet an element of the input at one tap of the kernel: `first + t * stride`, for
    t below `count`, with the input at `input_first + t * input_stride`.
    """

    first: int
    count: int
    stride: int
    input_first: int
    input_stride: int


def tap_outputs(window: Window, length: int, outputs: int, kernel: int) -> list[TapOutputs]:
    """For each tap of the kernel along one axis, the outputs that meet an element of the input there.

    They are what a weight gradient sums over for that tap. Outputs that meet the padding are left out, since they would
    add zeros: so the input needs no padded copy.
    """
    stride = window.expand // math.gcd(window.expand, window.stride)
    input_stride = stride * window.stride // window.expand
    result: list[TapOutputs] = []
    for k in range(kernel):
        shift = k * window.dilation - window.low
        starts = [o for o in range(min(stride, outputs)) if (o * window.stride + shift) % window.expand == 0]
        if not starts:
            result.append(TapOutputs(0, 0, stride, 0, input_stride))
            continue
        first = starts[0]
        input_first = (first * window.stride + shift) // window.expand
        # Skip what lies before the input, and stop at its end or at the last output.
        skipped = max(0, -(input_first // input_stride))
        last = min((length - 1 - input_first) // input_stride, (outputs - 1 - first) // stride)
        count = max(0, last - skipped + 1)
        first, input_first = first + skipped * stride, input_first + skipped * input_stride
        result.append(TapOutputs(first, count, stride, input_first, input_stride))
    return result
