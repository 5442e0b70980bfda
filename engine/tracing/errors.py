"""The errors and the warning of tracing: every message ends with the line that the user wrote."""

from __future__ import annotations

import warnings

from ...ir.users_line import frames, located, shown_frame

__all__ = ["ShapeError", "TracingError", "TracingWarning", "UnsupportedError", "located", "warn"]


class TracingError(TypeError):
    """The program cannot be traced as written. The message says what to write, and ends with the user's line."""


class ShapeError(ValueError):
    """Shapes do not fit together. The message names them, and ends with the user's line."""


class UnsupportedError(TracingError, NotImplementedError):
    """What PyTorch, NumPy or JAX has and this package has not. The message says what to write instead."""


class TracingWarning(UserWarning):
    """The program can be traced as written, but may not do what is meant. The message says what to write."""


def warn(message: str, kind: type[Warning] = TracingWarning) -> None:
    """Issue a warning that stands at the user's line."""
    chain = list(frames())
    frame = chain[-1] if chain else None
    if frame is None or not shown_frame(frame):
        warnings.warn(message, kind, stacklevel=2)
        return
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    name = frame.f_globals.get("__name__")
    warnings.warn_explicit(message, kind, frame.f_code.co_filename, frame.f_lineno, name, registry)
