"""The optimizers and schedules that commands know by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..engine import optim
from ..engine.nn import Module
from ..engine.optim.schedules import Schedule
from .command_error import CommandError

_OWN: dict[str, Callable[[], optim.Optimizer]] = {
    "sgd": lambda: optim.SGD(0.1),
    "momentum": lambda: optim.SGD(0.05, momentum=0.9),
}


def _with_defaults() -> dict[str, Callable[[], optim.Optimizer]]:
    """All optimizers that need no argument, by their names in small letters."""
    found: dict[str, Callable[[], optim.Optimizer]] = {}
    for name in optim.__all__:
        kind: Any = getattr(optim, name)
        if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer:
            made: Any = kind
            parameters = inspect.signature(made).parameters.values()
            if all(p.default is not p.empty for p in parameters):
                found.setdefault(name.lower(), made)
    return found


OPTIMIZERS = {**_with_defaults(), **_OWN}
"""What `--optimizer` says, with the learning rates that hold without `--lr`."""

SCHEDULES: dict[str, Callable[[float, int], float | Schedule]] = {
    "constant": lambda lr, steps: lr,
    "cosine": lambda lr, steps: optim.Cosine(lr, steps),
    "linear": lambda lr, steps: optim.schedules.Polynomial(lr, steps),
    "one-cycle": lambda lr, steps: optim.OneCycle(lr, steps),
    "warm-up-cosine": lambda lr, steps: optim.WarmUp(
        optim.Cosine(lr, max(1, steps - steps // 20)), max(1, steps // 20)
    ),
}
"""What `--schedule` says: from a learning rate and the steps of the run."""


def of_run(
    optimizer: optim.Optimizer, name: str | None, lr: float | None, schedule: str | None, steps: int
) -> optim.Optimizer:
    """The optimizer of a run of so many steps: the recipe's, or the one of that name, at this rate or schedule.

    A cycle of the learning rate that the recipe has is stretched over the run.
    """
    optimizer = optimizer if name is None else OPTIMIZERS[name]()
    if schedule is not None:
        rate: Any = lr if lr is not None else getattr(optimizer.lr, "lr", optimizer.lr)
        if callable(rate):
            raise CommandError(f"--schedule {schedule} needs --lr: the recipe has a schedule without a rate of its own")
        return optimizer.with_options(lr=SCHEDULES[schedule](float(rate), steps))
    if lr is not None:
        return optimizer.with_options(lr=lr)
    if isinstance(optimizer.lr, optim.OneCycle):
        return optimizer.with_options(lr=replace(optimizer.lr, steps=steps))
    return optimizer


def check_trains(optimizer: optim.Optimizer, model: Module) -> None:
    """Raise `CommandError` where an optimizer is not for the parameters of a model, as Muon is not for vectors."""
    types = {name: each.type for name, each in model.stored_parameters() if each.requires_grad}
    try:
        optimizer.init_all(types)
    except ValueError as error:
        raise CommandError(str(error)) from error
