"""Kernels that are the same for every program, as source: gather, scatter, running sums, copies.

Their sizes are words of the argument block; source is made for each dtype. An element that is only moved is an
integer of its size. Every template says what its words are, in their order.
"""

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES
from ...passes.kernels.scatter_sums import ScatterSums
from .loops import combine as combine_parts

# Updates of one entry that are added up one after the other.
_IN_A_ROW = 128
_MOVED = {1: "u8", 4: "i32", 8: "i64"}


def moved(dtype: np.dtype[Any]) -> str:
    """The element that stands for `dtype` where it is only moved."""
    return _MOVED[dtype.itemsize]


def gather(dtype: np.dtype[Any], index: np.dtype[Any]) -> str:
    """Words: code if an index is out of range, tile, rows of a tile, all rows, array, indices, result, outer, length,
    inner, indices of one batch.
    """
    return f"""
def kernel(b):
    first = word(b, 1) * word(b, 2)
    last = first + word(b, 2) if first + word(b, 2) < word(b, 3) else word(b, 3)
    x, o = array_{moved(dtype)}(word(b, 4), 0), array_{moved(dtype)}(word(b, 6), 0)
    at = array_{SHORT_NAMES[index]}(word(b, 5), 0)
    outer, length, inner, count = word(b, 7), word(b, 8), word(b, 9), word(b, 10)
    for r in range(first, last):
        block = r // count
        k = r - block * count
        place = i64(at[block // outer * count + k])
        if place < 0:
            place = place + length
        if (place < 0) | (place >= length):
            return word(b, 0)
        source = window(x, (block * length + place) * inner, inner)
        target = window(o, r * inner, inner)
        for j in range(inner):
            target[j] = source[j]
    return i64(0)
"""


def scatter_add(dtype: np.dtype[Any], index: np.dtype[Any], sums: ScatterSums) -> str:
    """A tile of columns of some blocks, which stand before the axis: all updates are added to them in their order, in
    the way that `sums` says.

    Words: code if an index is out of range, tile, columns of a tile, array, indices, updates, result, blocks of a tile,
    all blocks, blocks of a batch, length, inner, indices of one batch, whether the result is the array itself; 14: the
    scratch of the worker, its lines, updates of a group, slots of the table.
    """
    short = SHORT_NAMES[dtype]
    add = "target[j] + source[j]" if dtype.kind == "f" else f"{short}(target[j] + source[j])"

    def find(number: str) -> str:
        """Lines that find the entry of an update."""
        return f"""place = i64(at[n * count + {number}])
            if place < 0:
                place = place + length"""

    in_order = f"""for k in range(count):
            {find("k")}
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(o, (block * length + place) * inner + first, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = {add}"""
    in_doubles = f"""sums = array_f64(word(b, 14), 0)
        for r in range(length):
            source = window(x, (block * length + r) * inner + first, columns)
            target = window(sums, r * columns, columns)
            for j in range(columns):
                target[j] = f64(source[j])
        for k in range(count):
            {find("k")}
            if (place < 0) | (place >= length):
                return word(b, 0)
            target = window(sums, place * columns, columns)
            source = window(u, (block * count + k) * inner + first, columns)
            for j in range(columns):
                target[j] = target[j] + f64(source[j])
        for r in range(length):
            source, to = window(sums, r * columns, columns), window(o, (block * length + r) * inner + first, columns)
            for j in range(columns):
                to[j] = f32(source[j])"""
    begin = """if word(b, 13) == 0:
        for r in range(top * length, bottom * length):
            source, target = window(x, r * inner + first, columns), window(o, r * inner + first, columns)
            for j in range(columns):
                target[j] = source[j]"""
    way = in_doubles if sums.doubles else _grouped(short) if sums.updates else in_order
    return f"""
def kernel(b):
    x, at = array_{short}(word(b, 3), 0), array_{SHORT_NAMES[index]}(word(b, 4), 0)
    u, o = array_{short}(word(b, 5), 0), array_{short}(word(b, 6), 0)
    blocks, outer, length, inner, count = word(b, 8), word(b, 9), word(b, 10), word(b, 11), word(b, 12)
    across = (inner + word(b, 2) - 1) // word(b, 2)
    down = word(b, 1) // across
    first = (word(b, 1) - down * across) * word(b, 2)
    columns = inner - first if inner - first < word(b, 2) else word(b, 2)
    top = down * word(b, 7)
    bottom = top + word(b, 7) if top + word(b, 7) < blocks else blocks
    {"" if sums.doubles else begin}
    for block in range(top, bottom):
        n = block // outer
        {way}
    return i64(0)
"""


