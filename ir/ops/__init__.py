"""The primitives, one file per family. Importing this package fills the registry `OPS`.

`scan`, `region` and `conv_region` are nodes with a body graph, `custom_vjp` is one with the graph of its derivative;
nodes may have several outputs.
"""

from . import (
    contraction,
    convolution,
    creation,
    custom_vjp,
    dynamic_slice,
    elementwise,
    indexing,
    linalg,
    movement,
    reduction,
    region,
    scan,
    scatter,
    sorting,
    window,
)

__all__ = [
    "contraction",
    "convolution",
    "creation",
    "custom_vjp",
    "dynamic_slice",
    "elementwise",
    "indexing",
    "linalg",
    "movement",
    "reduction",
    "region",
    "scan",
    "scatter",
    "sorting",
    "window",
]
