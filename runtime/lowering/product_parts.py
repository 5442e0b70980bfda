"""Source of a register tile of a product of parts: the chains of each part, and the tree that adds these up.

The lines go into the kernel of `matmul`, and use its names. Sums that wait for others stand in the worker's scratch,
which the first cache holds: so a result is written once, however many parts there are.
"""

from __future__ import annotations

from collections.abc import Sequence


def tile_of_parts(short: str, parts: int, sum_bytes: int, step: str, calls: Sequence[str]) -> list[str]:
    """Lines that make the tile of all parts, by the `calls` that make that of one: from `of_part` of the left operand
    and `part_of_b`, `into` rows that are `into_row` bytes apart. `step` has the bytes from term to term of the left
    operand.

    The second part of a pair is added to the first. Of two sums of as many parts the left one waits at the place of
    its height in the tree. The right one stands in one of two places, in turn.
    """
    lines = [
        f"terms_of_part = terms // {parts}",
        f"for part in range({parts}):",
        f"    of_part = at + part * terms_of_part * {step}",
        "    part_of_b = rows_of_b + part * terms_of_part * b_row",
    ]
    if parts == 2:
        return [*lines, "    into, into_row, more = to, to_row, part", *(f"    {call}" for call in calls)]
    highest = parts.bit_length() - 1
    return [
        *lines,
        "    pair, more = part // 2, part % 2",
        "    into_row = lanes * vectors * " + _SIZES[short],
        f"    into = word(b, 5) + ({2 * sum_bytes} if pair % 2 == 0 else 0)",
        *(f"    {call}" for call in calls),
        "    height_of_sum, right, right_row = i64(1), into, into_row",
        "    while (more == 1) & (pair % 2 == 1):",
        "        pair = pair // 2",
        f"        left = word(b, 5) + {sum_bytes} * (1 + height_of_sum)",
        "        height_of_sum += 1",
        f"        into = word(b, 5) + {sum_bytes} - (right - word(b, 5))",
        "        if pair % 2 == 0:",
        f"            into = word(b, 5) + {sum_bytes} * (1 + height_of_sum)",
        f"        if height_of_sum == {highest}:",
        "            into, into_row = to, to_row",
        "        for r in range(height):",
        f"            first = array_{short}(left + r * right_row, 0)",
        f"            second = array_{short}(right + r * right_row, 0)",
        f"            total = array_{short}(into + r * into_row, 0)",
        "            for j in range(columns):",
        "                total[j] = first[j] + second[j]",
        "        right = into",
    ]


_SIZES = {"f32": "4", "f64": "8"}
