"""What the kernels of all scatters begin with: a tile of columns of some blocks, and the array copied to the result."""

from textwrap import indent
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES

COPY_OF_THE_ARRAY = """if word(b, 13) == 0:
        for r in range(top * length, bottom * length):
            source, target = window(x, r * inner + first, columns), window(o, r * inner + first, columns)
            for j in range(columns):
                target[j] = source[j]"""
"""Lines that copy the tile of the array, unless the result is the array itself."""


def scatter_tile(short: str, index: np.dtype[Any]) -> str:
    """Lines that read the arguments and say which tile runs: blocks from `top` to `bottom`, `columns` from `first` on.

    Args: code if an index is out of range, tile, columns of a tile, array, indices, updates, result, blocks of a tile,
    all blocks, blocks of a batch, length, inner, indices of one batch, whether the result is the array itself. `short`
    is the name of the dtype that elements are moved as.
    """
    return f"""x, at = array_{short}(word(b, 3), 0), array_{SHORT_NAMES[index]}(word(b, 4), 0)
    u, o = array_{short}(word(b, 5), 0), array_{short}(word(b, 6), 0)
    blocks, outer, length, inner, count = word(b, 8), word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    across = (inner + word(b, 2) - 1) // word(b, 2)
    down = word(b, 1) // across
    first = (word(b, 1) - down * across) * word(b, 2)
    columns = inner - first if inner - first < word(b, 2) else word(b, 2)
    top = down * word(b, 7)
    bottom = top + word(b, 7) if top + word(b, 7) < blocks else blocks"""


def linked_updates(depth: int, refused: str) -> str:
    """Lines, `depth` columns in, that link the updates of a group by the entry that they are added to.

    `after[k]` becomes 1 + the next update of the entry of update k, or 0. The first update of each entry has it as it
    is, all others negated and less 1, which says that they are summed with an earlier one. Lists are made from their
    ends on, by a hash table with open addressing, which has the update of each entry that was found last. `refused` are
    the lines for an index that is out of range.
    """
    lines = f"""for back in range(size):
    k = size - 1 - back
    place = i64(at[n * count + begin + k])
    place = place + length if place < 0 else place
    if (place < 0) | (place >= length):
{indent(refused, " " * 8)}
    s = (place + place // 4096 * 7919) & (slots - 1)
    found = i64(table[s])
    while found >= 0:
        other = i64(at[n * count + begin + found])
        if (other == place) | (other + length == place):
            break
        s = (s + 1) & (slots - 1)
        found = i64(table[s])
    after[k] = i32(found + 1)
    if found >= 0:
        after[found] = i32(-1 - i64(after[found]))
    table[s] = i32(k)"""
    return indent(lines, " " * depth).lstrip()
