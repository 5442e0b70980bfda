"""`gl.optim`, for type checkers and editors."""

from ..engine.optim import *
