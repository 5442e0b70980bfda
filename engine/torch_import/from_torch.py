"""`from_torch` and `from_torch_loss`: a module of torch as a model, by `torch.export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..tracing.errors import located
from .model import TorchModule, model_of
from .programs import Programs
from .table import user_ops
from .torch_loss import TorchLoss
from .torch_package import torch_package


def from_torch(
    module: Any, *args: Any, custom_ops: Mapping[str, Callable[..., Any]] | None = None, **kwargs: Any
) -> TorchModule:
    """A `torch.nn.Module` as a model of ours, exported by `torch.export` for arguments like these, which need not have
    the values of any batch. Needs the extra `torch`.

    Parameters and buffers have torch's names and values; tied ones are tied, those without `requires_grad` frozen. A
    call of the model takes what the module's `forward` takes, and returns what that returns, with a named tuple in
    place of a class of fields such as a `ModelOutput`. Keyword arguments that are no tensors hold for all calls that do
    not give them. A step trains as after `module.train()`, a function of `step.bind` evaluates as after `eval()`; the
    module itself is not changed. Batches of any size run by one export, where the module does not fix their size.

    `custom_ops` are functions for ops of `torch.library` by their names, `{"mylib::f": f}`: each takes the arguments of
    the op's schema, with traced arrays for tensors, and returns what the op does; its derivative counts, and not that
    which was registered with torch. It may be a `gl.custom_op`, or call one.

    Dropout and all other draws are ours: they follow from the seed and the number of the step. Raises `TracingError`
    with torch's reason where the module cannot be exported, `UnsupportedError` that names an op which there is not
    here, `TypeError` for a dtype which there is not.
    """
    model = _model(module, kwargs, custom_ops)
    model._programs.found(args, {**model._programs.kept, **kwargs}, True)
    return model


def _model(
    module: Any, kwargs: dict[str, Any], custom_ops: Mapping[str, Callable[..., Any]] | None
) -> TorchModule:
    torch = torch_package()
    if not isinstance(module, torch.nn.Module):
        is_class = isinstance(module, type)
        instead = "write an instance of it" if is_class else "write a torch.nn.Module whose forward computes it"
        raise TypeError(located(f"from_torch takes a torch.nn.Module, got {type(module).__name__}; {instead}"))
    return model_of(module, Programs(module, kwargs, user_ops(custom_ops or {})))


def from_torch_loss(
    module: Any, /, custom_ops: Mapping[str, Callable[..., Any]] | None = None, **kwargs: Any
) -> tuple[TorchModule, TorchLoss]:
    """`(model, loss_fn)` of a module that returns its loss, such as a model of `transformers` that is given `labels`.

    The batch of the loss function is the dict of those keyword arguments that are tensors, or hold some; the others
    hold for all batches. The loss is the field or the entry `loss` of what the module returns, the first of a tuple, or
    what it returns itself. `custom_ops` as for `from_torch`.
    """
    model = _model(module, kwargs, custom_ops)
    model._programs.found((), kwargs, True)
    return model, TorchLoss(module, model._programs.kept)
