"""Source of a product of bfloat16 by pairs: the copies of both operands in panels of the worker, and register tiles.

The lines go into the kernel of `matmul`, and use its names. All operands are copied: they are float32 in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..codegen.pair_product import PAIR_LANES

_PAIRS = "pairs = (terms + 1) // 2"

_ROWS_OF_A = """
        for row in range(rows):
            pair_row(a + row * a_row + begin * a_column, {panel} + 4 * pairs * row, terms)"""

_COLUMNS_OF_A = """
        for l in range(pairs):
            both = i64(1) if 2 * l + 1 < terms else i64(0)
            source, target = a + (begin + 2 * l) * a_column, {panel}
            for block in range(blocks):
                height = tallest if block < tall else tallest - 1
                pair_columns(source, source + both * a_column, both, target + 4 * height * l, height)
                source += 4 * height
                target += 4 * height * pairs"""

_ROWS_OF_B = """
            for l in range(pairs):
                both = i64(1) if 2 * l + 1 < terms else i64(0)
                source = rows_of_b + 2 * l * b_row
                pair_columns(source, source + both * b_row, both, word(b, 4) + 4 * lanes * vectors * l, columns)"""

_COLUMNS_OF_B = """
            narrow = word(b, 4) + 4 * lanes * vectors * pairs
            for i in range(columns):
                pair_row(rows_of_b + i * word(b, 12), narrow + 4 * pairs * i, terms)
            for i in range(0, columns, lanes):
                for l in range(0, pairs, lanes):
                    source = narrow + 4 * (i * pairs + l)
                    target = word(b, 4) + 4 * (lanes * vectors * l + i)
                    down = columns - i if columns - i < lanes else i64(lanes)
                    right = pairs - l if pairs - l < lanes else i64(lanes)
                    if (down == lanes) & (right == lanes):
                        square(source, 4 * pairs, target, 4 * lanes * vectors, down, right)
                    else:
                        part_of_square(source, 4 * pairs, target, 4 * lanes * vectors, down, right)"""


def pair_panels(turned: bool, transposed: bool, panel: str) -> tuple[list[str], str, str]:
    """Definitions; lines that copy a section of the rows of a left operand to the address `panel`, and a section of a
    strip of the right one before it. `turned` and `transposed` say whose columns lie dense in memory.
    """
    definitions: list[str] = []
    if transposed:
        definitions += [f"square = tile_transpose(4, {PAIR_LANES}, True)"]
        definitions += [f"part_of_square = tile_transpose(4, {PAIR_LANES}, False)"]
    left = (_COLUMNS_OF_A if turned else _ROWS_OF_A).format(panel=panel)
    right = _COLUMNS_OF_B if transposed else _ROWS_OF_B
    return definitions, f"\n        {_PAIRS}{left}", f"{right}\n            rows_of_b = word(b, 4)"


def pair_tiles(shapes: Sequence[tuple[int, int]], turned: bool) -> tuple[list[str], list[str]]:
    """Definitions and calls of register tiles of these rows and vectors."""
    a_row, a_pair = ("4", "4 * height") if turned else ("4 * pairs", "4")
    words = f"at, {a_row}, {a_pair}, rows_of_b, 4 * lanes * vectors, pairs, to, to_row, columns, more"
    definitions: list[str] = []
    calls: list[str] = []
    for height, width in shapes:
        definitions.append(f"pairs_{height}_{width} = pair_product({height}, {width})")
        calls.append(f"{'elif' if calls else 'if'} (height == {height}) & (vectors == {width}):")
        calls.append(f"    pairs_{height}_{width}({words})")
    return definitions, calls
