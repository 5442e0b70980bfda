"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...nn import functional as F
from ..table import aten

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@aten("convolution.default")
def convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A convolution in one, two or three axes, or the transposed map of one."""
    axes = weight.ndim - 2
    s, p, d, o = (tuple(n) * (axes if len(n) == 1 else 1) for n in (stride, padding, dilation, output_padding))
    if transposed:
        return _TRANSPOSED[axes](x, weight, bias, s, p, o, groups, d)
    return _FORWARD[axes](x, weight, bias, s, p, d, groups)
