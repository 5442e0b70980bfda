"""`gl.special`, for type checkers and editors."""

from ..engine.array_api.special import *
