"""Keywords that a function does not have: what is said names those that are near."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

from ...ir.near_names import similar
from .errors import located
from .unfit_arguments import UNFIT, retold

P = ParamSpec("P")
R = TypeVar("R")

_OTHER_NAMES = {
    "axes": "axis",
    "dim": "axis",
    "keepdim": "keepdims",
    "learning_rate": "lr",
    "axis": "dim",
    "keepdims": "keepdim",
    "size": "shape",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "validation": "validate",
    "validation_data": "validate",
    "val_data": "validate",
}
"""What others call an argument: NumPy, PyTorch, Keras."""

TELLS = "tells_keywords"
"""The attribute of a function that checks keywords by itself."""


def tells_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose `TypeError` for a keyword that it does not have says which of its own are near; what an
    `__init__` cannot compute with is told too. One that does so already stays as it is.
    """
    if hasattr(function, TELLS):
        return function
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return function
    known = frozenset(p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not known.issuperset(kwargs):
            what = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            raise unknown_keyword(what, next(name for name in kwargs if name not in known), known - {"self"})
        try:
            return function(*args, **kwargs)
        except UNFIT as error:
            if isinstance(error, TypeError) and error.__traceback__ is not None and not error.__traceback__.tb_next:
                raise TypeError(located(str(error))) from None  # arguments are missing, or there are too many
            told = retold(function, args, kwargs, error) if function.__name__ == "__init__" else error
            if told is error:
                raise
            raise told from None

    setattr(call, TELLS, True)
    return call


def unknown_keyword(what: str, name: str, known: Collection[str]) -> TypeError:
    """The error for the keyword `name` of `what`, which has the `known` ones."""
    other = _OTHER_NAMES.get(name)
    advice = f"write {other}=" if other in known else similar(name, known)
    advice = advice or (f"there are {', '.join(sorted(known))}" if known else "there are none")
    return TypeError(located(f"{what}() got an unexpected keyword argument {name!r}; {advice}"))
