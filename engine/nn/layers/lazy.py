"""Layers that take the number of their input's features or channels from what they are first given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from ...array_api.broadcasting import as_arraylike
from ...tracing.tracer import ShapeError, located
from ..binding import binding_of
from ..module import Module
from ..parameter import Buffer, Stored
from ..uninitialized import UninitializedBuffer, UninitializedParameter, is_uninitialized
from .batch_normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Numbers, PaddingMode
from .linear import Linear


class _Lazy(Module):
    """A layer whose parameters have no shape until it is first given an input; it is of `cls_to_become` then."""

    cls_to_become: ClassVar[type[Module]]
    size_name: ClassVar[str]

    def _prepare(self, make: Callable[[int], Module], size: int = 1) -> None:
        """Be like `make(size)`, without the shapes of what it stores."""
        like = make(size)
        for name, stored in like.all_stored():
            kind = UninitializedBuffer if isinstance(stored, Buffer) else UninitializedParameter
            setattr(self, name, kind(dtype=stored.dtype) if stored.shape else stored)
        settings = {name: value for name, value in like.__dict__.items() if name not in self.__dict__}
        self.__dict__.update(settings | {self.size_name: 0})
        for table in ("_parameters", "_buffers"):
            absent = {name: None for name, stored in like.__dict__[table].items() if stored is None}
            self.__dict__[table].update(absent)
        self.__dict__["_make"] = make

    def has_uninitialized_params(self) -> bool:
        """Whether something has no shape yet."""
        return any(is_uninitialized(stored) for _, stored in self.all_stored())

    def initialize_parameters(self, input: Any) -> None:
        """Take the shapes from `input`, and become the layer that it is for. Raises `ShapeError` where it has none."""
        x = as_arraylike(input)
        axis = self._axis(x.ndim)
        if not -x.ndim <= axis < x.ndim:
            shown = f"{type(self).__name__} takes {self.size_name} from axis {axis} of its input"
            raise ShapeError(located(f"{shown}, which has the shape {tuple(x.shape)}"))
        like = cast("Callable[[int], Module]", self.__dict__.pop("_make"))(int(x.shape[axis]))
        own = dict(self.all_stored())
        binding = binding_of(self)
        for name, stored in like.all_stored():
            mine = own[name]
            if is_uninitialized(mine):
                mine.materialize(stored)
                if binding is not None:
                    binding.values[mine] = _zeros(mine)
                    binding.assignable = {*binding.assignable, mine}
        self.__dict__[self.size_name] = like.__dict__[self.size_name]
        self.__class__ = type(like)  # pyright: ignore[reportAttributeAccessIssue]

    def _axis(self, ndim: int) -> int:
        return -1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(args[0] if args else next(iter(kwargs.values())))
        return self(*args, **kwargs)


def _zeros(stored: Stored) -> Any:
    """Values for the run that finds out shapes."""
    return np.broadcast_to(np.zeros((), stored.dtype), stored.shape)


class LazyLinear(_Lazy, Linear):
    """A `Linear` whose `in_features` is the last axis of what it is first given."""

    cls_to_become = Linear
    size_name = "in_features"

    def __init__(
        self, out_features: int, bias: bool = True, device: None = None, dtype: npt.DTypeLike = "float32"
    ) -> None:
        self._prepare(lambda size: Linear(size, out_features, bias, dtype))


class _LazyConvolution(_Lazy):
    size_name = "in_channels"

    def _axis(self, ndim: int) -> int:
        return -1 - cast(Any, self).axes


class _LazyForward(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers = 1,
        padding: Numbers | Literal["same", "valid"] = 0,
        dilation: Numbers = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: None = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        kind: Any = self.cls_to_become
        rest = (out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype)
        self._prepare(lambda size: kind(size, *rest), groups)


class LazyConv1d(_LazyForward, Conv1d):
    """A `Conv1d` whose `in_channels` are those of what it is first given."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyForward, Conv2d):
    """A `Conv2d` whose `in_channels` are those of what it is first given."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyForward, Conv3d):
    """A `Conv3d` whose `in_channels` are those of what it is first given."""

    cls_to_become = Conv3d


class _LazyTransposed(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Numbers,
        stride: Numbers = 1,
        padding: Numbers = 0,
        output_padding: Numbers = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Numbers = 1,
        padding_mode: Literal["zeros"] = "zeros",
        device: None = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        kind: Any = self.cls_to_become
        rest = (out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode, dtype)
        self._prepare(lambda size: kind(size, *rest), groups)


class LazyConvTranspose1d(_LazyTransposed, ConvTranspose1d):
    """A `ConvTranspose1d` whose `in_channels` are those of what it is first given."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposed, ConvTranspose2d):
    """A `ConvTranspose2d` whose `in_channels` are those of what it is first given."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposed, ConvTranspose3d):
    """A `ConvTranspose3d` whose `in_channels` are those of what it is first given."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(_Lazy):
    size_name = "num_features"

    def _axis(self, ndim: int) -> int:
        return cast(Any, self)._channel_axis(ndim)


class _LazyBatchNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: None = None,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        kind: Any = self.cls_to_become
        self._prepare(lambda size: kind(size, eps, momentum, affine, track_running_stats, dtype, bias=bias))


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A `BatchNorm1d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A `BatchNorm2d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """A `BatchNorm3d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: None = None,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        kind: Any = self.cls_to_become
        self._prepare(lambda size: kind(size, eps, momentum, affine, track_running_stats, dtype, bias=bias))


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """An `InstanceNorm1d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """An `InstanceNorm2d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """An `InstanceNorm3d` whose `num_features` are the channels of what it is first given."""

    cls_to_become = InstanceNorm3d
