"""A module of torch that a recipe has exported, as the peer of its own export."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ...engine.optim import Optimizer
from ...engine.torch_import.model import TorchModule
from ...engine.torch_import.torch_loss import TorchLoss
from ..command_error import CommandError
from ..recipes import Ingredients
from .loss_in_torch import loss_in_torch

_INSTEAD = "a function of the recipe's name and _torch beside it says what torch is to do"


def peer_of_module(ingredients: Ingredients) -> Callable[[], Any] | None:
    """What makes (module, loss function, optimizer) of torch; `None` where the model is no module of torch."""
    model, loss = ingredients.model, ingredients.loss_fn
    if not isinstance(model, TorchModule):
        return None
    of_module = _of_module(loss) if isinstance(loss, TorchLoss) else _of_function(model, loss)

    def make() -> tuple[Any, Any, Any]:
        module = model.torch_module.train()
        return module, of_module, optimizer_in_torch(module, ingredients.optimizer)

    return make


def _of_module(loss: TorchLoss) -> Callable[..., Any]:
    return lambda module, batch: loss.of_module(batch)


def _of_function(model: TorchModule, loss: Any) -> Callable[..., Any]:
    """A loss function of ours as one of a module of torch and a batch of tensors. Raises `CommandError` where torch
    cannot run it.
    """
    kept, in_torch = model.kept_arguments, loss_in_torch(loss)

    def run(module: Any, batch: Any) -> Any:
        if in_torch is None:
            raise CommandError(f"torch runs a loss that is a plain function, not {type(loss).__name__}; {_INSTEAD}")
        try:
            result = in_torch(lambda *args, **kwargs: module(*args, **{**kept, **kwargs}), batch)
        except (AttributeError, TypeError, NotImplementedError) as error:
            raise CommandError(f"torch cannot run {loss.__name__} by its own functions: {error}; {_INSTEAD}") from error
        return result[0] if isinstance(result, tuple) else result

    return run


def optimizer_in_torch(module: Any, optimizer: Optimizer) -> Any:
    """Torch's optimizer of the same name and options, the fused one where there is one and gradients are dense."""
    import torch  # pyright: ignore[reportMissingImports]

    name = type(optimizer).__name__
    kind = getattr(torch.optim, name, None)
    fields: Any = dataclasses.fields(optimizer) if dataclasses.is_dataclass(optimizer) else ()
    known = {} if kind is None else inspect.signature(kind).parameters
    given = {field.name: (getattr(optimizer, field.name), field.default) for field in fields}
    options = {key: value for key, (value, default) in given.items() if key in known or value != default}
    if kind is None or not isinstance(options.get("lr"), (int, float)) or not options.keys() <= known.keys():
        raise CommandError(f"torch has no {name} with the same options at a rate that does not change; {_INSTEAD}")
    if "fused" in known and not any(getattr(part, "sparse", False) for part in module.modules()):
        options["fused"] = True
    return kind([p for p in module.parameters() if p.requires_grad], **options)
