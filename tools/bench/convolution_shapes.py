"""Shapes of single convolutions, as `python -m gradloom.tools.bench.convolutions` writes and reads them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A convolution of lines of `size` elements (`axes` 1), of `size` x `size` images or of volumes of three such
    axes, padded by half of its `kernel` where `padding` says nothing else.
    """

    batch: int
    channels: int
    out: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    padding: int = -1
    axes: int = 2
    transposed: bool = False

    def __str__(self) -> str:
        kernel = "x".join([str(self.kernel)] * self.axes)
        text = f"{self.channels}->{self.out} {kernel} /{self.stride} {self.size}px n{self.batch}"
        text += f" g{self.groups}" if self.groups > 1 else ""
        text += f" d{self.dilation}" if self.dilation > 1 else ""
        text += f" p{self.padding}" if self.padding >= 0 else ""
        return text + (" t" if self.transposed else "")

    @staticmethod
    def parse(text: str) -> Shape:
        """The shape that prints as `text`. Raises `ValueError` where none does."""
        found = re.fullmatch(
            r"(\d+)->(\d+) (\d+)((?:x\3){0,2}) /(\d+) (\d+)px n(\d+)(?: g(\d+))?(?: d(\d+))?(?: p(\d+))?( t)?",
            text.strip(),
        )
        if found is None:
            raise ValueError(f"{text!r} is no shape like '64->128 3x3 /2 56px n8' or '16->32 9 /1 400px n8 g2 d2 p4 t'")
        channels, out, kernel, others, stride, size, batch, groups, dilation, padding, transposed = found.groups()
        numbers = (int(word) for word in (batch, channels, out, size, kernel, stride))
        return Shape(
            *numbers,
            groups=int(groups or 1),
            dilation=int(dilation or 1),
            padding=-1 if padding is None else int(padding),
            axes=1 + others.count("x"),
            transposed=transposed is not None,
        )

    @property
    def padded(self) -> int:
        """Zeros on each side."""
        return self.dilation * (self.kernel // 2) if self.padding < 0 else self.padding

    @property
    def made(self) -> int:
        """Elements of the output along an axis."""
        reach = self.dilation * (self.kernel - 1) + 1
        if self.transposed:
            return (self.size - 1) * self.stride - 2 * self.padded + reach
        return (self.size + 2 * self.padded - reach) // self.stride + 1

    @property
    def weight(self) -> tuple[int, ...]:
        """The weight's shape."""
        first, second = (self.channels, self.out) if self.transposed else (self.out, self.channels)
        return first, second // self.groups, *(self.kernel,) * self.axes

    @property
    def flops(self) -> int:
        """Of the forward, and of each gradient."""
        positions = (self.size if self.transposed else self.made) ** self.axes
        return 2 * self.batch * positions * math.prod(self.weight)

    @property
    def options(self) -> dict[str, int]:
        """Keyword arguments of the functions that convolve, here and in torch."""
        return {"stride": self.stride, "padding": self.padded, "dilation": self.dilation, "groups": self.groups}

    @property
    def function(self) -> str:
        """The name of the function that convolves, here and in torch."""
        return f"conv{'_transpose' * self.transposed}{self.axes}d"


GRID = {
    kind: tuple(Shape.parse(line) for line in text.strip().splitlines())
    for kind, text in {
        "images": """
            3->64 7x7 /2 112px n4
            3->32 3x3 /1 112px n4
            16->16 3x3 /1 112px n4
            16->16 7x7 /1 56px n4
            16->32 5x5 /2 56px n8
            16->64 1x1 /1 56px n8
            64->64 3x3 /1 56px n2
            64->128 3x3 /2 56px n4
            64->128 1x1 /2 56px n8
            32->32 5x5 /1 28px n8
            48->200 1x1 /1 33px n4
            64->64 3x3 /1 28px n8 d2
            128->128 3x3 /1 28px n2
            256->256 3x3 /1 14px n4
            256->512 1x1 /2 14px n16
            64->64 5x5 /1 14px n8
            128->128 5x5 /1 7px n8
            512->512 3x3 /1 7px n4
            512->512 1x1 /1 7px n16
            32->64 7x7 /1 7px n16
        """,
        "groups": """
            32->32 3x3 /1 112px n4 g32
            96->96 3x3 /1 28px n16 g96
            96->96 7x7 /1 28px n8 g96
            144->144 3x3 /2 28px n16 g144
            120->120 5x5 /1 14px n16 g120
            512->512 3x3 /1 7px n16 g512
            32->64 3x3 /1 28px n8 g32
            64->64 3x3 /1 28px n8 g32
            96->96 3x3 /2 28px n16 g32
            128->128 3x3 /1 28px n8 g32
            256->256 5x5 /1 7px n16 g64
            64->64 3x3 /1 28px n8 g2
        """,
        "transposed": """
            64->32 2x2 /2 14px n16 p0 t
            128->64 4x4 /2 14px n4 p1 t
            48->24 3x3 /2 20px n8 t
            512->128 3x3 /1 7px n4 t
            32->3 5x5 /1 56px n4 t
        """,
        "lines": """
            1->32 80 /4 4000px n8
            3->64 7 /2 4000px n8
            16->32 9 /1 4000px n8
            64->64 3 /1 1000px n8
            32->32 3 /1 2000px n8 d8
            64->128 3 /2 400px n16
            128->256 1 /2 400px n8
            512->512 1 /1 100px n8
            64->64 7 /1 1000px n8 g64
            128->128 5 /1 400px n8 g32
            64->32 4 /2 500px n8 p1 t
        """,
        "volumes": """
            3->16 7x7x7 /2 28px n2
            16->16 3x3x3 /1 28px n2
            16->32 5x5x5 /1 14px n2
            32->64 3x3x3 /2 28px n2
            64->64 3x3x3 /1 14px n2
            32->32 3x3x3 /1 14px n4 d2
            128->128 3x3x3 /1 7px n4
            64->128 1x1x1 /2 28px n2
            128->64 1x1x1 /1 14px n4
            64->64 3x3x3 /1 14px n4 g64
            64->64 3x3x3 /1 14px n4 g16
            32->16 2x2x2 /2 14px n4 p0 t
        """,
    }.items()
}
