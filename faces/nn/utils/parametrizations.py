"""`gl.nn.utils.parametrizations`, for type checkers and editors."""

from ...engine.nn.parametrization.parametrizations import *
