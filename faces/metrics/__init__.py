"""`gl.metrics`, for type checkers and editors."""

from ..engine.fit.metrics import *
