"""Kernels of convolutions over one or two spatial axes: register tiles over image rows that were copied with padding.

No matrix of patches is made (im2col). A register tile sums over kernel rows, kernel columns and input channels by three
strides, in rows of the image as they lie there; so each element is copied once, not once for each place of the kernel.
The copy has the padding in it, which keeps tests for edges out of the innermost loops.

Sizes are arguments; source is made for each dtype and each set of register tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES

Shape = tuple[int, int]


def _tiles(short: str, shapes: Sequence[Shape], tail: bool, pairwise: bool, sectioned: bool = False) -> str:
    """Definitions of the register tiles."""
    lines: list[str] = []
    for rows, vectors in shapes:
        for name, partly in (("tile", False), ("tail", True)) if tail else (("tile", False),):
            arguments = f"{short!r}, lanes, {rows}, {vectors}, {partly}, {pairwise}, {sectioned}"
            lines.append(f"{name}_{rows}_{vectors} = tile_product({arguments})")
    return "\n".join(lines)


def _call(shapes: Sequence[Shape], tail: bool, arguments: str, indent: int) -> str:
    """A call of the register tile of `rows` rows and `vectors` vectors; the last vector may be partly there."""
    lines: list[str] = []
    for i, (rows, vectors) in enumerate(shapes):
        lines.append(f"{'elif' if i else 'if'} (rows == {rows}) & (vectors == {vectors}):")
        if tail:
            lines.append("    if columns < lanes * vectors:")
            lines.append(f"        tail_{rows}_{vectors}({arguments})")
            lines.append("    else:")
            lines.append(f"        tile_{rows}_{vectors}({arguments})")
        else:
            lines.append(f"    tile_{rows}_{vectors}({arguments})")
    return ("\n" + " " * indent).join(lines)


def pack(dtype: np.dtype[Any], lanes: int) -> str:
    """A strip's weights, one vector row for each place of the kernel and input channel.

    Args: tile, w, packed, elements of w from one channel out, channel in, row and column of the kernel to the next,
    channels in and out of a group, groups with strips, strips, width of a strip, wide strips, vectors of a group,
    kernel rows, kernel columns, vector rows of a strip, then for each place of the kernel: vector rows of the
    polyphase components before its own, vector rows of its component (0 where no output meets the place), its number
    in the component.
    """
    short = SHORT_NAMES[dtype]
    return f"""
lanes = {lanes}


def kernel(b):
    w, packed = array_{short}(word(b, 1), 0), array_{short}(word(b, 2), 0)
    of_out, of_in, of_row, of_column = word(b, 3), word(b, 4), word(b, 5), word(b, 6)
    inner, outer, vectors = word(b, 7), word(b, 8), word(b, 13)
    strips, width, wide = word(b, 10), word(b, 11), word(b, 12)
    kernel_rows, kernel_columns, all_rows = word(b, 14), word(b, 15), word(b, 16)
    blocks = (inner + 7) // 8
    block = word(b, 0) % blocks
    strip = word(b, 0) // blocks
    group = strip // strips
    strip = strip - group * strips
    first = strip * width if strip <= wide else strip * (width - 1) + wide
    wides = width if strip < wide else width - 1
    columns = wides * lanes
    there = outer - first * lanes if outer - first * lanes < columns else columns
    start = block * 8
    stop = start + 8 if start + 8 < inner else inner
    for row in range(kernel_rows):
        for column in range(kernel_columns):
            at = 17 + 3 * (row * kernel_columns + column)
            before, mine, number = word(b, at), word(b, at + 1), word(b, at + 2)
            if mine == 0:
                continue
            base = (group * vectors * all_rows + before * vectors + mine * first) * lanes
            source = (group * outer + first * lanes) * of_out + row * of_row + column * of_column
            for c in range(there):
                for i in range(start, stop):
                    packed[base + (number * inner + i) * columns + c] = w[source + c * of_out + i * of_in]
            for c in range(there, columns):
                for i in range(start, stop):
                    packed[base + (number * inner + i) * columns + c] = {short}(0)
    return i64(0)
