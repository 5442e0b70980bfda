"""`gl.nn.init`, for type checkers and editors."""

from ..engine.nn.init import *
