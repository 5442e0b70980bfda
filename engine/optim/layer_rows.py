"""What a layer multiplies its weight by, as the rows of a matrix, and the derivatives of what it makes, row by row.

The gradient of the weight, as a matrix (out, in), is the product of the second, transposed, and the first.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from .. import array_api as xp
from ..nn import Conv1d, Conv2d, Conv3d, Linear, Module
from ..nn.functional.convolution import same_padding

_CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)


def has_rows(module: Module) -> bool:
    """Whether `module` is a layer that multiplies one weight: `Linear`, or a convolution in one group."""
    if isinstance(module, _CONVOLUTIONS):
        return module.groups == 1 and type(module).forward is Conv1d.forward
    return isinstance(module, Linear) and type(module).forward is Linear.forward


def input_rows(module: Any, x: Any) -> Any:
    """The input `x` of a layer as (rows, in): one row for each place of the output."""
    if isinstance(module, Linear):
        return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    axes = module.axes
    x = x if x.ndim == axes + 2 else xp.expand_dims(x, 0)
    x = _padded(module, x)
    reach = [d * (k - 1) + 1 for k, d in zip(module.kernel_size, module.dilation)]
    lengths = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, module.stride)]
    parts: list[Any] = []
    for place in itertools.product(*(range(k) for k in module.kernel_size)):
        begin = [i * d for i, d in zip(place, module.dilation)]
        window = [slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begin, lengths, module.stride)]
        parts.append(x[(slice(None), slice(None), *window)])
    # (n, ...places, channels, kernel): a row is in the order of the weight's.
    patches = xp.permute_dims(xp.stack(parts, axis=2), (0, *range(3, 3 + axes), 1, 2))
    return xp.reshape(patches, (x.shape[0] * math.prod(lengths), x.shape[1] * len(parts)))


def output_rows(module: Any, y: Any) -> Any:
    """An array like the output of a layer as (rows, out), in the order of `input_rows`."""
    if isinstance(module, Linear):
        return xp.reshape(y, (math.prod(y.shape[:-1]), y.shape[-1]))
    y = y if y.ndim == module.axes + 2 else xp.expand_dims(y, 0)
    last = xp.permute_dims(y, (0, *range(2, y.ndim), 1))
    return xp.reshape(last, (math.prod(last.shape[:-1]), last.shape[-1]))


def _padded(module: Any, x: Any) -> Any:
    if module.padding_mode != "zeros":
        return module.padded(x)
    if module.padding == "same":
        pads = same_padding(module.kernel_size, module.dilation)
    else:
        pads = ((0, 0),) * module.axes if module.padding == "valid" else tuple((n, n) for n in module.padding)
    return xp.pad(x, ((0, 0), (0, 0), *pads))