"""


def convolve(dtype: np.dtype[Any], lanes: int, shapes: Sequence[Shape], tail: bool, pairwise: bool) -> str:
    """A tile of `ConvTiles`: strip of channels by strip, so that a strip of the weight stays in the cache for all
    outputs of the tile. A strip that is too large for that is used one kernel row at a time.

    Outputs of a polyphase component lie `stride` apart, what they read of the input `step`.

    Args: tile, x or what was copied of it for the tile, packed weights, y; 4: images, height and width of x, height
    and width of y; 9: groups with strips, channels in and out of a group, channels of x, of y; 14: images, bands, rows
    of a tile; 17: copied rows and columns, their origin (2), whether nothing is copied; 22: step and stride of rows, of
    columns; 26: kernel places apart in the input, rows and columns; 28: strips, width, wide strips, vectors of a group;
    32: vector rows of a strip; 33: whether kernel rows are passed one by one; 34: whether a kernel row is one run;
    35: polyphase components; then for each: first, count, source, taps of rows, of columns, vector rows before, blocks
    of columns, columns of the longest block, long blocks, whether what y holds is added to.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    arguments = "at, a_step, of_w, to, c_step, row_taps, row_stride, row_weights, n1, a1, b1, n0, a0, b0, columns, more"
    here = f"{size} * lanes * vector" if pairwise else f"{size} * group * inner"
    return f"""
lanes = {lanes}
{_tiles(short, shapes, tail, pairwise)}


def kernel(b):
    y = array_{short}(word(b, 3), 0)
    images, height, width = word(b, 4), word(b, 5), word(b, 6)
    y_height, y_width = word(b, 7), word(b, 8)
    inner, outer, x_channels, y_channels = word(b, 10), word(b, 11), word(b, 12), word(b, 13)
    bands, band_rows = word(b, 15), word(b, 16)
    copied_rows, copied_columns, top, left = word(b, 17), word(b, 18), word(b, 19), word(b, 20)
    step_down, stride_down, step_across, stride_across = word(b, 22), word(b, 23), word(b, 24), word(b, 25)
    first_image = word(b, 0) // bands * word(b, 14)
    band = word(b, 0) % bands
    last_image = first_image + word(b, 14) if first_image + word(b, 14) < images else images
    first_row = band * band_rows
    begin = first_row * step_down + top
    if word(b, 21) == 0:
        base = word(b, 1)
        x_line = {size} * copied_columns * x_channels
        x_image = x_line * copied_rows
    else:
        x_line = {size} * width * x_channels
        x_image = x_line * height
        base = word(b, 1) + first_image * x_image + begin * x_line + {size} * left * x_channels
    pixel = {size} * x_channels
    a_step = step_across * pixel
    c_step = {size} * stride_across * y_channels
    strips, strip_width, wide, all_vectors = word(b, 28), word(b, 29), word(b, 30), word(b, 31)
    for number in range(word(b, 9) * strips):
        group = number // strips
        strip = number - group * strips
        vector = strip * strip_width if strip <= wide else strip * (strip_width - 1) + wide
        vectors = strip_width if strip < wide else strip_width - 1
        columns = outer - vector * lanes if outer - vector * lanes < vectors * lanes else vectors * lanes
        weight_row = {size} * lanes * vectors
        for component in range(word(b, 35)):
            entry = 36 + 13 * component
            row_first, row_count, row_source, all_row_taps = (
                word(b, entry), word(b, entry + 1), word(b, entry + 2), word(b, entry + 3))
            column_first, column_count, column_source, column_taps = (
                word(b, entry + 4), word(b, entry + 5), word(b, entry + 6), word(b, entry + 7))
            before, blocks, most, long, adds = (
                word(b, entry + 8), word(b, entry + 9), word(b, entry + 10), word(b, entry + 11),
                word(b, entry + 12))
            taps = all_row_taps * column_taps
            end_row = first_row + band_rows if first_row + band_rows < row_count else row_count
            if (taps == 0) & (adds != 0):
                continue
            if taps == 0:
                for image in range(first_image, last_image):
                    for q in range(first_row, end_row):
                        line_of_y = (image * y_height + row_first + q * stride_down) * y_width + column_first
                        for p in range(column_count):
                            nothing = window(y, (line_of_y + p * stride_across) * y_channels + group * outer
                                             + vector * lanes, columns)
                            for e in range(columns):
                                nothing[e] = {short}(0)
                continue
            mine = taps * inner
            weights = word(b, 2) + {size} * lanes * (
                group * all_vectors * word(b, 32) + before * all_vectors + mine * vector)
            reach_down = word(b, 26)
            row_stride = reach_down * x_line
            row_weights = column_taps * inner * weight_row
            n1, a1, b1 = column_taps, word(b, 27) * pixel, inner * weight_row
            n0, a0, b0 = inner, i64({size}), weight_row
            if word(b, 34):
                n1 = i64(1)
                n0 = column_taps * inner
            for row_tap in range(all_row_taps if word(b, 33) else 1):
                for image in range(first_image, last_image):
                    from_image = base + (image - first_image) * x_image + {here}
                    for q in range(first_row, end_row):
                        # Kernel rows that meet nothing but padding are left out, as long as one is left.
                        met = q * step_down + row_source
                        skipped = (reach_down - 1 - met) // reach_down if met < 0 else i64(0)
                        until = (height - met + reach_down - 1) // reach_down if met < height else i64(0)
                        until = until if until < all_row_taps else all_row_taps
                        skipped = skipped if skipped < until else i64(0)
                        until = until if until > 0 else i64(1)
                        more = adds
                        row_taps = until - skipped
                        if word(b, 33):
                            if (row_tap < skipped) | (row_tap >= until):
                                continue
                            more = i64(1) if row_tap > skipped else adds
                            skipped, row_taps = row_tap, i64(1)
                        of_w = weights + skipped * row_weights
                        at = from_image + (met - begin + skipped * reach_down) * x_line
                        at += (column_source - left) * pixel
                        to = word(b, 3) + {size} * (
                            ((image * y_height + row_first + q * stride_down) * y_width + column_first) * y_channels
                            + group * outer + vector * lanes)
                        for block in range(blocks):
                            rows = most if block < long else most - 1
                            {_call(shapes, tail, arguments, 28)}
                            at += rows * a_step
                            to += rows * c_step
    return i64(0)
"""


