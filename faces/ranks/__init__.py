"""`gl.ranks`, for type checkers and editors."""

from ..engine.ranks import *
