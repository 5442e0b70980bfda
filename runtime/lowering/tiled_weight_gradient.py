"""Kernels of weight gradients over one to three spatial axes: register tiles whose sums run over images and positions.

A register tile has input channels as rows and output channels as columns, or as rows the columns of the kernel with few
input channels of each. It sums over the outputs that a place of the kernel contributes to. Workers make the sums of
different parts of the images, which are added in their order, so that no sum depends on the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES
from .tiled_convolution import Block, Shape, Vectors, call_one, call_tile, define_tiles

_AS_IT_LIES = ("x_image", "x_line", "pixel")
"""Bytes from image to image of the input, from row to row and from column to column."""
_PACKED = ("packed_image", "packed_line", "packed_pixel")
"""The same of the copy of a block of its channels."""


def _sections(
    shapes: Sequence[Shape], tail: bool, a_row: str, indent: int, steps: tuple[str, str, str] = _AS_IT_LIES
) -> str:
    """Calls of the register tile for sections of what an iteration sums over: rows of one image, or a part of a row."""
    image, line, pixel = steps
    arguments = (
        f"section_of_a, {a_row}, section_of_g, to, c_row, i64(1), i64(0), i64(0), down, row_step * {line}, "
        f"row_stride * g_line, across, column_step * {pixel}, column_stride * g_pixel, columns, more"
    )
    lines = f"""pieces = (n1 * n0 + word(b, 31) - 1) // word(b, 31)