def _sections(shapes: Sequence[Shape], tail: bool, a_row: str, indent: int) -> str:
    """Calls of the register tile for sections of what an iteration sums over: rows of one image, or a part of a row."""
    arguments = (
        f"section_of_a, {a_row}, section_of_g, to, c_row, i64(1), i64(0), i64(0), down, row_step * x_line, "
        "row_stride * g_line, across, column_step * pixel, column_stride * g_pixel, columns, more"
    )
    lines = f"""pieces = (n1 * n0 + word(b, 31) - 1) // word(b, 31)
section_rows = (n1 + pieces - 1) // pieces
pieces = (n0 + word(b, 31) - 1) // word(b, 31)
section_columns = (n0 + pieces - 1) // pieces
for image in range(stop_image - first_image):
    for row in range(0, n1, section_rows):
        down = n1 - row if n1 - row < section_rows else section_rows
        for column_of_row in range(0, n0, section_columns):
            across = n0 - column_of_row if n0 - column_of_row < section_columns else section_columns
            section_of_a = a + image * x_image + row * row_step * x_line + column_of_row * column_step * pixel
            section_of_g = g + image * g_image + row * row_stride * g_line + column_of_row * column_stride * g_pixel
            {_call(shapes, tail, arguments, 12)}
            more = i64(1)"""
    return lines.replace("\n", "\n" + " " * indent)


