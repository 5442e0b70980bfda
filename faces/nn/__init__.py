"""`gl.nn`, for type checkers and editors."""

from ..engine.nn import *
