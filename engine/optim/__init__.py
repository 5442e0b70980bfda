"""Optimizers as values, with PyTorch's names, arguments and formulas."""

from typing import TYPE_CHECKING

from ..tracing.missing_names import attributes_of
from . import schedules
from .adadelta import Adadelta
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adam_8bit import Adam8bit
from .adamax import Adamax
from .asgd import ASGD
from .averaging import EMA, SWA
from .groups import groups, ndim
from .kfac import KFAC
from .lbfgs import LBFGS
from .lion import Lion
from .muon import Muon
from .nadam import NAdam
from .natural_gradient import NaturalGradient
from .optimizer import Optimizer, StateSpec
from .radam import RAdam
from .rmsprop import RMSProp, RMSprop
from .rprop import Rprop
from .schedules import (
    Chained,
    Constant,
    Cosine,
    CosineWarmRestarts,
    Cyclic,
    Exponential,
    Lambda,
    Linear,
    Multiplicative,
    MultiStep,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Sequential,
    Step,
    StepDecay,
    WarmUp,
)
from .schedules.spelling import of_torch
from .sgd import SGD
from .sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "EMA",
    "KFAC",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adam8bit",
    "AdamW",
    "Adamax",
    "Chained",
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Cyclic",
    "Exponential",
    "Lambda",
    "Linear",
    "Lion",
    "MultiStep",
    "Multiplicative",
    "Muon",
    "NAdam",
    "NaturalGradient",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "RAdam",
    "RMSProp",
    "RMSprop",
    "ReduceOnPlateau",
    "Rprop",
    "Schedule",
    "Sequential",
    "SparseAdam",
    "StateSpec",
    "Step",
    "StepDecay",
    "WarmUp",
    "groups",
    "ndim",
    "schedules",
]


def _of_torch(name: str) -> str | None:
    if name == "lr_scheduler":
        return "the schedules are in gl.optim, such as gl.optim.AdamW(gl.optim.Cosine(1e-3, 10_000))"
    return of_torch(name, globals())


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.optim", instead=_of_torch)
__dir__ = __all__.copy
