"""`gl.numpy`, for type checkers and editors."""

from ..engine.array_api import *
