"""Augmentations as layers, which change nothing in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...array_api.broadcasting import described
from ...tracing.tracer import ShapeError, located
from ..functional.padding import pad
from ..functional.resizing import interpolate
from ..functional.spatial import numbers_of
from ..module import Module
from .colors import gaussian_blur, gaussian_noise
from .geometry import (
    random_affine,
    random_crop,
    random_horizontal_flip,
    random_resized_crop,
    random_rotation,
    random_vertical_flip,
)
from .images import Range, images


class RandomHorizontalFlip(Module):
    """`random_horizontal_flip` in training."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, input: Any) -> Any:
        return random_horizontal_flip(input, self.p) if self.training else input


class RandomVerticalFlip(Module):
    """`random_vertical_flip` in training."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, input: Any) -> Any:
        return random_vertical_flip(input, self.p) if self.training else input


class RandomCrop(Module):
    """`random_crop` in training, and the window in the middle in evaluation."""

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] = 0,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = size
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def forward(self, input: Any) -> Any:
        if self.training:
            return random_crop(input, self.size, self.padding, self.fill, self.padding_mode)
        x = images("RandomCrop", input)
        height, width = numbers_of("RandomCrop", "size", self.size, 2, 1)
        down, across = x.shape[2] - height, x.shape[3] - width
        if min(down, across) < 0:
            raise ShapeError(located(f"RandomCrop: in evaluation {described(x)} is not padded to {(height, width)}"))
        return pad(x, (-(across // 2), -(across - across // 2), -(down // 2), -(down - down // 2)))


class RandomResizedCrop(Module):
    """`random_resized_crop` in training, and the whole image in that size in evaluation."""

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        mode: str = "bilinear",
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.mode = mode

    def forward(self, input: Any) -> Any:
        if self.training:
            return random_resized_crop(input, self.size, self.scale, self.ratio, self.mode)
        sizes = numbers_of("RandomResizedCrop", "size", self.size, 2, 1)
        return input if tuple(input.shape[2:]) == sizes else interpolate(input, sizes, mode=self.mode)


class RandomRotation(Module):
    """`random_rotation` in training."""

    def __init__(self, degrees: Range, mode: str = "bilinear", fill: float = 0) -> None:
        self.degrees = degrees
        self.mode = mode
        self.fill = fill

    def forward(self, input: Any) -> Any:
        return random_rotation(input, self.degrees, self.mode, self.fill) if self.training else input


class RandomAffine(Module):
    """`random_affine` in training."""

    def __init__(
        self,
        degrees: Range = 0,
        translate: Sequence[float] = (0, 0),
        scale: Sequence[float] = (1, 1),
        mode: str = "bilinear",
        fill: float = 0,
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = scale
        self.mode = mode
        self.fill = fill

    def forward(self, input: Any) -> Any:
        if not self.training:
            return input
        return random_affine(input, self.degrees, self.translate, self.scale, self.mode, self.fill)


class GaussianNoise(Module):
    """`gaussian_noise` in training."""

    def __init__(self, mean: float = 0.0, sigma: Range = 0.1, clip: Sequence[float] | None = None) -> None:
        self.mean = mean
        self.sigma = sigma
        self.clip = clip

    def forward(self, input: Any) -> Any:
        return gaussian_noise(input, self.mean, self.sigma, self.clip) if self.training else input


class GaussianBlur(Module):
    """`gaussian_blur` in training."""

    def __init__(self, kernel_size: int | Sequence[int], sigma: Range = (0.1, 2.0)) -> None:
        self.kernel_size = kernel_size
        self.sigma = sigma

    def forward(self, input: Any) -> Any:
        return gaussian_blur(input, self.kernel_size, self.sigma) if self.training else input
