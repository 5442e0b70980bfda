"""Optimizers as values, with PyTorch's names, arguments and formulas."""

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
