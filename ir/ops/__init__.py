"""The primitives, one file per family. Importing this package fills the registry `OPS`.

Loops with a body graph (`scan`), window reductions, convolution, collective reductions and user kernels are families of
their own: a loop is a node with a body like `region`, and nodes may have several outputs.
"""

from . import contraction, creation, elementwise, indexing, movement, reduction, region

__all__ = ["contraction", "creation", "elementwise", "indexing", "movement", "reduction", "region"]