_OPERANDS = """
        # An operand that is made for this iteration alone is addressed as if the rest were there too.
        first_image = iteration // bands * iteration_images
        if first_image >= images:
            break
        stop_image = first_image + iteration_images if first_image + iteration_images < images else images
        first_row = iteration % bands * band_rows
        stop_row = first_row + band_rows if first_row + band_rows < g_height else g_height
        x_start, g_start = word(b, 1), word(b, 2)
        if word(b, 32):
            set_word(b, word(b, 32) + 1, iteration)
            call_kernel(word(b, word(b, 32)), b + 8 * (word(b, 32) + 1))
            x_start -= (iteration % bands * word(b, 33) + word(b, 34)) * x_line
        else:
            x_start += first_image * x_image
        if word(b, 36):
            set_word(b, word(b, 36) + 1, iteration)
            call_kernel(word(b, word(b, 36)), b + 8 * (word(b, 36) + 1))
            g_start -= (iteration % bands * word(b, 37) + word(b, 38)) * g_line
        else:
            g_start += first_image * g_image
""".strip("\n")


def weight_gradient(dtype: np.dtype[Any], lanes: int, shapes: Sequence[Shape], tail: bool, sectioned: bool) -> str:
    """A tile of `WeightGradientTiles`.

    Args: tile, x, cotangent, parts; 4: images, height and width of x, height and width of the cotangent; 9: channels
    in and out of a group, channels of x, of the cotangent; 13: images of a pass, bands, rows of a band, passes, parts,
    shares; 19: units, strips, width, wide strips, vectors of a group; 24: blocks of channels, channels of the longest,
    long blocks; 27: kernel rows, kernel columns, vectors of a part; 30: iterations of a pass, terms of a section or 0;
    32 for x and 36 for the cotangent: the word that has the kernel which makes it for an iteration (0: it is there,
    whole), rows from one band to the next, first row, rows of an image as they lie there; 40: for each kernel row and
    column: first, count, stride, source, step of the outputs that it contributes to; then the arguments of the kernels
    that make x and cotangent.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    arguments = (
        "a, i64(a_row), g, to, c_row, stop_image - first_image, x_image, g_image, "
        "n1, row_step * x_line, row_stride * g_line, n0, column_step * pixel, column_stride * g_pixel, columns, more"
    )
    add = _sections(shapes, tail, "i64(a_row)", 12) if sectioned else _call(shapes, tail, arguments, 12)
    return f"""
lanes = {lanes}
a_row = {size}
{_tiles(short, shapes, tail, False, sectioned)}


def kernel(b):
    images, height, width, g_height, g_width = word(b, 4), word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    inner, outer = word(b, 9), word(b, 10)
    iteration_images, bands, band_rows, passes = word(b, 13) // word(b, 30), word(b, 14), word(b, 15), word(b, 16)
    parts, shares, units = word(b, 17), word(b, 18), word(b, 19)
    strips, strip_width, wide, all_vectors = word(b, 20), word(b, 21), word(b, 22), word(b, 23)
    blocks, most, long = word(b, 24), word(b, 25), word(b, 26)
    kernel_rows, kernel_columns = word(b, 27), word(b, 28)
    pixel, g_pixel = {size} * word(b, 11), {size} * word(b, 12)
    x_line, g_line = pixel * width, g_pixel * g_width
    x_image, g_image = x_line * word(b, 35), g_line * word(b, 39)
    part = word(b, 0) // shares
    share = word(b, 0) - part * shares
    base = word(b, 3) + {size} * lanes * part * word(b, 29)
    first_iteration = part * passes // parts * word(b, 30)
    for iteration in range(first_iteration, (part + 1) * passes // parts * word(b, 30)):
{_OPERANDS}
        for unit in range(share * units // shares, (share + 1) * units // shares):
            strip = unit % strips
            rest = unit // strips
            block = rest % blocks
            rest = rest // blocks
            place = rest % (kernel_rows * kernel_columns)
            group = rest // (kernel_rows * kernel_columns)
            kernel_row = place // kernel_columns
            kernel_column = place - kernel_row * kernel_columns
            vector = strip * strip_width if strip <= wide else strip * (strip_width - 1) + wide
            vectors = strip_width if strip < wide else strip_width - 1
            columns = outer - vector * lanes if outer - vector * lanes < vectors * lanes else vectors * lanes
            rows = most if block < long else most - 1
            channel = block * most if block <= long else block * (most - 1) + long
            c_row = {size} * lanes * all_vectors
            to = base + ((group * kernel_rows * kernel_columns + place) * inner + channel) * c_row
            to += {size} * lanes * vector
            at = 40 + 5 * kernel_row
            row_first, row_count, row_stride, row_source, row_step = (
                word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4))
            at = 40 + 5 * (kernel_rows + kernel_column)
            column_first, n0, column_stride, column_source, column_step = (
                word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4))
            skipped = i64(0)
            if first_row > row_first:
                skipped = (first_row - row_first + row_stride - 1) // row_stride
            until = i64(0)
            if stop_row > row_first:
                until = (stop_row - row_first + row_stride - 1) // row_stride
            until = until if until < row_count else row_count
            n1 = until - skipped
            if (n1 <= 0) | (n0 <= 0):
                if iteration == first_iteration:
                    for r in range(rows):
                        nothing = array_{short}(to + r * c_row, 0)
                        for e in range(columns):
                            nothing[e] = {short}(0)
                continue
            a = x_start + (row_source + skipped * row_step) * x_line
            a += column_source * pixel + {size} * (group * inner + channel)
            g = g_start + (row_first + skipped * row_stride) * g_line
            g += column_first * g_pixel + {size} * (group * outer + vector * lanes)
            more = i64(0) if iteration == first_iteration else i64(1)
            {add}
    return i64(0)
