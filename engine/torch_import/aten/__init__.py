"""Ops of ATen by family: each function enters the table under torch's names of the ops that it traces."""

from . import (
    attention,
    contraction,
    convolution,
    creation,
    elementwise,
    grouped,
    indexing,
    losses,
    movement,
    normalization,
    pooling,
    random,
    recurrent,
    reduction,
    scatter,
    sorting,
)

__all__ = [
    "attention",
    "contraction",
    "convolution",
    "creation",
    "elementwise",
    "grouped",
    "indexing",
    "losses",
    "movement",
    "normalization",
    "pooling",
    "random",
    "recurrent",
    "reduction",
    "scatter",
    "sorting",
]
