"""`gl.tree`, for type checkers and editors."""

from ..engine.tracing.tree import *
