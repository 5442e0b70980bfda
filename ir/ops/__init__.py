"""The primitives, one file per family. Importing this package fills the registry `OPS`.

Window reductions, convolution, collective reductions and user kernels are families of their own. `scan` and `region`
are nodes with a body graph; nodes may have several outputs.
"""

from . import contraction, creation, elementwise, indexing, movement, reduction, region, scan

__all__ = ["contraction", "creation", "elementwise", "indexing", "movement", "reduction", "region", "scan"]
