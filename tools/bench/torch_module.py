"""A module of torch that a recipe has exported, as the peer of its own export."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ...engine.optim import Optimizer
from ...engine.torch_import.torch_loss import TorchLoss
from ..command_error import CommandError
from ..recipes import Ingredients


def peer_of_module(ingredients: Ingredients) -> Callable[[], Any] | None:
    """What makes (module, loss function, optimizer) of torch; `None` where the loss is not a module's of torch."""
    loss = ingredients.loss_fn
    return (lambda: _ingredients(loss, ingredients.optimizer)) if isinstance(loss, TorchLoss) else None


def _ingredients(loss: TorchLoss, optimizer: Optimizer) -> tuple[Any, Any, Any]:
    module = loss.module.train()
    return module, lambda module, batch: loss.of_module(batch), _optimizer(module, optimizer)


def _optimizer(module: Any, optimizer: Optimizer) -> Any:
    """Torch's optimizer of the same name and options, the fused one where there is one."""
    import torch  # pyright: ignore[reportMissingImports]

    name = type(optimizer).__name__
    kind = getattr(torch.optim, name, None)
    fields: Any = dataclasses.fields(optimizer) if dataclasses.is_dataclass(optimizer) else ()
    known = {} if kind is None else inspect.signature(kind).parameters
    given = {field.name: (getattr(optimizer, field.name), field.default) for field in fields}
    options = {key: value for key, (value, default) in given.items() if key in known or value != default}
    if kind is None or not isinstance(options.get("lr"), (int, float)) or not options.keys() <= known.keys():
        instead = "a function of the recipe's name and _torch beside it says what torch is to do"
        raise CommandError(f"torch has no {name} with the same options at a rate that does not change; {instead}")
    if "fused" in known:
        options["fused"] = True
    return kind([p for p in module.parameters() if p.requires_grad], **options)
