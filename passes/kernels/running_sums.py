"""In what `cumsum` adds up: long runs of float32 in float64, as every sum is that of all before it."""

from __future__ import annotations

import math

from ...ir import Node
from ..graph.cache_lines import round_to_line

_MOST_IN_A_ROW = 256
"""Elements that are added up in their own type, at most."""


def in_doubles(node: Node) -> bool:
    """Whether a `cumsum` adds up in float64."""
    x = node.output.type
    axis: int = node.attrs["axis"]
    return (x.dtype.kind, x.dtype.itemsize) == ("f", 4) and x.shape[axis] > _MOST_IN_A_ROW


def line_bytes(node: Node) -> int:
    """Bytes of the line of sums of one worker; one for each column, where there are several."""
    inner = math.prod(node.output.type.shape[node.attrs["axis"] + 1 :])
    return round_to_line(8 * inner) if in_doubles(node) and inner > 1 else 0
