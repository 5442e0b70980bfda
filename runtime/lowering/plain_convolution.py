"""Convolutions of any form, one output at a time: the kernels for what has no faster ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES


def convolution(dtype: np.dtype[Any]) -> str:
    """A tile of output positions.

    Args: tile, positions of a tile, all positions, x, w, y, channels in and out of a group, groups, positions of one
    image, elements of one image of x, places of the kernel, spatial axes, then for each: length of x, of y, of the
    kernel, stride, low, dilation, expand.
    """
    short = SHORT_NAMES[dtype]
    return f"""
def kernel(b):
    start = word(b, 0) * word(b, 1)
    stop = start + word(b, 1) if start + word(b, 1) < word(b, 2) else word(b, 2)
    x, w, y = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0), array_{short}(word(b, 5), 0)
    inner, outer, groups = word(b, 6), word(b, 7), word(b, 8)
    image, x_image, places, axes = word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    for position in range(start, stop):
        n = position // image
        target = window(y, position * groups * outer, groups * outer)
        for c in range(groups * outer):
            target[c] = {short}(0)
        for place in range(places):
            q, k = position - n * image, place
            at, stride, inside = n * x_image, inner * groups, True
            for axis in range(axes - 1, -1, -1):
                first = 13 + 7 * axis
                length, steps, size = word(b, first), word(b, first + 1), word(b, first + 2)
                i = q % steps * word(b, first + 3) + k % size * word(b, first + 5) - word(b, first + 4)
                inside = inside & (i >= 0) & (i < length * word(b, first + 6)) & (i % word(b, first + 6) == 0)
                at += i // word(b, first + 6) * stride
                stride = stride * length
                q = q // steps
                k = k // size
            if inside:
                source = window(x, at, groups * inner)
                for c in range(groups * outer):
                    group = c // outer
                    total = target[c]
                    for j in range(inner):
                        total = total + source[group * inner + j] * w[(c * inner + j) * places + place]
                    target[c] = total
    return i64(0)
"""


def weight_gradient(dtype: np.dtype[Any], sectioned: bool) -> str:
    """A tile of output channels; `sectioned`, each section of positions has a sum of its own, added to the result.

    Args: tile, output channels of a tile, all output channels, x, g, dw, channels in and out of a group, groups,
    positions of one image, elements of one image of x, places of the kernel, spatial axes, for each what `convolution`
    has, then all positions, whether dw is added to, positions of a section, scratch of the worker.
    """
    short = SHORT_NAMES[dtype]
    begins = ends = ""
    if sectioned:
        begins = f"""of_section = (stop - start) * inner * places
        y = window(array_{short}(word(b, 16 + 7 * axes), 0), 0, of_section)
        for e in range(of_section):
            y[e] = {short}(0)"""
        ends = """for e in range(of_section):
            dw[start * inner * places + e] = dw[start * inner * places + e] + y[e]"""
    return f"""
def kernel(b):
    start = word(b, 0) * word(b, 1)
    stop = start + word(b, 1) if start + word(b, 1) < word(b, 2) else word(b, 2)
    x, g, dw = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0), array_{short}(word(b, 5), 0)
    inner, outer, groups = word(b, 6), word(b, 7), word(b, 8)
    image, x_image, places, axes = word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    positions = word(b, 13 + 7 * axes)
    if word(b, 14 + 7 * axes) == 0:
        for e in range(start * inner * places, stop * inner * places):
            dw[e] = {short}(0)
    y = window(dw, start * inner * places, (stop - start) * inner * places)
    for begin in range(0, positions, word(b, 15 + 7 * axes)):
        end = positions if positions < begin + word(b, 15 + 7 * axes) else begin + word(b, 15 + 7 * axes)
        {begins}
        for position in range(begin, end):
            n = position // image
            for place in range(places):
                q, k = position - n * image, place
                at, stride, inside = n * x_image, inner * groups, True
                for axis in range(axes - 1, -1, -1):
                    first = 13 + 7 * axis
                    length, steps, size = word(b, first), word(b, first + 1), word(b, first + 2)
                    i = q % steps * word(b, first + 3) + k % size * word(b, first + 5) - word(b, first + 4)
                    inside = inside & (i >= 0) & (i < length * word(b, first + 6)) & (i % word(b, first + 6) == 0)
                    at += i // word(b, first + 6) * stride
                    stride = stride * length
                    q = q // steps
                    k = k // size
                if inside:
                    for c in range(start, stop):
                        source = window(x, at + c // outer * inner, inner)
                        factor = g[position * groups * outer + c]
                        for j in range(inner):
                            e = ((c - start) * inner + j) * places + place
                            y[e] = y[e] + source[j] * factor
        {ends}
    return i64(0)
"""
