"""Ranks: `gl.ranks`. The processes that train one model together, on one machine or on many."""

from typing import TYPE_CHECKING

from ..tracing.missing_names import attributes_of
from .mpi_ranks import mpi
from .ranks import Ranks, RanksError, one

__all__ = ["Ranks", "RanksError", "mpi", "one"]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.ranks")
__dir__ = __all__.copy