"""


def depthwise_weight_gradient(
    dtype: np.dtype[Any], lanes: int, shapes: Sequence[Shape], tail: bool, sectioned: bool
) -> str:
    """A tile of `WeightGradientTiles` where every channel goes by itself.

    The arguments are those of `weight_gradient`. A unit is a strip and a kernel row: all its columns at once where they
    meet the same outputs, so that the cotangent is read once for them, and the outputs at the edges column by column.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    arguments = (
        "a, a_row, g, to, c_row, stop_image - first_image, x_image, g_image, "
        "n1, row_step * x_line, row_stride * g_line, n0, column_step * pixel, column_stride * g_pixel, columns, more"
    )
    add = _sections(shapes, tail, "a_row", 16) if sectioned else _call(shapes, tail, arguments, 16)
    return f"""
lanes = {lanes}
{_tiles(short, shapes, tail, True, sectioned)}


def kernel(b):
    images, height, width, g_height, g_width = word(b, 4), word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    outer = word(b, 10)
    iteration_images, bands, band_rows, passes = word(b, 13) // word(b, 30), word(b, 14), word(b, 15), word(b, 16)
    parts, shares, units = word(b, 17), word(b, 18), word(b, 19)
    strips, strip_width, wide, all_vectors = word(b, 20), word(b, 21), word(b, 22), word(b, 23)
    kernel_rows, kernel_columns = word(b, 27), word(b, 28)
    pixel, g_pixel = {size} * word(b, 11), {size} * word(b, 12)
    x_line, g_line = pixel * width, g_pixel * g_width
    x_image, g_image = x_line * word(b, 35), g_line * word(b, 39)
    part = word(b, 0) // shares
    share = word(b, 0) - part * shares
    base = word(b, 3) + {size} * lanes * part * word(b, 29)
    c_row = {size} * lanes * all_vectors
    of_columns = 40 + 5 * kernel_rows
    column_stride, column_step = word(b, of_columns + 2), word(b, of_columns + 4)
    # What all columns meet: from the last of their first outputs to the first of their last ones.
    begin, end, together = word(b, of_columns), i64(-1), True
    for column in range(kernel_columns):
        at = of_columns + 5 * column
        last = word(b, at) + (word(b, at + 1) - 1) * column_stride
        end = last if (column == 0) | (last < end) else end
        begin = word(b, at) if word(b, at) > begin else begin
        together = together & (word(b, at + 1) > 0) & ((word(b, at) - word(b, of_columns)) % column_stride == 0)
    if (together == False) | (kernel_columns > {max(rows for rows, _ in shapes)}):
        end = begin - 1
    shared = (end - begin) // column_stride + 1 if end >= begin else i64(0)
    first_iteration = part * passes // parts * word(b, 30)
    for iteration in range(first_iteration, (part + 1) * passes // parts * word(b, 30)):
{_OPERANDS}
        for unit in range(share * units // shares, (share + 1) * units // shares):
            strip = unit % strips
            kernel_row = unit // strips
            vector = strip * strip_width if strip <= wide else strip * (strip_width - 1) + wide
            vectors = strip_width if strip < wide else strip_width - 1
            columns = outer - vector * lanes if outer - vector * lanes < vectors * lanes else vectors * lanes
            result = base + kernel_row * kernel_columns * c_row + {size} * lanes * vector
            if iteration == first_iteration:
                for column in range(kernel_columns):
                    nothing = array_{short}(result + column * c_row, 0)
                    for e in range(columns):
                        nothing[e] = {short}(0)
            at = 40 + 5 * kernel_row
            row_first, row_count, row_stride, row_source, row_step = (
                word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4))
            skipped = i64(0)
            if first_row > row_first:
                skipped = (first_row - row_first + row_stride - 1) // row_stride
            until = i64(0)
            if stop_row > row_first:
                until = (stop_row - row_first + row_stride - 1) // row_stride
            until = until if until < row_count else row_count
            n1 = until - skipped
            if n1 <= 0:
                continue
            x = x_start + (row_source + skipped * row_step) * x_line
            x += {size} * lanes * vector
            of_g = g_start + (row_first + skipped * row_stride) * g_line
            of_g += {size} * lanes * vector
            more = i64(1)
            # Part 0 is what the columns share, the next ones are what is left before and behind it for each of them.
            for part_of_row in range(1 + 2 * kernel_columns):
                column = (part_of_row - 1) // 2 if part_of_row > 0 else i64(0)
                at = of_columns + 5 * column
                column_first, count, source = word(b, at), word(b, at + 1), word(b, at + 3)
                before = (begin - column_first) // column_stride if shared > 0 else count
                start = i64(0)
                rows = i64(1)
                n0 = before
                if part_of_row == 0:
                    start, n0, rows = before, shared, kernel_columns
                elif part_of_row % 2 == 0:
                    start = before + shared
                    n0 = count - start
                if n0 <= 0:
                    continue
                a_row = (word(b, of_columns + 8) - word(b, of_columns + 3)) * pixel if rows > 1 else pixel
                if rows > 1:
                    # The second column's input at the shared outputs, less the first one's.
                    a_row += (word(b, of_columns) - word(b, of_columns + 5)) // column_stride * column_step * pixel
                a = x + (source + start * column_step) * pixel
                g = of_g + (column_first + start * column_stride) * g_pixel
                to = result + column * c_row
                {add}
    return i64(0)
"""


