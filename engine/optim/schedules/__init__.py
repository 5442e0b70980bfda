"""Learning rates that change with the step: callables from the number of steps done to a rate.

For example `AdamW(WarmUp(Cosine(3e-4, steps=10_000), steps=500))`. They have the names of `torch.optim.lr_scheduler`
without `LR` and `Annealing`, and its arguments, after the rate that torch takes from the optimizer. A step is one step
of the optimizer. They are values: the rate of a step follows from its number alone, so that a run that is resumed goes
on with the rates of one that was not interrupted.
"""

from typing import TYPE_CHECKING

from ...tracing.missing_names import attributes_of
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


def _of_torch(name: str) -> str | None:
    return of_torch(name, globals())


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.optim.schedules", instead=_of_torch)
__dir__ = __all__.copy
