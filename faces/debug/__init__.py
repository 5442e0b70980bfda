"""`gl.debug`, for type checkers and editors."""

from ..engine.tracing.debug import *
