"""Learning rates that change with the step: callables from the number of steps done to a rate.

For example `AdamW(WarmUp(Cosine(3e-4, steps=10_000), steps=500))`. They have the names of `torch.optim.lr_scheduler`
without `LR` and `Annealing`, and its arguments, after the rate that torch takes from the optimizer. A step is one step
of the optimizer. They are values: the rate of a step follows from its number alone, so that a run that is resumed goes
on with the rates of one that was not interrupted.
"""

from typing import NoReturn

from ...tracing.tracer import located
from .combined import Chained, Sequential, WarmUp
from .cosine import Cosine, CosineWarmRestarts
from .cyclic import Cyclic
from .decay import Constant, Exponential, Linear, MultiStep, Polynomial, Step, StepDecay
from .functions import Lambda, Multiplicative
from .one_cycle import OneCycle
from .plateau import ReduceOnPlateau
from .schedule import Schedule, rate
from .spelling import of_torch

__all__ = [
    "Chained",
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Cyclic",
    "Exponential",
    "Lambda",
    "Linear",
    "MultiStep",
    "Multiplicative",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "Sequential",
    "Step",
    "StepDecay",
    "WarmUp",
    "rate",
]


def __getattr__(name: str) -> NoReturn:
    there = ", ".join(known for known in __all__ if known not in ("Schedule", "rate"))
    instead = of_torch(name, globals()) or f"there are {there}"
    raise AttributeError(located(f"gl.optim.schedules has no {name}; {instead}"), name=name)
