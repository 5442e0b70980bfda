"""`gl.nn.augment`, for type checkers and editors."""

from ..engine.nn.augment import *
