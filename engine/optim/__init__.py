"""Optimizers as values, with PyTorch's names, arguments and formulas."""

from typing import NoReturn

from ..tracing.tracer import located
from . import schedules
from .adam import Adam, AdamW
from .optimizer import Optimizer, StateSpec
from .schedules import Constant, Cosine, OneCycle, Schedule, StepDecay, WarmUp
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "OneCycle",
    "Optimizer",
    "Schedule",
    "StateSpec",
    "StepDecay",
    "WarmUp",
    "schedules",
]


def __getattr__(name: str) -> NoReturn:
    there = ", ".join(kind.__name__ for kind in (SGD, Adam, AdamW))
    raise AttributeError(
        located(
            f"gl.optim has no {name}: there are {there}, and the schedules of gl.optim.schedules; for another rule "
            "write a subclass of gl.optim.Optimizer"
        ),
        name=name,
    )
