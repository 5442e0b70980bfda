"""The primitives, one file per family. Importing this package fills the registry `OPS`.

`scan`, `while_loop`, `region`, `conv_region` and `attention` are nodes with a body graph, `cond` is one with two,
`custom_vjp` one with the graph of its derivative. Nodes may have several outputs.
"""

from . import (
    attention,
    complex_numbers,
    contraction,
    control_flow,
    convolution,
    creation,
    custom_vjp,
    dynamic_slice,
    elementwise,
    host_memory,
    indexing,
    linalg,
    movement,
    orthogonal_factors,
    reduction,
    region,
    scan,
    scatter,
    sorting,
    special,
    window,
)

__all__ = [
    "attention",
    "complex_numbers",
    "contraction",
    "control_flow",
    "convolution",
    "creation",
    "custom_vjp",
    "dynamic_slice",
    "elementwise",
    "host_memory",
    "indexing",
    "linalg",
    "movement",
    "orthogonal_factors",
    "reduction",
    "region",
    "scan",
    "scatter",
    "sorting",
    "special",
    "window",
]
