"""Normalization of channels: by the batch, by the image, by groups; with running statistics as buffers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from ...array_api.broadcasting import as_arraylike, described
from ...tracing.batch_parts import batch_parts, runs_in_parts, shared_parts
from ...tracing.tracer import ShapeError, located
from .. import functional as F
from .. import init
from ..functional.normalization import batch_norm_in_training, instance_norm_in_training
from ..functional.shared_normalization import batch_norm_of_all, moved
from ..functional.spatial import fitting_groups
from ..module import Module
from ..parameter import Buffer, Parameter


class _ChannelNorm(Module):
    """Weight (ones at first), bias (zeros), and the buffers running_mean (zeros), running_var (ones) and
    num_batches_tracked, each where asked for.
    """

    dims: ClassVar[dict[int, str]]
    """What the input may be, by its number of axes."""

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: npt.DTypeLike,
        bias: bool = True,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = Parameter(num_features, dtype, init.ones()) if affine else None
        self.bias = Parameter(num_features, dtype) if affine and bias else None
        if track_running_stats:
            self.running_mean = Buffer(num_features, dtype)
            self.running_var = Buffer(num_features, dtype, init.ones())
            self.num_batches_tracked = Buffer((), "int64")
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)

    def _checked(self, x: Any) -> Any:
        x = as_arraylike(x)
        channels = x.shape[self._channel_axis(x.ndim)] if x.ndim in self.dims else None
        if channels != self.num_features:
            shapes = " or ".join(self.dims.values())
            raise ShapeError(
                located(
                    f"{type(self).__name__}: the input is {shapes} with C = {self.num_features}, got {described(x)}"
                )
            )
        return x

    def _channel_axis(self, ndim: int) -> int:
        return 1

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Any) -> Any:
        input = self._checked(input)
        if not self.training or self.running_mean is None:
            training = self.training or self.running_mean is None
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training, eps=self.eps
            )
        factors: list[Any] = []
        for _ in range(batch_parts()):
            self.num_batches_tracked = self.num_batches_tracked + 1
            # Without a momentum the running statistics are means over all batches so far.
            factors.append(self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked)
        result, self.running_mean, self.running_var = batch_norm_in_training(
            input, self.running_mean, self.running_var, self.weight, self.bias, factors, self.eps
        )
        return result


class BatchNorm1d(_BatchNorm):
    """`functional.batch_norm` of (N, C) or (N, C, L): by the batch in training, by running statistics in evaluation.

    In training running_mean and running_var move by `momentum` to the batch's (`None`: they are means over all
    batches). Without `affine` there are no weight and bias, without `bias` no bias, without `track_running_stats` no
    running statistics.
    """

    dims: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """`functional.batch_norm` of (N, C, H, W), see `BatchNorm1d`."""

    dims: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}


class BatchNorm3d(_BatchNorm):
    """`functional.batch_norm` of (N, C, D, H, W), see `BatchNorm1d`."""

    dims: ClassVar[dict[int, str]] = {5: "(N, C, D, H, W)"}


class SyncBatchNorm(_BatchNorm):
    """`functional.batch_norm` of (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), see `BatchNorm1d`. In a step with
    `ranks=` the statistics are those of the batch of all ranks, where the other layers take those of a part; in any
    other step the whole batch is there, and there is nothing to wait for.
    """

    dims: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: None = None,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias=bias)

    def forward(self, input: Any) -> Any:
        shared = shared_parts()
        by_batch = self.training or self.running_mean is None
        if shared is None or not by_batch:
            return super().forward(input)
        if runs_in_parts():
            raise ShapeError(located("SyncBatchNorm in a step with ranks and accumulate: leave accumulate out"))
        input = self._checked(input)
        result, mean, variance = batch_norm_of_all(input, self.weight, self.bias, self.eps, *shared)
        if self.running_mean is not None:
            self.num_batches_tracked = self.num_batches_tracked + 1
            rate = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked
            self.running_mean = moved(self.running_mean, mean, rate)
            self.running_var = moved(self.running_var, variance, rate)
        return result

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """`module` with a `SyncBatchNorm` of the same parameters and buffers in place of every batch normalization."""
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
            converted = cls.__new__(cls)
            converted.__dict__.update(module.__dict__)
            return converted
        for name, child in module.named_children(once=False):
            module.add_module(name, cls.convert_sync_batchnorm(child))
        return module


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)
        self._rate = momentum

    def _channel_axis(self, ndim: int) -> int:
        return 0 if ndim == min(self.dims) else 1

    def forward(self, input: Any) -> Any:
        input = self._checked(input)
        if input.ndim == min(self.dims):
            return self._batched(input[None])[0]
        return self._batched(input)

    def _batched(self, x: Any) -> Any:
        if self.training and self.running_mean is not None:
            # As in torch, num_batches_tracked stays 0: there is no cumulative mean here that would need it.
            result, self.running_mean, self.running_var = instance_norm_in_training(
                x, self.running_mean, self.running_var, self.weight, self.bias, self._rate, self.eps
            )
            return result
        by_input = self.training or self.running_mean is None
        return F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, by_input, eps=self.eps)


class InstanceNorm1d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, L) or (C, L); weight and bias with `affine`, running statistics if asked."""

    dims: ClassVar[dict[int, str]] = {2: "(C, L)", 3: "(N, C, L)"}


class InstanceNorm2d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, H, W) or (C, H, W), see `InstanceNorm1d`."""

    dims: ClassVar[dict[int, str]] = {3: "(C, H, W)", 4: "(N, C, H, W)"}


class InstanceNorm3d(_InstanceNorm):
    """`functional.instance_norm` of (N, C, D, H, W) or (C, D, H, W), see `InstanceNorm1d`."""

    dims: ClassVar[dict[int, str]] = {4: "(C, D, H, W)", 5: "(N, C, D, H, W)"}


class GroupNorm(Module):
    """`functional.group_norm` of (N, C, ...), with weight (ones at first) and bias (zeros) for each channel, unless
    `affine` or `bias` says no.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: npt.DTypeLike = "float32",
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                located(
                    f"GroupNorm: num_groups {num_groups} does not divide num_channels {num_channels}; "
                    f"{fitting_groups(num_channels)}"
                )
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.weight = Parameter(num_channels, dtype, init.ones()) if affine else None
        self.bias = Parameter(num_channels, dtype) if affine and bias else None

    def forward(self, input: Any) -> Any:
        input = as_arraylike(input)
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ShapeError(
                located(f"GroupNorm: the input is (N, C, ...) with C = {self.num_channels}, got {described(input)}")
            )
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
