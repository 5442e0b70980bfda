"""Max unpooling as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from .. import functional as F
from ..module import Module


class _MaxUnpool(Module):
    unpool: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, input: Any, indices: Any, output_size: Sequence[int] | None = None) -> Any:
        return type(self).unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """What `MaxPool1d(..., return_indices=True)` gives, back at its places; see `functional.max_unpool1d`."""

    unpool = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """What `MaxPool2d(..., return_indices=True)` gives, back at its places; see `functional.max_unpool2d`."""

    unpool = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """What `MaxPool3d(..., return_indices=True)` gives, back at its places; see `functional.max_unpool3d`."""

    unpool = staticmethod(F.max_unpool3d)
