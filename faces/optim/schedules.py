"""`gl.optim.schedules`, for type checkers and editors."""

from ..engine.optim.schedules import *
