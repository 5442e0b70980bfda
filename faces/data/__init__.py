"""`gl.data`, for type checkers and editors."""

from ..engine.data import *
