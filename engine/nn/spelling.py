"""Torch's spellings of arguments: those that mean nothing here are dropped, the others say what to write."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from ..tracing.errors import UnsupportedError, located
from ..tracing.keywords import TELLS, unknown_keyword
from ..tracing.unfit_arguments import UNFIT, retold
from .in_place import written_in_place

P = ParamSpec("P")
R = TypeVar("R")

_DISTRIBUTED = "a step runs in one process"

INSTEAD: dict[str, str] = {
    "device": "leave it away: where a program runs is said when it is compiled, target=",
    "size_average": "write reduction='mean' or reduction='sum'",
    "reduce": "write reduction='mean', 'sum' or 'none'",
    "out": "write y = f(...)",
    "generator": "leave it away: gl.compile_step(..., seed=0) says what initial values are drawn",
    "enable_nested_tensor": "leave it away: arrays are dense",
    "mask_check": "leave it away",
    "process_group": _DISTRIBUTED,
    "min_value": "write min_val",
    "max_value": "write max_val",
    "bias": "leave it away: there is none",
}
"""What to write instead of an argument that torch has and the function here has not."""

_DROPPED = ("_stacklevel", "mask_check", "enable_nested_tensor")
"""Arguments that change no result, whatever they are."""

_DEPRECATED = ("size_average", "reduce")
_NEVER_TAKEN = (*_DEPRECATED, "device", "min_value", "max_value", "process_group")
"""Arguments that stand in signatures for their place alone."""


def torch_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, called with arguments of torch's that it has not, or has for their place alone: their defaults, which
    are `None` or False, are as good as not given, and the others are refused. Raises `UnsupportedError` that says what
    to write. With `inplace` the first argument holds the result; a layer keeps it as its attribute. The `reduction` of
    a loss may also come by position without those that torch deprecates before it.
    """
    own = inspect.signature(function).parameters
    current = [name for name in own if name not in _DEPRECATED]
    reduction = current.index("reduction") if len(current) < len(own) else len(own)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in own.values())
    known = [name for name in own if name not in ("self", *_NEVER_TAKEN)]
    never_taken = [(place, name) for place, name in enumerate(own) if name in _NEVER_TAKEN]
    in_place = list(own).index("inplace") if "inplace" in own else None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if reduction < len(args) and isinstance(args[reduction], str):
            return cast("Callable[..., R]", call)(args[0], **dict(zip(current[1:], args[1:])), **kwargs)
        for name in [name for name in kwargs if name not in own]:
            drop_torch_argument(_name_of(function, args), kwargs, name)
            if name in kwargs and not takes_any:
                what = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
                raise unknown_keyword(what, name, known)
        for place, name in never_taken:
            _check_default(_name_of(function, args), name, args[place] if place < len(args) else kwargs.get(name))
        if "dtype" in kwargs and kwargs["dtype"] is None:
            del kwargs["dtype"]  # torch's default, and NumPy's float64
        try:
            result = function(*args, **kwargs)
        except UNFIT as error:
            told = retold(function, args, kwargs, error) if function.__name__ == "__init__" else error
            if told is error:
                raise
            raise told from None
        if in_place is not None and (args[in_place] if in_place < len(args) else kwargs.get("inplace")):
            given = args[0] if args else kwargs["input"]
            if function.__name__ != "__init__":
                return cast(R, written_in_place(_name_of(function, args), given, result))
            cast(Any, given).inplace = True
        return result

    setattr(call, TELLS, True)
    return call


def drop_torch_argument(what: str, kwargs: dict[str, Any], name: str) -> None:
    """Take an argument of torch's out of `kwargs`, where it means nothing; one that nobody knows stays there."""
    if name not in INSTEAD and name not in _DROPPED:
        return
    value = kwargs[name]
    if name not in _DROPPED:
        _check_default(what, name, value)
    del kwargs[name]


def _check_default(what: str, name: str, value: Any) -> None:
    """Raise unless `value` is torch's default of an argument that is not here. In two of them False says something."""
    if value is not None and (value is not False or name in _DEPRECATED):
        raise UnsupportedError(located(f"{what} does not take torch's {name}={value!r}; {INSTEAD[name]}"))


def chosen_axis(axis: Any, dim: Any, default: Any) -> Any:
    """`axis`, or `dim`, which is torch's name for it. Raises `TypeError` where both are given."""
    if dim is None:
        return axis
    if axis != default:
        raise TypeError(located(f"axis={axis} and dim={dim} say the same; write one of them"))
    return tuple(dim) if isinstance(dim, list) else dim


def axis_in(ndim: int, axis: Any, dim: Any, default: Any) -> Any:
    """`chosen_axis` of an array of `ndim` axes. A scalar has the axes 0 and -1 for torch: those are no axes, `()`."""
    chosen = chosen_axis(axis, dim, default)
    return () if ndim == 0 and isinstance(chosen, int) and chosen in (0, -1) else chosen


def _name_of(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The name under which a user calls this; of an `__init__`, that of what is made, not of its base class."""
    return f"nn.{type(args[0]).__name__ if function.__name__ == '__init__' else function.__qualname__}"
