"""Source of the last columns of a product, which column tiles multiply."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES
from ...passes.kernels.last_columns import LastColumns


def by_columns(
    dtype: np.dtype[Any], lanes: int, last: LastColumns, rows: Collection[int], turned: bool, dense_rows: bool
) -> tuple[list[str], str]:
    """Definitions, and lines for a section of the kernel of `matmul`, whose names they use; its tiles have so many
    `rows`. The columns of the left operand are dense if `turned`, the rows of the right one if `dense_rows`.
    """
    if not last.count:
        return [], ""
    height, size = lanes * last.vectors, dtype.itemsize
    shape = f"{SHORT_NAMES[dtype]!r}, lanes, {last.vectors}, {last.count}"
    definitions: list[str] = []
    lines = f"""
        at, right = a + begin * a_column, bb + begin * word(b, 11) + all_columns * word(b, 12)
        to = of_c + {size} * all_columns"""
    step = "a_column" if turned else "a_row"
    words = f"at, {step}, right, word(b, 11), word(b, 12), to, to_row, terms"
    if any(count >= height for count in rows):
        definitions.append(f"whole_columns = column_product({shape}, True, {turned}, {dense_rows})")
        lines += f"""
        for block in range(rows // {height}):
            whole_columns({words}, {height}, more)
            at += {height} * a_row
            to += {height} * to_row"""
    if any(count % height for count in rows):
        definitions.append(f"part_of_columns = column_product({shape}, False, {turned}, {dense_rows})")
        lines += f"""
        if rows % {height} > 0:
            part_of_columns({words}, rows % {height}, more)"""
    return definitions, lines
