"""Convolutions: ours have their channels last, ONNX's first."""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.ops import convolution
from .emitter import Emitter, emits
from .movement import spread, turned
from .symbolic_graph import SymbolicNode


@emits(convolution.conv)
def conv(e: Emitter, node: SymbolicNode) -> str:
    x, w = node.inputs
    axes = x.ndim - 2
    if not axes:
        raise e.refusal("ONNX has no convolution without axes behind the channels")
    names = ("stride", "low", "high", "dilation", "expand")
    stride, low, high, dilation, expand = (e.whole(node.attrs[name], name) for name in names)
    first = e.transposed(e.name(x), (0, x.ndim - 1, *range(1, x.ndim - 1)))
    kernel = e.whole(w.shape[2:], "the kernel")
    end = [b - d * (k - 1) for b, d, k in zip(high, dilation, kernel)]
    begin = [d * (k - 1) - a for a, d, k in zip(low, dilation, kernel)]
    if max(expand) > 1 and max(stride) == 1 and min(begin) >= 0 and all(n < s for n, s in zip(end, expand)):
        y = _transposed(e, node, first, expand, begin, end, dilation)
    else:
        shape = [x.shape[0], x.shape[-1], *x.shape[1:-1]]
        first = spread(e, first, shape, (0, 0, *(n - 1 for n in expand)), e.constant(0, x.dtype))
        first, pads = _padded(e, first, low, high)
        attributes = {"strides": stride, "dilations": dilation, "pads": pads, "group": node.attrs["groups"]}
        y = e.node("Conv", first, e.name(w), kernel_shape=kernel, **attributes)
    return e.transposed(y, (0, *range(2, axes + 2), 1))


def _padded(e: Emitter, x: str, low: Sequence[int], high: Sequence[int]) -> tuple[str, list[int]]:
    """What is cropped by padding below 0, and the padding that is left."""
    if min(*low, *high) >= 0:
        return x, [*low, *high]
    starts = [max(-n, 0) for n in low]
    ends = [min(n, 0) or 2**31 for n in high]
    axes = range(2, 2 + len(low))
    cut = e.node("Slice", x, e.numbers(*starts), e.numbers(*ends), e.numbers(*axes))
    return cut, [max(n, 0) for n in (*low, *high)]


def _transposed(
    e: Emitter,
    node: SymbolicNode,
    x: str,
    expand: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    dilation: Sequence[int],
) -> str:
    """A transposed convolution, whose weight is (channels in, channels out / groups, kernel turned around)."""
    w, groups = node.inputs[1], node.attrs["groups"]
    out, inner, *kernel = e.whole(w.shape, "a weight")
    weight = turned(e, e.name(w), range(2, 2 + len(kernel)))
    if groups > 1:
        weight = e.reshaped(weight, (groups, out // groups, inner, *kernel))
        weight = e.transposed(weight, (0, 2, 1, *range(3, 3 + len(kernel))))
        weight = e.reshaped(weight, (groups * inner, out // groups, *kernel))
    else:
        weight = e.transposed(weight, (1, 0, *range(2, 2 + len(kernel))))
    return e.node(
        "ConvTranspose",
        x,
        weight,
        strides=expand,
        dilations=dilation,
        kernel_shape=kernel,
        pads=[*begin, *(max(-n, 0) for n in end)],
        output_padding=[max(n, 0) for n in end],
        group=groups,
    )
