"""Source of the copies of operands that register tiles of a product read, in panels of the worker.

The lines go into the kernel of `matmul`, and use its names. As much of a row is read at once as lies together, because
the next one may lie on another page.
"""

from __future__ import annotations

from collections.abc import Sequence


def copied_blocks(size: int, heights: Sequence[int], panel: str) -> tuple[list[str], str]:
    """Definitions, and lines that copy a section of all rows of a left operand that is transposed in memory to the
    address `panel`: block after block, of these heights, and in each term after term.
    """
    copies = "".join(
        f"""
            for block in range(tall if tallest == {n} else blocks - tall if tallest == {n + 1} else 0):
                copy_rows_{n}(source, target + {size * n} * l)
                source += {size * n}
                target += {size * n} * terms"""
        for n in sorted(heights, reverse=True)
    )
    lines = f"""
        for l in range(terms):
            source, target = a + (begin + l) * a_column, {panel}{copies}"""
    return [f"copy_rows_{n} = tile_copy({size}, {n})" for n in heights], lines


def copied_strips(short: str, size: int, widths: Sequence[int], together: int) -> tuple[list[str], str]:
    """Definitions, and lines that copy a section of so many strips of a right operand, of these widths, to the panel as
    the first of them comes: strip after strip, and in each row after row.
    """
    copies = "".join(
        f"""
                    for s in range(wider if widest == {n} else narrower if widest == {n + 1} else 0):
                        copy_row_{n}(source, target + {size} * lanes * {n} * l)
                        source += {size} * lanes * {n}
                        target += {size} * lanes * {n} * terms"""
        for n in sorted(widths, reverse=True)
    )
    lines = f"""
            first = strip // {together} * {together}
            before = first * widest if first <= wide else first * (widest - 1) + wide
            if strip == first:
                here = strips - first if strips - first < {together} else i64({together})
                wider = wide - first if wide > first else i64(0)
                wider = wider if wider < here else here
                narrower = here - wider
                partly = (first + here == strips) & (all_columns < all_vectors * lanes)
                width = widest if narrower == 0 else widest - 1
                left = all_columns - (all_vectors - width) * lanes
                if partly:
                    if narrower == 0:
                        wider -= 1
                    else:
                        narrower -= 1
                for l in range(terms):
                    source, target = rows_of_b + l * b_row, word(b, 4){copies}
                    if partly:
                        some, place = array_{short}(source, 0), array_{short}(target + {size} * lanes * width * l, 0)
                        for j in range(left):
                            place[j] = some[j]
            b_row = {size} * lanes * vectors
            rows_of_b = word(b, 4) + {size} * lanes * (vector - before) * terms"""
    return [f"copy_row_{n} = tile_copy({size}, lanes * {n})" for n in widths], lines
