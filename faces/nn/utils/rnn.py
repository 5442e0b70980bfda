"""`gl.nn.utils.rnn`, for type checkers and editors."""

from ...engine.nn.packed_sequence import *
