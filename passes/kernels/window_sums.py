"""Sections of sums over large windows, each in a line of its own: so rounding errors stay small."""

from __future__ import annotations

import math

from ...ir import Node
from ...ir.ops import window
from ..target import Target

# Places of a window that are added up one after the other, at most; and those of a section where there are more.
_MOST_IN_A_ROW = 1024
_SECTION = 256


def section(node: Node) -> int:
    """Places of a section of a sum over windows, about as many as there are sections; 0 for small windows, and for ops
    that sum nothing.
    """
    size: tuple[int, ...] = node.attrs["size"]
    places = math.prod(size)
    sums = node.op in (window.window_sum, window.window_spread, window.window_put)
    return max(_SECTION, math.isqrt(places)) if sums and places > _MOST_IN_A_ROW else 0


def line_bytes(node: Node, target: Target) -> int:
    """Bytes of a line of the result, in which a worker sums a section."""
    axes: tuple[int, ...] = node.attrs["axes"]
    line = node.output.type.shape[axes[-1] :]
    return target.round_to_line(math.prod(line) * node.output.type.dtype.itemsize) if section(node) else 0
