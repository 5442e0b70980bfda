"""`gl.nn.utils.parametrize`, for type checkers and editors."""

from ...engine.nn.parametrization.parametrize import *
