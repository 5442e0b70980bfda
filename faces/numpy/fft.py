"""`gl.numpy.fft`, for type checkers and editors."""

from ..engine.array_api.fft import *
