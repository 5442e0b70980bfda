"""What to write for names and arguments of `torch.optim.lr_scheduler` that are others here."""

from __future__ import annotations

import inspect
from typing import Any, Self

from ....ir.near_names import similar
from ...tracing.tracer import located

_INSTEAD = {
    "last_epoch": "the rate of a step follows from its number, which a checkpoint keeps; leave it out",
    "verbose": "nothing is printed, and step.learning_rate is the rate of the next step; leave it out",
    "epochs": "write total_steps=epochs * steps_per_epoch",
    "steps_per_epoch": "write total_steps=epochs * steps_per_epoch",
    "min_lr": "write final",
    "max_lr": "the rate comes first, and its name is lr",
    "base_lr": "the rate comes first, and its name is lr",
}


class Spelled:
    """A schedule that says what to write for arguments of torch's class that it does not have.

    Raises `TypeError` for these, and where an optimizer comes first, as in torch.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        first = kwargs.get("optimizer", args[0] if args else None)
        if hasattr(first, "param_groups") or hasattr(first, "init_parameter"):
            name = type(first).__name__
            raise TypeError(
                located(
                    f"{cls.__name__}: the rate comes first, where torch takes it from the optimizer, and the schedule "
                    f"goes into the optimizer: write gl.optim.{name}(gl.optim.{cls.__name__}(...)); got {name}"
                )
            )
        there = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        unknown = next((name for name in kwargs if name not in there), None)
        if unknown is not None:
            advice = _INSTEAD.get(unknown) or similar(unknown, there) or f"there are {', '.join(there)}"
            raise TypeError(located(f"{cls.__name__} has no argument {unknown!r}; {advice}"))
        return super().__new__(cls)


def of_torch(name: str, there: dict[str, Any]) -> str | None:
    """What to write for the name of a class of `torch.optim.lr_scheduler`: one of the schedules that are `there`."""
    for part in ("Annealing", "LR", "Scheduler"):
        name = name.replace(part, "")
    kind = there.get(name)
    if not isinstance(kind, type) or not issubclass(kind, Spelled):
        return None
    return f"write gl.optim.{name}({', '.join(inspect.signature(kind).parameters)})"
