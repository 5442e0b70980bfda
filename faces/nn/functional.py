"""`gl.nn.functional`, for type checkers and editors."""

from ..engine.nn.functional import *
