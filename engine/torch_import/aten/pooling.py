"""Windows over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...nn import functional as F
from ..table import aten

_MAX = {"1": F.max_pool1d, "2": F.max_pool2d, "3": F.max_pool3d}
_MEAN = {"1": F.avg_pool1d, "2": F.avg_pool2d, "3": F.avg_pool3d}
_ADAPTIVE_MEAN = {"1": F.adaptive_avg_pool1d, "2": F.adaptive_avg_pool2d, "3": F.adaptive_avg_pool3d}
_ADAPTIVE_MAX = {"1": F.adaptive_max_pool1d, "2": F.adaptive_max_pool2d, "3": F.adaptive_max_pool3d}


def _sizes(kernel: Sequence[int], axes: str, *others: Any) -> list[tuple[int, ...]]:
    """Arguments that say one number for all axes, or one for each; no stride is that of the kernel."""
    return [tuple(n or kernel) * (int(axes) if len(n or kernel) == 1 else 1) for n in (kernel, *others)]


def _enter_max(axes: str, name: str, with_places: bool) -> None:
    @aten(name, whole=True)
    def max_pool(
        x: Any, kernel_size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil_mode: bool = False
    ) -> Any:
        kernel, strides, pads, dilations = _sizes(kernel_size, axes, stride, padding, dilation)
        result = _MAX[axes](x, kernel, strides, pads, dilations, ceil_mode, with_places)
        return result if not with_places else tuple(result)


for _axes in "123":
    _enter_max(_axes, f"max_pool{_axes}d.default", False)
for _axes in "23":
    _enter_max(_axes, f"max_pool{_axes}d_with_indices.default", True)
_enter_max("1", "max_pool1d_with_indices.default", True)


def _enter_mean(axes: str) -> None:
    @aten(f"avg_pool{axes}d.default", whole=True)
    def avg_pool(
        x: Any,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        kernel, strides, pads = _sizes(kernel_size, axes, stride, padding)
        more = {} if divisor_override is None else {"divisor_override": divisor_override}
        return _MEAN[axes](x, kernel, strides, pads, ceil_mode, count_include_pad, **more)

    @aten(f"adaptive_avg_pool{axes}d.default", whole=True)
    def adaptive_avg_pool(x: Any, output_size: Sequence[int]) -> Any:
        return _ADAPTIVE_MEAN[axes](x, tuple(output_size))

    @aten(f"adaptive_max_pool{axes}d.default", whole=True)
    def adaptive_max_pool(x: Any, output_size: Sequence[int]) -> Any:
        return _ADAPTIVE_MAX[axes](x, tuple(output_size), True)


for _axes in "123":
    _enter_mean(_axes)


@aten("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
def adaptive_avg_pool(x: Any, output_size: Sequence[int]) -> Any:
    """Means of as many windows as are asked for."""
    return _ADAPTIVE_MEAN[str(len(output_size))](x, tuple(output_size))
