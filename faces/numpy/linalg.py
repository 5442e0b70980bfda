"""`gl.numpy.linalg`, for type checkers and editors."""

from ..engine.array_api.linalg import *
