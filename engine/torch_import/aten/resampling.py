"""Images at other places than those of their pixels."""

from __future__ import annotations

from typing import Any

from ...nn import functional as F
from ..table import aten


def _interpolated(
    x: Any, size: Any, factors: Any, mode: str, align_corners: bool | None, antialias: bool = False
) -> Any:
    more: dict[str, Any] = {"mode": mode, "align_corners": align_corners, "antialias": antialias}
    if size is not None:
        return F.interpolate(x, tuple(size), **more)
    return F.interpolate(x, scale_factor=tuple(factors), **more)


@aten("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec", whole=True)
def upsample_nearest(x: Any, output_size: Any, scale_factors: Any = None) -> Any:
    """Each pixel as the nearest of the input."""
    return _interpolated(x, output_size, scale_factors, "nearest", None)


@aten("upsample_linear1d.vec", whole=True)
def upsample_linear(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each place as a mean of the two nearest."""
    return _interpolated(x, output_size, scale_factors, "linear", align_corners)


@aten("upsample_bilinear2d.vec", whole=True)
def upsample_bilinear(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each pixel as a mean of the four nearest."""
    return _interpolated(x, output_size, scale_factors, "bilinear", align_corners)


@aten("upsample_trilinear3d.vec", whole=True)
def upsample_trilinear(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each voxel as a mean of the eight nearest."""
    return _interpolated(x, output_size, scale_factors, "trilinear", align_corners)


@aten("upsample_bicubic2d.vec", whole=True)
def upsample_bicubic(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each pixel by cubic splines."""
    return _interpolated(x, output_size, scale_factors, "bicubic", align_corners)


@aten("_upsample_bilinear2d_aa.vec", whole=True)
def upsample_bilinear_aa(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each pixel as a mean of those that it covers, of weights that fall with the distance."""
    return _interpolated(x, output_size, scale_factors, "bilinear", align_corners, True)


@aten("_upsample_bicubic2d_aa.vec", whole=True)
def upsample_bicubic_aa(x: Any, output_size: Any, align_corners: bool, scale_factors: Any = None) -> Any:
    """Each pixel by cubic splines of those that it covers."""
    return _interpolated(x, output_size, scale_factors, "bicubic", align_corners, True)


@aten("grid_sampler_2d.default", "grid_sampler_3d.default", whole=True)
def grid_sampler(x: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """Images at the places of a grid."""
    mode, padding = (
        ("bilinear", "nearest", "bicubic")[interpolation_mode],
        ("zeros", "border", "reflection")[padding_mode],
    )
    return F.grid_sample(x, grid, mode, padding, align_corners)


@aten("affine_grid_generator.default", whole=True)
def affine_grid_generator(theta: Any, size: Any, align_corners: bool) -> Any:
    """The places of pixels under affine maps."""
    return F.affine_grid(theta, tuple(size), align_corners)


@aten("pixel_shuffle.default", whole=True)
def pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    """Channels as places of a larger image."""
    return F.pixel_shuffle(x, upscale_factor)


@aten("pixel_unshuffle.default", whole=True)
def pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    """Places of an image as channels."""
    return F.pixel_unshuffle(x, downscale_factor)


@aten("channel_shuffle.default", whole=True)
def channel_shuffle(x: Any, groups: int) -> Any:
    """Channels of groups in turn."""
    return F.channel_shuffle(x, groups)


@aten("im2col.default", whole=True)
def im2col(x: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Windows of images as columns."""
    return F.unfold(x, tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride))


@aten("col2im.default", whole=True)
def col2im(x: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Sums of columns as images."""
    return F.fold(x, tuple(output_size), tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride))
