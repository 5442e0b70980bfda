"""What the kernels of all scatters begin with: a tile of columns of some blocks, and the array copied to the result."""

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
