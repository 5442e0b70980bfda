"""`gl.callbacks`, for type checkers and editors."""

from ..engine.fit.callbacks import *
