"""`gl.random`, for type checkers and editors."""

from ..engine.tracing.random import *
