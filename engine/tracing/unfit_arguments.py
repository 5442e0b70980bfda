"""What is said where something is made with arguments that the code which makes it cannot compute with."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from ...ir.users_line import located, shown_file

UNFIT = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What Python and NumPy raise where a value is not one that can be computed with."""

_PACKAGE = __name__.partition(".")[0]


def retold(init: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception) -> Exception:
    """`error`, which an `__init__` of this package raised, as an error that shows what was given and ends with the
    user's line. It stays as it is where it says that already, where the user's own code raised it that was called
    inside, and where the `__init__` of a subclass that is of this package too will tell it.
    """
    made = next((cls for cls in type(args[0]).__mro__ if cls.__module__.startswith(f"{_PACKAGE}.")), None)
    if made is None or getattr(made.__init__, "__wrapped__", None) is not init or _is_told(error):
        return error
    try:
        given = inspect.signature(init).bind_partial(*args, **kwargs).arguments
    except TypeError:  # there are too many
        given = {}
    shown = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in list(given.items())[1:])
    kind = ValueError if isinstance(error, ValueError) else TypeError
    why = str(error).replace(f"{init.__qualname__}()", made.__name__)  # it may be that of a base class
    return kind(located(f"{made.__name__}({shown}) cannot be made: {why}"))


def _is_told(error: Exception) -> bool:
    """Whether an error names the user's line, or was raised by the user's own code, such as an initializer."""
    if ", at " in str(error):
        return True
    trace_back = error.__traceback__
    while trace_back is not None:
        if shown_file(trace_back.tb_frame.f_code.co_filename):
            return True
        trace_back = trace_back.tb_next
    return False
