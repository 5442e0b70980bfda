"""Sizes of memory in whole cache lines, so that no two workers write to one line."""

from __future__ import annotations

LINE_BYTES = 64


def round_to_line(nbytes: int) -> int:
    """`nbytes` rounded up to whole cache lines."""
    return -(-nbytes // LINE_BYTES) * LINE_BYTES
