"""Convolutional layers in torch's conventions: images are (n, channels, ...), weights (out, in / groups, ...kernel)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ... import array_api as xp
from ...tracing.tracer import located
from .. import functional as F
from .. import init
from ..functional.convolution import Numbers, numbers, same_padding
from ..functional.spatial import fitting_groups
from ..module import Module
from ..parameter import Parameter

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

_NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class _Convolution(Module):
    """What all the layers hold; weight and bias begin in ±1/√fan_in."""

    axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers,
        dilation: Numbers,
        groups: int,
        bias: bool,
        transposed: bool,
        dtype: npt.DTypeLike,
    ) -> None:
        what = type(self).__name__
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = numbers(kernel_size, self.axes, f"{what}: kernel_size", 1)
        self.stride = numbers(stride, self.axes, f"{what}: stride", 1)
        self.dilation = numbers(dilation, self.axes, f"{what}: dilation", 1)
        self.groups = numbers(groups, 1, f"{what}: groups", 1)[0]
        if in_channels % self.groups or out_channels % self.groups:
            raise ValueError(
                located(
                    f"{what}: groups {groups} must divide in_channels {in_channels} and out_channels {out_channels}; "
                    f"{fitting_groups(in_channels, out_channels)}"
                )
            )
        pair = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (pair[0], pair[1] // self.groups, *self.kernel_size)
        self.weight = Parameter(shape, dtype, init.default_linear())
        fan_in = math.prod(shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        self.bias = Parameter(out_channels, dtype, init.uniform(-bound, bound)) if bias else None

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0,)), ("dilation", (1,)), ("output_padding", (0,))):
            value = getattr(self, name, usual * self.axes)
            if value not in (usual * self.axes, "valid"):
                text += f", {name}={value!r}"
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += "" if self.bias is not None else ", bias=False"
        mode = getattr(self, "padding_mode", "zeros")
        return text + (f", padding_mode={mode!r}" if mode != "zeros" else "")


class _Forward(_Convolution):
    """A convolution, with padding of any mode."""

    function: Callable[..., Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers = 1,
        padding: Numbers | Literal["same", "valid"] = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, False, dtype)
        what = type(self).__name__
        if padding_mode not in ("zeros", *_NUMPY_MODES):
            known = ", ".join(("zeros", *_NUMPY_MODES))
            raise ValueError(located(f"{what}: padding_mode is one of {known}, got {padding_mode!r}"))
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(located(f"{what}: padding is a number, 'same' or 'valid', got {padding!r}"))
            if padding == "same" and any(n != 1 for n in self.stride):
                raise ValueError(located(f"{what}: padding 'same' is for stride 1, got stride {self.stride}"))
            self.padding: tuple[int, ...] | str = padding
        else:
            self.padding = numbers(padding, self.axes, f"{what}: padding", 0)
        self.padding_mode = padding_mode

    def forward(self, input: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = self.padded(input), 0
        return type(self).function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def padded(self, x: Any) -> Any:
        """`x` with copies of its own elements around it."""
        if self.padding == "valid":
            return x
        if self.padding == "same":
            pads = same_padding(self.kernel_size, self.dilation)
        else:
            pads = tuple((int(n), int(n)) for n in self.padding)
        for axis, pair in enumerate(pads, x.ndim - self.axes):
            if any(pair):
                places = _places(x.shape[axis], pair, self.padding_mode)
                x = xp.take(x, places, axis=axis)
        return x


def _places(length: int, pads: Sequence[int], mode: str) -> Any:
    """Which element stands at each place of the padded axis. Raises `ValueError` where there are too few."""
    most = {"reflect": length - 1, "circular": length, "replicate": max(pads) if length else 0}[mode]
    if max(pads) > most:
        raise ValueError(located(f"padding {tuple(pads)} in mode {mode!r} is too much for an axis of length {length}"))
    return np.pad(np.arange(length), tuple(pads), mode=_NUMPY_MODES[mode])


class Conv1d(_Forward):
    """`functional.conv1d` by weight (out_channels, in_channels / groups, kernel_size), plus bias (out_channels,)."""

    axes = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Forward):
    """`functional.conv2d` by weight (out_channels, in_channels / groups, *kernel_size), plus bias (out_channels,)."""

    axes = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Forward):
    """`functional.conv3d` by weight (out_channels, in_channels / groups, *kernel_size), plus bias (out_channels,)."""

    axes = 3
    function = staticmethod(F.conv3d)


class _Transposed(_Convolution):
    """The gradient of a convolution to its input, as a layer."""

    function: Callable[..., Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers = 1,
        padding: Numbers = 0,
        output_padding: Numbers = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Numbers = 1,
        padding_mode: Literal["zeros"] = "zeros",
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, True, dtype)
        what = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(located(f"{what}: padding_mode is 'zeros' here, got {padding_mode!r}"))
        self.padding = numbers(padding, self.axes, f"{what}: padding", 0)
        self.output_padding = numbers(output_padding, self.axes, f"{what}: output_padding", 0)

    def forward(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        function = type(self).function
        return function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, x: Any, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives `output_size`, of the spatial axes."""
        wanted = tuple(output_size)[-self.axes :]
        rows = zip(x.shape[x.ndim - self.axes :], self.stride, self.padding, self.dilation, self.kernel_size)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in rows]
        extra = tuple(w - n for w, n in zip(wanted, least))
        if len(wanted) != self.axes or any(not 0 <= e < s for e, s in zip(extra, self.stride)):
            most = [n + s - 1 for n, s in zip(least, self.stride)]
            raise ValueError(
                located(f"{type(self).__name__}: output_size is from {least} to {most}, got {tuple(output_size)}")
            )
        return extra


class ConvTranspose1d(_Transposed):
    """`functional.conv_transpose1d` by weight (in_channels, out_channels / groups, kernel_size), plus bias."""

    axes = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """`functional.conv_transpose2d` by weight (in_channels, out_channels / groups, *kernel_size), plus bias."""

    axes = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """`functional.conv_transpose3d` by weight (in_channels, out_channels / groups, *kernel_size), plus bias."""

    axes = 3
    function = staticmethod(F.conv_transpose3d)