def _grouped(short: str) -> str:
    """Group by group, the updates of each entry are summed in their order, some in a row, then added.

    `after[k]` is 1 + the next update of the same entry, or 0; the first update of each entry has it, all others have
    less by 1, and the sign turned. The table has the last that was found of each entry, going backwards.
    """
    place = """place = i64(at[n * count + {0}])
                place = place + length if place < 0 else place"""
    return f"""slots = word(b, 17)
        table = array_i32(word(b, 14), 0)
        after = window(table, slots, word(b, 16))
        line, total = array_{short}(word(b, 15), 0), window(array_{short}(word(b, 15), 0), columns, columns)
        for begin in range(0, count, word(b, 16)):
            size = count - begin if count - begin < word(b, 16) else word(b, 16)
            for s in range(slots):
                table[s] = i32(-1)
            for back in range(size):
                k = size - 1 - back
                {place.format("begin + k")}
                if (place < 0) | (place >= length):
                    return word(b, 0)
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
                table[s] = i32(k)
            for k in range(size):
                following = i64(after[k])
                if following < 0:
                    continue
                {place.format("begin + k")}
                target = window(o, (block * length + place) * inner + first, columns)
                source = window(u, (block * count + begin + k) * inner + first, columns)
                if following == 0:
                    for j in range(columns):
                        target[j] = target[j] + source[j]
                    continue
                for j in range(columns):
                    line[j] = source[j]
                    total[j] = {short}(0)
                taken = i64(1)
                while following > 0:
                    if taken == {_IN_A_ROW}:
                        for j in range(columns):
                            total[j] = total[j] + line[j]
                            line[j] = {short}(0)
                        taken = i64(0)
                    source = window(u, (block * count + begin + following - 1) * inner + first, columns)
                    for j in range(columns):
                        line[j] = line[j] + source[j]
                    taken += 1
                    following = -1 - i64(after[following - 1])
                for j in range(columns):
                    target[j] = target[j] + (total[j] + line[j])"""


def cumsum(dtype: np.dtype[Any], way: str) -> str:
    """Words: tile, blocks of a tile, all blocks, array, result, length, inner, whether from the end, line of a worker.

    By its `way` an element is the one `before` it and its own, or has the sum in float64: `double`, where there is one
    column, or `doubles`, in the worker's line.
    """
    short = SHORT_NAMES[dtype]
    add = "before[j] + source[j]" if dtype.kind == "f" else f"{short}(before[j] + source[j])"
    start, step = (
        "",
        f"""if k == 0:
                for j in range(inner):
                    target[j] = source[j]
            else:
                before = window(o, (block * length + (i + 1 if backwards else i - 1)) * inner, inner)
                for j in range(inner):
                    target[j] = {add}""",
    )
    if way == "double":
        start, step = (
            "total = f64(-0.0)",  # which leaves -0 as it is
            """total = total + f64(source[0])
            target[0] = f32(total)""",
        )
    elif way == "doubles":
        start, step = (
            """for j in range(inner):
            totals[j] = f64(-0.0)""",
            """for j in range(inner):
                totals[j] = totals[j] + f64(source[j])
                target[j] = f32(totals[j])""",
        )
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0)
    length, inner, backwards = word(b, 5), word(b, 6), word(b, 7)
    totals = array_f64(word(b, 8), 0)
    for block in range(first, last):
        {start}
        for k in range(length):
            i = length - 1 - k if backwards else k
            source = window(x, (block * length + i) * inner, inner)
            target = window(o, (block * length + i) * inner, inner)
            {step}
    return i64(0)
"""


def copy_rows(dtype: np.dtype[Any]) -> str:
    """Rows of elements into rows that lie further apart. Words: tile, rows of a tile, all rows, array, result,
    elements of a row, elements from one row of the result to the next.
    """
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o = array_{moved(dtype)}(word(b, 3), 0), array_{moved(dtype)}(word(b, 4), 0)
    n, apart = word(b, 5), word(b, 6)
    for r in range(first, last):
        source, target = window(x, r * n, n), window(o, r * apart, n)
        for j in range(n):
            target[j] = source[j]
    return i64(0)
"""


def pad(dtype: np.dtype[Any]) -> str:
    """Words: array, result, the filling element as an integer, elements of the result, axes, the first
    element of the window, then for each axis: length, elements of
    the result from one index to the next."""
    short = moved(dtype)
    return f"""
def kernel(b):
    x, o = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    value = {short}(word(b, 2))
    whole = window(o, 0, word(b, 3))
    for j in range(word(b, 3)):
        whole[j] = value
    axes = word(b, 4)
    start = word(b, 5)
    inner, stride = word(b, 4 + 2 * axes), word(b, 5 + 2 * axes)
    rows = 1
    for axis in range(axes - 1):
        rows = rows * word(b, 6 + 2 * axis)
    for r in range(rows):
        q, at = r, start
        for axis in range(axes - 2, -1, -1):
            length = word(b, 6 + 2 * axis)
            at += q % length * word(b, 7 + 2 * axis)
            q = q // length
        source = window(x, r * inner, inner)
        for j in range(inner):
            o[at + j * stride] = source[j]
    return i64(0)
"""


def combine(op: str, dtype: np.dtype[Any]) -> str:
    """Parts of a reduction, in the order of their tiles: 64 of them after one another into the place of the first, then
    64 of these sums in the same way, and so on. Words: parts, result, number of parts, elements of each.
    """
    short = SHORT_NAMES[dtype]
    text = combine_parts(op, dtype, "o[j]", "part[j]")
    return f"""
def kernel(b):
    parts, result = array_{short}(word(b, 0), 0), array_{short}(word(b, 1), 0)
    count, n = word(b, 2), word(b, 3)
    apart = i64(1)
    while apart * 64 < count:
        for first in range(0, count, apart * 64):
            o = window(parts, first * n, n)
            for t in range(first + apart, count if count < first + apart * 64 else first + apart * 64, apart):
                part = window(parts, t * n, n)
                for j in range(n):
                    o[j] = {text}
        apart = apart * 64
    o = window(result, 0, n)
    for j in range(n):
        o[j] = parts[j]
    for t in range(apart, count, apart):
        part = window(parts, t * n, n)
        for j in range(n):
            o[j] = {text}
    return i64(0)
"""
