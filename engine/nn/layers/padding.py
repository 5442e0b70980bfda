"""Padding layers: widths for all sides at once, or (before, after) from the last axis on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, located
from .. import functional as F
from ..functional.spatial import numbers_of
from ..module import Module

Widths = int | Sequence[int]


class _Pad(Module):
    axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Widths) -> None:
        self.padding = numbers_of(type(self).__name__, "padding", padding, 2 * self.axes)
        self.value = 0.0

    def forward(self, input: Any) -> Any:
        input = as_arraylike(input)
        if input.ndim not in (self.axes + 1, self.axes + 2):
            raise ShapeError(
                located(
                    f"{type(self).__name__}: the input has {self.axes + 1} or {self.axes + 2} axes, got "
                    f"{described(input)}"
                )
            )
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Widths, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_Pad):
    mode: ClassVar[str] = "constant"


class _ReflectionPad(_Pad):
    mode: ClassVar[str] = "reflect"


class _ReplicationPad(_Pad):
    mode: ClassVar[str] = "replicate"


class _CircularPad(_Pad):
    mode: ClassVar[str] = "circular"


class ConstantPad1d(_ConstantPad):
    """Elements `value` around (N, C, L) or (C, L)."""

    axes: ClassVar[int] = 1


class ConstantPad2d(_ConstantPad):
    """Elements `value` around (N, C, H, W) or (C, H, W)."""

    axes: ClassVar[int] = 2


class ConstantPad3d(_ConstantPad):
    """Elements `value` around (N, C, D, H, W) or (C, D, H, W)."""

    axes: ClassVar[int] = 3


class ZeroPad1d(_ZeroPad):
    """Zeros around (N, C, L) or (C, L)."""

    axes: ClassVar[int] = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around (N, C, H, W) or (C, H, W)."""

    axes: ClassVar[int] = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around (N, C, D, H, W) or (C, D, H, W)."""

    axes: ClassVar[int] = 3


class ReflectionPad1d(_ReflectionPad):
    """The elements next to the edges of (N, C, L) or (C, L), mirrored, around it."""

    axes: ClassVar[int] = 1


class ReflectionPad2d(_ReflectionPad):
    """The elements next to the edges of (N, C, H, W) or (C, H, W), mirrored, around it."""

    axes: ClassVar[int] = 2


class ReflectionPad3d(_ReflectionPad):
    """The elements next to the edges of (N, C, D, H, W) or (C, D, H, W), mirrored, around it."""

    axes: ClassVar[int] = 3


class ReplicationPad1d(_ReplicationPad):
    """The edges of (N, C, L) or (C, L) around it."""

    axes: ClassVar[int] = 1


class ReplicationPad2d(_ReplicationPad):
    """The edges of (N, C, H, W) or (C, H, W) around it."""

    axes: ClassVar[int] = 2


class ReplicationPad3d(_ReplicationPad):
    """The edges of (N, C, D, H, W) or (C, D, H, W) around it."""

    axes: ClassVar[int] = 3


class CircularPad1d(_CircularPad):
    """The elements from the other end of (N, C, L) or (C, L) around it."""

    axes: ClassVar[int] = 1


class CircularPad2d(_CircularPad):
    """The elements from the other end of (N, C, H, W) or (C, H, W) around it."""

    axes: ClassVar[int] = 2


class CircularPad3d(_CircularPad):
    """The elements from the other end of (N, C, D, H, W) or (C, D, H, W) around it."""

    axes: ClassVar[int] = 3
