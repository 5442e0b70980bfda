"""What stands in for layers and functions of torch that an export refuses, or of which it loses a part."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

LIBRARY = "gradloom"


@contextlib.contextmanager
def with_stand_ins(torch: Any) -> Iterator[None]:
    """Inside the block some layers and functions are ops of ours: batch and instance norm, `ctc_loss`, and others.

    Batch norm says then how often it took statistics, which are those of each part where a step takes a batch in parts;
    an export has no cumulative mean. It forgets the running statistics of instance norm, refuses a CTC loss, and the
    test of variances in `gaussian_nll_loss`. An adaptive softmax computes the classes of all clusters for every row:
    how many rows a cluster has is not known.
    """
    adaptive = torch.nn.modules.adaptive
    batch, instance = torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.instancenorm._InstanceNorm
    functions = torch.nn.functional
    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (batch, "forward", _batch_norm(torch, batch.forward)),
        (instance, "_apply_instance_norm", _instance_norm(torch, instance._apply_instance_norm)),
        (adaptive.AdaptiveLogSoftmaxWithLoss, "forward", _adaptive_log_softmax(torch)),
        (torch.nn.modules.transformer, "_detect_is_causal_mask", _is_said_to_be_causal),
        (functions, "ctc_loss", _ctc_loss(torch)),
        (functions, "gaussian_nll_loss", _gaussian_nll_loss(torch)),
    ]
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in replaced]
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _batch_norm(torch: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    def stand_in(self: Any, input: Any) -> Any:
        if not self.training or not self.track_running_stats or self.running_mean is None:
            return forward(self, input)
        self._check_input_dim(input)
        result, *statistics = _ops(torch).batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.num_batches_tracked,
            self.momentum,
            self.eps,
        )
        for buffer, value in zip((self.running_mean, self.running_var, self.num_batches_tracked), statistics):
            buffer.copy_(value)
        return result

    return stand_in


def _instance_norm(torch: Any, apply: Callable[..., Any]) -> Callable[..., Any]:
    def stand_in(self: Any, input: Any) -> Any:
        if not self.training or not self.track_running_stats or self.running_mean is None:
            return apply(self, input)
        momentum = self.momentum if self.momentum is not None else 0.0
        result, mean, variance = _ops(torch).instance_norm(
            input, self.weight, self.bias, self.running_mean, self.running_var, momentum, self.eps
        )
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        return result

    return stand_in


def _adaptive_log_softmax(torch: Any) -> Callable[..., Any]:
    def stand_in(self: Any, input_: Any, target_: Any) -> Any:
        chosen = self.log_prob(input_ if target_.dim() else input_[None]).gather(1, target_.reshape(-1, 1)).squeeze(1)
        output = chosen if target_.dim() else chosen[0]
        return torch.nn.modules.adaptive._ASMoutput(output, -output.mean())

    return stand_in


def _is_said_to_be_causal(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
    """Layers of `nn.Transformer` compare their mask with a causal one; it is a mask like any other here."""
    return is_causal is True


def _ctc_loss(torch: Any) -> Callable[..., Any]:
    def stand_in(
        log_probs: Any,
        targets: Any,
        input_lengths: Any,
        target_lengths: Any,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
    ) -> Any:
        lengths = [x if isinstance(x, torch.Tensor) else torch.tensor(x) for x in (input_lengths, target_lengths)]
        return _ops(torch).ctc_loss(log_probs, targets, *lengths, blank, reduction, zero_infinity)

    return stand_in


def _gaussian_nll_loss(torch: Any) -> Callable[..., Any]:
    def stand_in(
        input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
    ) -> Any:
        variance = var if isinstance(var, torch.Tensor) else torch.full_like(input, var)
        return _ops(torch).gaussian_nll_loss(input, target, variance, full, eps, reduction)

    return stand_in


@functools.cache
def _ops(torch: Any) -> Any:
    """The namespace of the ops, entered into torch when first asked for. They have shapes alone: none is ever run."""

    def enter(name: str, schema: str, shapes: Callable[..., Any]) -> None:
        def never(*_: Any) -> Any:
            raise RuntimeError(f"{LIBRARY}::{name} stands in an exported program alone")

        torch.library.custom_op(f"{LIBRARY}::{name}", never, mutates_args=(), schema=schema).register_fake(shapes)

    empty = torch.empty_like
    enter(
        "batch_norm",
        "(Tensor x, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, Tensor? count, float? momentum, float eps)"
        " -> (Tensor, Tensor, Tensor, Tensor)",
        lambda x, weight, bias, mean, var, count, momentum, eps: (empty(x), empty(mean), empty(var), empty(count)),
    )
    enter(
        "instance_norm",
        "(Tensor x, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, float momentum, float eps)"
        " -> (Tensor, Tensor, Tensor)",
        lambda x, weight, bias, mean, var, momentum, eps: (empty(x), empty(mean), empty(var)),
    )
    enter(
        "ctc_loss",
        "(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank, str reduction,"
        " bool zero_infinity) -> Tensor",
        lambda x, y, m, n, blank, reduction, zero: x.new_empty(m.shape if reduction == "none" else ()),
    )
    enter(
        "gaussian_nll_loss",
        "(Tensor x, Tensor target, Tensor var, bool full, float eps, str reduction) -> Tensor",
        lambda x, target, var, full, eps, reduction: x.new_empty(
            torch.broadcast_shapes(x.shape, target.shape) if reduction == "none" else ()
        ),
    )
    return getattr(torch.ops, LIBRARY)
