"""`gl.nn.utils`, for type checkers and editors."""

from ...engine.nn.parametrization import *