def add_parts(dtype: np.dtype[Any], lanes: int) -> str:
    """The parts of a weight gradient, added in their order, as (channels out, channels in, kernel).

    Args: tile (a vector of output channels of a group), parts, dw, number of parts, vectors of a part, vectors of a
    group, channels in and out of a group, places of the kernel, whether dw is added to.
    """
    short = SHORT_NAMES[dtype]
    return f"""
lanes = {lanes}


def kernel(b):
    parts, dw = array_{short}(word(b, 1), 0), array_{short}(word(b, 2), 0)
    count, part_stride, vectors = word(b, 3), word(b, 4) * lanes, word(b, 5)
    inner, outer, places = word(b, 6), word(b, 7), word(b, 8)
    group = word(b, 0) // vectors
    vector = word(b, 0) - group * vectors
    columns = outer - vector * lanes if outer - vector * lanes < lanes else i64(lanes)
    for i in range(inner):
        for place in range(places):
            source = (((group * places + place) * inner + i) * vectors + vector) * lanes
            target = ((group * outer + vector * lanes) * inner + i) * places + place
            for c in range(columns):
                total = parts[source + c]
                for p in range(1, count):
                    total = total + parts[p * part_stride + source + c]
                if word(b, 9):
                    total = dw[target + c * inner * places] + total
                dw[target + c * inner * places] = total
    return i64(0)
"""