section_rows = (n1 + pieces - 1) // pieces
pieces = (n0 + word(b, 31) - 1) // word(b, 31)
section_columns = (n0 + pieces - 1) // pieces
for image in range(n2):
    for row in range(0, n1, section_rows):
        down = n1 - row if n1 - row < section_rows else section_rows
        for column_of_row in range(0, n0, section_columns):
            across = n0 - column_of_row if n0 - column_of_row < section_columns else section_columns
            section_of_a = a + image * image_step * {image} + row * row_step * {line}
            section_of_a += column_of_row * column_step * {pixel}
            section_of_g = g + image * image_stride * g_image + row * row_stride * g_line
            section_of_g += column_of_row * column_stride * g_pixel
            {call_tile(shapes, tail, arguments, 12)}
            more = i64(1)"""
    return lines.replace("\n", "\n" + " " * indent)


def _met(axis: str, place: str, count: str) -> str:
    """Which images or rows of an output a `place` of the kernel meets in an iteration, and the `count` of them."""
    return f"""
            at = 44 + 5 * {place}
            {axis}_first, {axis}_count, {axis}_stride, {axis}_source, {axis}_step = (
                word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4))
            {axis}_skipped = i64(0)
            if first_{axis} > {axis}_first:
                {axis}_skipped = (first_{axis} - {axis}_first + {axis}_stride - 1) // {axis}_stride
            {axis}_until = i64(0)
            if stop_{axis} > {axis}_first:
                {axis}_until = (stop_{axis} - {axis}_first + {axis}_stride - 1) // {axis}_stride
            {axis}_until = {axis}_until if {axis}_until < {axis}_count else {axis}_count
            {count} = {axis}_until - {axis}_skipped"""


_MET = _met("image", "depth", "n2") + _met("row", "(depths + kernel_row)", "n1")

_OPERANDS = """
        # An operand that is made for this iteration alone is addressed as if the rest were there too.
        volume = iteration // bands // blocks_of_images
        first_image = (iteration // bands - volume * blocks_of_images) * iteration_images
        if (first_image >= g_images) | (volume >= volumes):
            continue
        stop_image = first_image + iteration_images if first_image + iteration_images < g_images else g_images
        first_row = iteration % bands * band_rows
        stop_row = first_row + band_rows if first_row + band_rows < g_height else g_height
        x_start, g_start = word(b, 1), word(b, 2)
        if word(b, 32):
            set_word(b, word(b, 32) + 1, iteration)
            call_kernel(word(b, word(b, 32)), b + 8 * (word(b, 32) + 1))
            x_start -= first_image * x_image + (iteration % bands * word(b, 33) + word(b, 34)) * x_line
        else:
            x_start += volume * x_images * x_image
        if word(b, 36):
            set_word(b, word(b, 36) + 1, iteration)
            call_kernel(word(b, word(b, 36)), b + 8 * (word(b, 36) + 1))
            g_start -= first_image * g_image + (iteration % bands * word(b, 37) + word(b, 38)) * g_line
        else:
            g_start += volume * g_images * g_image
""".strip("\n")


# First vector of a strip, its vectors, its channels.
_STRIP = """
            vector = strip * strip_width if strip <= wide else strip * (strip_width - 1) + wide
            vectors = strip_width if strip < wide else strip_width - 1
            columns = outer - vector * used if outer - vector * used < vectors * used else vectors * used
""".strip("\n")

# The order of units.
_PLACES_OUTSIDE = """block = rest % blocks
            rest = rest // blocks
            place = rest % places
            group = rest // places"""
_BLOCKS_OUTSIDE = """place = rest % places
            rest = rest // places
            block = rest % blocks
            group = rest // blocks"""
_PLACE_OF_COPY = """
        at = 44 + 5 * (depths + kernel_rows + kernel_columns)
        packed, packed_rows = word(b, at), word(b, at + 3)
        first_packed = iteration % bands * word(b, at + 1) + word(b, at + 2)
        packed_pixel = a_row * most
        packed_line = packed_pixel * width
        packed_image = packed_line * packed_rows
        copied = i64(-1)"""
# A block of the channels of an iteration's input, copied where it was not yet.
_COPY = """
            if group * blocks + block != copied:
                copied = group * blocks + block
                for image in range(stop_image - first_image):
                    for row in range(packed_rows):
                        if (first_packed + row >= 0) & (first_packed + row < height):
                            source = x_start + (first_image + image) * x_image + (first_packed + row) * x_line
                            source += a_row * (group * inner + channel)
                            target = packed + image * packed_image + row * packed_line
                            if rows == {most}:
                                for column in range(width):
                                    one = array_{short}(source + column * pixel, 0)
                                    other = array_{short}(target + column * packed_pixel, 0)
                                    for i in range({most}):
                                        other[i] = one[i]
                            else:
                                for column in range(width):
                                    one = array_{short}(source + column * pixel, 0)
                                    other = array_{short}(target + column * packed_pixel, 0)
                                    for i in range({most} - 1):
                                        other[i] = one[i]"""


def weight_gradient(dtype: np.dtype[Any], of: Vectors, shapes: Sequence[Shape], packs: bool) -> str:
    """A tile of `WeightGradientTiles`, which `packs` a block of channels before it goes through its places and strips.

    Args: tile, x, cotangent, parts; 4: volumes, height and width of x, height and width of the cotangent; 9: channels
    in and out of a group, channels of x, of the cotangent; 13: images of a chunk, bands, rows of a band, chunks, parts,
    shares; 19: units, strips, width, wide strips, vectors of a group; 24: blocks of channels, channels of the longest,
    long blocks; 27: kernel rows, kernel columns, vectors of a part; 30: iterations of a chunk, terms of a section or 0;
    32 for x and 36 for the cotangent: the word that has the kernel which makes it for an iteration (0: it is there,
    whole), rows from one band to the next, first row, rows of an image as they lie there; 40: images of a volume of x
    and of the cotangent, images of the kernel, runs of images of a volume; 44: for each image, row and column of the
    kernel: first, count, stride, source, step of the outputs that it contributes to; then where a block of channels is
    copied, and its rows: from one band to the next, first row, rows of an image; then the arguments of the kernels that
    make x and cotangent.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    image, line, pixel = steps = _PACKED if packs else _AS_IT_LIES
    arguments = (
        f"a, i64(a_row), g, to, c_row, n2, image_step * {image}, image_stride * g_image, "
        f"n1, row_step * {line}, row_stride * g_line, n0, column_step * {pixel}, column_stride * g_pixel, columns, more"
    )
    sections = _sections(shapes, of.tail, "i64(a_row)", 12, steps)
    add = sections if of.sectioned else call_tile(shapes, of.tail, arguments, 12)
    order, place_of_copy, copy = _PLACES_OUTSIDE, "", ""
    start = f"x_start + {size} * (group * inner + channel)"
    if packs:
        order, place_of_copy = _BLOCKS_OUTSIDE, _PLACE_OF_COPY
        copy = _COPY.format(most=max(rows for rows, _ in shapes), short=short)
        start = "packed - first_image * packed_image - first_packed * packed_line"
    return f"""
a_row = {size}
{define_tiles(short, shapes, of, True)}


def kernel(b):
    volumes, height, width, g_height, g_width = word(b, 4), word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    inner, outer = word(b, 9), word(b, 10)
    iteration_images, bands, band_rows, passes = word(b, 13) // word(b, 30), word(b, 14), word(b, 15), word(b, 16)
    parts, shares, units = word(b, 17), word(b, 18), word(b, 19)
    strips, strip_width, wide, all_vectors = word(b, 20), word(b, 21), word(b, 22), word(b, 23)
    blocks, most, long = word(b, 24), word(b, 25), word(b, 26)
    kernel_rows, kernel_columns = word(b, 27), word(b, 28)
    x_images, g_images, depths, blocks_of_images = word(b, 40), word(b, 41), word(b, 42), word(b, 43)
    pixel, g_pixel = {size} * word(b, 11), {size} * word(b, 12)
    x_line, g_line = pixel * width, g_pixel * g_width
    x_image, g_image = x_line * word(b, 35), g_line * word(b, 39)
    places = depths * kernel_rows * kernel_columns
    part = word(b, 0) // shares
    share = word(b, 0) - part * shares
    base = word(b, 3) + {size} * lanes * part * word(b, 29)
    first_iteration = part * passes // parts * word(b, 30)
    for iteration in range(first_iteration, (part + 1) * passes // parts * word(b, 30)):
{_OPERANDS}{place_of_copy}
        for unit in range(share * units // shares, (share + 1) * units // shares):
            strip = unit % strips
            rest = unit // strips
            {order}
            depth = place // (kernel_rows * kernel_columns)
            kernel_row = place // kernel_columns - depth * kernel_rows
            kernel_column = place % kernel_columns
{_STRIP}
            rows = most if block < long else most - 1
            channel = block * most if block <= long else block * (most - 1) + long
            c_row = {size} * lanes * all_vectors
            to = base + ((group * places + place) * inner + channel) * c_row
            to += {size} * lanes * vector{copy}
{_MET}
            at = 44 + 5 * (depths + kernel_rows + kernel_column)
            column_first, n0, column_stride, column_source, column_step = (
                word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4))
            if (n2 <= 0) | (n1 <= 0) | (n0 <= 0):
                if iteration == first_iteration:
                    for r in range(rows):
                        zero_bytes(to + r * c_row, {size} * columns)
                continue
            a = {start} + (row_source + row_skipped * row_step) * {line}
            a += (image_source + image_skipped * image_step) * {image} + column_source * {pixel}
            g = g_start + (row_first + row_skipped * row_stride) * g_line
            g += (image_first + image_skipped * image_stride) * g_image
            g += column_first * g_pixel + {size} * (group * outer + vector * lanes)
            more = i64(0) if iteration == first_iteration else i64(1)
            {add}
    return i64(0)
"""


_STEPS_OF_ROW = "    column_stride, column_step = word(b, of_columns), word(b, of_columns + 1)"

# The columns of a block that meet the same outputs, in the order of these.
_PIECES_OF_ROW = """
            at, end = of_columns + word(b, of_columns + 2 + block), of_columns + word(b, of_columns + 3 + block)
            while at < end:
                column, rows, column_first, n0, source, apart = (
                    word(b, at), word(b, at + 1), word(b, at + 2), word(b, at + 3), word(b, at + 4), word(b, at + 5))
                at += 6
                a, a_row = x + source * pixel, apart * pixel
                g = of_g + column_first * g_pixel
                to = result + (column - first_column) * {inner} * c_row
                {add}
""".strip("\n")

# A line of the cotangent block by block, each for all columns; sections are some rows of a block.
_BLOCKS_OF_ROW = """
            runs, column_step = word(b, of_columns), word(b, of_columns + 1)
            a, g = x + word(b, of_columns + 2) * pixel, of_g
            for run in range(runs):
                at = of_columns + 3 + 3 * run
                kind, outputs = word(b, at + 1), word(b, at + 2)
                section_rows = {section_rows}
                for block_of_run in range(word(b, at)):
                    for row in range(0, n1, section_rows):
                        down = n1 - row if n1 - row < section_rows else section_rows
                        {call}
                    a += outputs * column_step * pixel
                    g += outputs * g_pixel
""".strip("\n")


def _define_blocks(short: str, of: Vectors, blocks: Sequence[Block], widths: Sequence[int]) -> str:
    """Definitions of the register tiles of blocks."""
    lines = [f"lanes, used = {of.lanes}, {of.used}"]
    for kind, (_, columns) in enumerate(blocks):
        assert columns is not None
        for width in widths:
            for name, partly in (("tile", False), ("tail", True)) if of.tail else (("tile", False),):
                made = f"line_gradient({short!r}, lanes, {width}, {partly}, {of.sectioned}, {tuple(columns)})"
                lines.append(f"{name}_{kind}_{width} = {made}")
    return "\n".join(lines)


def _blocks_of_row(of: Vectors, blocks: Sequence[Block], widths: Sequence[int]) -> str:
    """Calls of those."""
    arguments = (
        "a + row * row_step * x_line, row_step * x_line, pixel, g + row * row_stride * g_line, row_stride * g_line, "
        "g_pixel, result, c_row, down, columns"
    )
    cases = [
        (f"(kind == {kind}) & (vectors == {width})", f"{kind}_{width}", arguments)
        for kind in range(len(blocks))
        for width in widths
    ]
    section_rows = "word(b, 31) // outputs if word(b, 31) > outputs else i64(1)" if of.sectioned else "n1"
    return _BLOCKS_OF_ROW.format(section_rows=section_rows, call=call_one(cases, of.tail, 24))


def weight_gradient_by_kernel_row(
    dtype: np.dtype[Any], of: Vectors, shapes: Sequence[Shape], blocks: Sequence[Block], widths: Sequence[int]
) -> str:
    """A tile of `WeightGradientTiles` whose register tiles have columns of the kernel as rows, with the channels into a
    group of each: as many columns as the first numbers of `shapes` say.

    The arguments are those of `weight_gradient`, where blocks are of the kernel's columns. Behind the outputs of the
    kernel's rows there stand: outputs from one to the next, columns of the input between these, then for each block
    where the columns that it takes together begin, and where the last ones end, then for each of these: first column of
    the kernel, columns, first output, outputs, column of the input, columns of the input from one to the next.

    Where every channel goes by itself a line of the cotangent is passed in `blocks`, if there are some. Then there
    stand: runs of blocks, columns of the input from one output to the next, the first column, then for each run:
    blocks, which of `blocks`, outputs of that.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    if blocks:
        define, steps, pieces_of_row = _define_blocks(short, of, blocks, widths), "", _blocks_of_row(of, blocks, widths)
    else:
        arguments = (
            "a, a_row, g, to, c_row, n2, image_step * x_image, image_stride * g_image, n1, row_step * x_line, "
            "row_stride * g_line, n0, column_step * pixel, column_stride * g_pixel, columns, more"
        )
        sections = _sections(shapes, of.tail, "a_row", 16)
        add = sections if of.sectioned else call_tile(shapes, of.tail, arguments, 16)
        define, steps = define_tiles(short, shapes, of, True), _STEPS_OF_ROW
        pieces_of_row = _PIECES_OF_ROW.format(inner=of.inner, add=add)
    shared = of.pairwise or of.group is not None
    channel = f"{of.read} * vector" if shared else "inner * group"
    return f"""
{define}


def kernel(b):
    volumes, height, width, g_height, g_width = word(b, 4), word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    inner, outer = word(b, 9), word(b, 10)
    iteration_images, bands, band_rows, passes = word(b, 13) // word(b, 30), word(b, 14), word(b, 15), word(b, 16)
    parts, shares, units = word(b, 17), word(b, 18), word(b, 19)
    strips, strip_width, wide, all_vectors = word(b, 20), word(b, 21), word(b, 22), word(b, 23)
    blocks, most, long = word(b, 24), word(b, 25), word(b, 26)
    kernel_rows, kernel_columns = word(b, 27), word(b, 28)
    x_images, g_images, depths, blocks_of_images = word(b, 40), word(b, 41), word(b, 42), word(b, 43)
    pixel, g_pixel = {size} * word(b, 11), {size} * word(b, 12)
    x_line, g_line = pixel * width, g_pixel * g_width
    x_image, g_image = x_line * word(b, 35), g_line * word(b, 39)
    part = word(b, 0) // shares
    share = word(b, 0) - part * shares
    base = word(b, 3) + {size} * lanes * part * word(b, 29)
    c_row = {size} * lanes * all_vectors
    of_columns = 44 + 5 * (depths + kernel_rows)
{steps}
    first_iteration = part * passes // parts * word(b, 30)
    for iteration in range(first_iteration, (part + 1) * passes // parts * word(b, 30)):
{_OPERANDS}
        for unit in range(share * units // shares, (share + 1) * units // shares):
            strip = unit % strips
            block = unit // strips % blocks
            rest = unit // strips // blocks
            group = rest // (depths * kernel_rows)
            depth = rest // kernel_rows - group * depths
            kernel_row = rest % kernel_rows
{_STRIP}
            block_columns = most if block < long else most - 1
            first_column = block * most if block <= long else block * (most - 1) + long
            result = base + (rest * kernel_columns + first_column) * {of.inner} * c_row + {size} * lanes * vector
            if iteration == first_iteration:
                for row in range(block_columns * {of.inner}):
                    zero_bytes(result + row * c_row, {size} * columns)
{_MET}
            if (n2 <= 0) | (n1 <= 0):
                continue
            x = x_start + (row_source + row_skipped * row_step) * x_line
            x += (image_source + image_skipped * image_step) * x_image + {size} * {channel}
            of_g = g_start + (row_first + row_skipped * row_stride) * g_line
            of_g += (image_first + image_skipped * image_stride) * g_image + {size} * (group * outer + used * vector)
            more = i64(1)
{pieces_of_row}
    return i64(0)
"""


def add_parts(dtype: np.dtype[Any], lanes: int, used: int) -> str:
    """The parts of a weight gradient, added in their order, as (channels out, channels in, kernel).

    Args: tile (a vector of output channels of a group), parts, dw, number of parts, vectors of a part, vectors of a
    group, channels in and out of a group, places of the kernel, whether dw is added to; 10: a word for each place.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    arguments = (
        f"x, {size} * lanes * word(b, 4), word(b, 3), b + 80, places, f % places, {size} * lanes * vectors, "
        f"y, {size} * inner * places, rows, columns, word(b, 9)"
    )
    return f"""
lanes, used = {lanes}, {used}
whole_square = unpack_square({short!r}, lanes, True)
part_of_square = unpack_square({short!r}, lanes, False)


def kernel(b):
    vectors, inner, outer, places = word(b, 5), word(b, 6), word(b, 7), word(b, 8)
    group = word(b, 0) // vectors
    vector = word(b, 0) - group * vectors
    rows = outer - vector * used if outer - vector * used < used else i64(used)
    for place in range(places):
        set_word(b, 10 + place, {size} * lanes * place * inner * vectors)
    base = word(b, 1) + {size} * lanes * (group * places * inner * vectors + vector)
    for f in range(0, inner * places, lanes):
        columns = inner * places - f if inner * places - f < lanes else i64(lanes)
        x = base + {size} * lanes * vectors * (f // places)
        y = word(b, 2) + {size} * ((group * outer + vector * used) * inner * places + f)
        if (rows == lanes) & (columns == lanes):
            whole_square({arguments})
        else:
            part_of_square({arguments})
    return i64(0)
"""
