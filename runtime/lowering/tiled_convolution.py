"""Kernels of convolutions over one to three spatial axes: register tiles over image rows that were copied with padding.

No matrix of patches is made (im2col). A register tile sums over kernel rows, kernel columns and input channels by three
strides, in rows of the image as they lie there; so each element is copied once, not once for each place of the kernel.
The copy has the padding in it, which keeps tests for edges out of the innermost loops. What an image of the output
meets of the images of a volume is added up image by image of the kernel.

Sizes are arguments; source is made for each dtype and each set of register tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import SHORT_NAMES
from ...passes.kernels.line_blocks import Columns
from ..codegen.group_product import Group

Shape = tuple[int, int]
Block = tuple[int, Columns | None]
"""Outputs of a register tile, and the columns that they meet if it knows them."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of channels: their lanes, how many of these are `used` but for those of a `tail`, and whether there is
    one.

    Where groups share vectors, each channel goes by itself (`pairwise`), or `group` has their number and channels.
    Where register tiles have columns of a kernel as rows, there are as many rows of each as there are channels in a
    `run`. `sectioned` and `run` as of `tile_product`.
    """

    lanes: int
    used: int
    tail: bool
    pairwise: bool
    group: Group | None
    sectioned: bool = False
    run: int = 1

    @property
    def inner(self) -> int:
        """Channels into a group that a register tile takes of each column of the kernel that is among its rows."""
        return self.run if self.group is None else self.group[1]

    @property
    def read(self) -> int:
        """Channels of the input that a vector meets, where groups share vectors."""
        return self.lanes if self.group is None else self.group[0] * self.group[1]


def define_tiles(short: str, shapes: Sequence[Shape], of: Vectors, apart: bool) -> str:
    """Definitions of the register tiles; `apart`, the channels into a group have sums of their own."""
    lines = [f"lanes, used = {of.lanes}, {of.used}"]
    for rows, vectors in shapes:
        lines += _variants(short, f"{rows}_{vectors}", (rows, vectors), of, apart, None)
    return "\n".join(lines)


def _variants(short: str, name: str, shape: Shape, of: Vectors, apart: bool, columns: Columns | None) -> Iterable[str]:
    """A register tile, and that of a tail."""
    line = "" if columns is None else f", line={tuple(columns)}"
    for kind, partly in (("tile", False), ("tail", True)) if of.tail else (("tile", False),):
        if of.group is not None:
            made = f"group_product({short!r}, lanes, {shape[0]}, {of.group}, {partly}, {apart}, {of.sectioned})"
        else:
            sizes, run = f"{shape[0] * of.run}, {shape[1]}", f", run={of.run}" if of.run > 1 else ""
            made = f"tile_product({short!r}, lanes, {sizes}, {partly}, {of.pairwise}, {of.sectioned}{line}{run})"
        yield f"{kind}_{name} = {made}"


def call_tile(shapes: Sequence[Shape], tail: bool, arguments: str, indent: int) -> str:
    """A call of the register tile of `rows` rows and `vectors` vectors; the last vector may be partly there."""
    cases = [(f"(rows == {n}) & (vectors == {vectors})", f"{n}_{vectors}", arguments) for n, vectors in shapes]
    return call_one(cases, tail, indent)


def call_one(cases: Sequence[tuple[str, str, str]], tail: bool, indent: int) -> str:
    """A call of the register tile whose condition holds, of conditions, names and arguments."""
    lines: list[str] = []
    for i, (condition, name, arguments) in enumerate(cases):
        lines.append(f"{'elif' if i else 'if'} {condition}:")
        if tail:
            lines.append("    if columns < used * vectors:")
            lines.append(f"        tail_{name}({arguments})")
            lines.append("    else:")
            lines.append(f"        tile_{name}({arguments})")
        else:
            lines.append(f"    tile_{name}({arguments})")
    return ("\n" + " " * indent).join(lines)


def _strip(indent: int) -> str:
    """Strip `number` of all groups: its group, its first vector, how many it has."""
    lines = """group = number // strips
strip = number - group * strips
first = strip * strip_width if strip <= wide else strip * (strip_width - 1) + wide
vectors = strip_width if strip < wide else strip_width - 1"""
    return "\n".join(" " * indent + line for line in lines.splitlines())


def pack(dtype: np.dtype[Any], lanes: int, used: int) -> str:
    """A strip's weights, one vector row for each place of the kernel and input channel.

    Args: tile, w, packed, elements of w from one channel out, channel in, row and column of the kernel to the next,
    channels in and out of a group, groups with strips, strips, width of a strip, wide strips, vectors of a group,
    kernel rows, kernel columns, vector rows of a strip, elements of w from one image of the kernel to the next, images
    of the kernel, then for each place of one: vector rows of the polyphase components before its own, vector rows of
    its component (0 where no output meets the place), its number in the component.
    """
    short = SHORT_NAMES[dtype]
    place, rest = "c", "range(there, columns)"
    if used < lanes:
        place, rest = "c // used * lanes + c % used", "range(columns)"
    clear = f"""for c in {rest}:
                    for i in range(start, stop):
                        packed[base + (number * inner + i) * columns + c] = {short}(0)"""
    return f"""
lanes, used = {lanes}, {used}


def kernel(b):
    w, packed = array_{short}(word(b, 1), 0), array_{short}(word(b, 2), 0)
    of_out, of_in, of_row, of_column, of_depth = word(b, 3), word(b, 4), word(b, 5), word(b, 6), word(b, 17)
    inner, outer, all_vectors = word(b, 7), word(b, 8), word(b, 13)
    strips, strip_width, wide = word(b, 10), word(b, 11), word(b, 12)
    kernel_rows, kernel_columns, all_rows = word(b, 14), word(b, 15), word(b, 16)
    blocks = (inner + 7) // 8
    block = word(b, 0) % blocks
    number = word(b, 0) // blocks
{_strip(4)}
    columns = vectors * lanes
    there = outer - first * used if outer - first * used < vectors * used else vectors * used
    start = block * 8
    stop = start + 8 if start + 8 < inner else inner
    for depth in range(word(b, 18)):
        before_depth = (depth * word(b, 9) + group) * all_vectors * all_rows
        for row in range(kernel_rows):
            for column in range(kernel_columns):
                at = 19 + 3 * (row * kernel_columns + column)
                before, mine, number = word(b, at), word(b, at + 1), word(b, at + 2)
                if mine == 0:
                    continue
                base = (before_depth + before * all_vectors + mine * first) * lanes
                source = (group * outer + first * used) * of_out
                source += depth * of_depth + row * of_row + column * of_column
                {clear}
                for c in range(there):
                    for i in range(start, stop):
                        packed[base + (number * inner + i) * columns + {place}] = w[source + c * of_out + i * of_in]
    return i64(0)
"""


def pack_squares(dtype: np.dtype[Any], lanes: int) -> str:
    """The same where all places of the kernel follow one another in memory, one way or the other.

    Args: tile, w, packed, elements of w from one channel out, channel in to the next, of the first place in memory,
    whether all channels in follow one another too, channels in and out of a group, groups, strips, width of a strip,
    wide strips, vectors of a group, vector rows of a strip, places of an image of the kernel, its images; 17: for each
    place in the order of the memory: its image, vector rows of the polyphase components before its own, vector rows of
    its component, its number in the component; then a word for each place.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    arguments = (
        f"x + {size} * f, {size} * word(b, 3), rows, columns, table, places, f % places, "
        f"y + f // places * of_run, of_run"
    )
    return f"""
lanes = {lanes}
whole_square = pack_square({short!r}, lanes, True)
part_of_square = pack_square({short!r}, lanes, False)


def kernel(b):
    inner, outer, groups, strips = word(b, 7), word(b, 8), word(b, 9), word(b, 10)
    strip_width, wide, all_vectors, all_rows = word(b, 11), word(b, 12), word(b, 13), word(b, 14)
    places = word(b, 15) * word(b, 16)
    blocks = (inner + 15) // 16
    block = word(b, 0) % blocks
    number = word(b, 0) // blocks
{_strip(4)}
    of_run = {size} * lanes * vectors
    for place in range(places):
        at = 17 + 4 * place
        before = (word(b, at) * groups + group) * all_vectors * all_rows + word(b, at + 1) * all_vectors
        row = before + word(b, at + 2) * first + word(b, at + 3) * inner * vectors
        set_word(b, 17 + 4 * places + place, {size} * lanes * row)
    table = b + 136 + 32 * places
    start = block * 16
    channels = inner - start if inner - start < 16 else i64(16)
    runs = i64(1) if word(b, 6) else channels
    terms = channels * places if word(b, 6) else places
    for vector in range(vectors):
        channel = (first + vector) * lanes
        rows = outer - channel if outer - channel < lanes else i64(lanes)
        for run in range(runs):
            x = word(b, 1) + {size} * ((group * outer + channel) * word(b, 3) + (start + run) * word(b, 4) + word(b, 5))
            y = word(b, 2) + {size} * lanes * vector + (start + run) * of_run
            for f in range(0, terms, lanes):
                columns = terms - f if terms - f < lanes else i64(lanes)
                if (rows == lanes) & (columns == lanes):
                    whole_square({arguments})
                else:
                    part_of_square({arguments})
    return i64(0)
"""


# The images of the kernel that one of the output meets, where all are summed together: `expand` is 1 then.
_TOGETHER = """
                    met = image * stride + lift - lifted
                    tap = (dilation - 1 - met) // dilation if met < 0 else i64(0)
                    images_met = (x_images - met + dilation - 1) // dilation if met < x_images else i64(0)
                    images_met = (images_met if images_met < depths else depths) - tap
                    if images_met <= 0:
                        continue
                    image_weights = {size} * lanes * word(b, 9) * all_vectors * word(b, 32)
"""


def convolve(dtype: np.dtype[Any], of: Vectors, blocks: Sequence[Block], widths: Sequence[int], together: bool) -> str:
    """A tile of `ConvTiles`: strip of channels by strip, so that a strip of the weight stays in the cache for all
    outputs of the tile. One image of the kernel comes after the other unless they are summed `together`, and where a
    strip of that is too large, one kernel row.

    Outputs of a polyphase component lie `stride` apart, what they read of the input `step`.

    Args: tile, x or what was copied of it for the tile, packed weights, y; 4: images of a volume of y, height and width
    of x, height and width of y; 9: groups with strips, channels in and out of a group, channels of x, of y; 14: images,
    bands, rows of a tile; 17: copied rows and columns, their origin (2), whether nothing is copied; 22: step and stride
    of rows, of columns; 26: kernel places apart in the input, rows and columns; 28: strips, width, wide strips, vectors
    of a group; 32: vector rows of a strip; 33: whether kernel rows are passed one by one; 34: whether a kernel row is
    one run; 35: polyphase components; 36: images of a volume of x, blocks of a volume of y, images of the kernel, and
    how they meet: dilation, stride, lift, expand, lifted; 44: whether what y holds is added to; then for each
    component: first, count, source, taps of rows, of columns, vector rows before, the word where its runs of blocks
    stand, how many; then for each run: blocks, which of `blocks`, columns of that.
    """
    short, size = SHORT_NAMES[dtype], dtype.itemsize
    rows, taps = "row_taps, row_stride, row_weights", "column_taps, tap_stride, inner * weight_row"
    terms = f"{'i64(1)' if of.group else 'inner'}, i64({size}), weight_row"
    images = "images_met, dilation * x_image, image_weights" if together else "i64(1), i64(0), i64(0)"
    # Where a kernel row is one run, or each channel goes by itself, the sum over images is the outermost of three.
    known = f"{images}, {rows}, {taps}" if of.pairwise else f"{rows}, {taps}, {terms}"
    if of.pairwise:
        sums = known
    elif together:
        sums = f"{images}, {rows}, n0, i64({size}), weight_row"
    else:
        sums = f"{rows}, n1, tap_stride, inner * weight_row, n0, i64({size}), weight_row"
    here = f"{size} * {of.read} * first" if of.pairwise or of.group else f"{size} * group * inner"
    lines, cases = [f"lanes, used = {of.lanes}, {of.used}"], list[tuple[str, str, str]]()
    for kind, (count, columns) in enumerate(blocks):
        for vectors in widths:
            lines += _variants(short, f"{kind}_{vectors}", (count, vectors), of, False, columns)
            given = f"at, a_step, of_w, to, c_step, {sums if columns is None else known}, columns, more"
            cases.append((f"(kind == {kind}) & (vectors == {vectors})", f"{kind}_{vectors}", given))
    define = "\n".join(lines)
    met = _TOGETHER.format(size=size).strip("\n") if together else ""
    return f"""
{define}


def kernel(b):
    images, height, width = word(b, 4), word(b, 5), word(b, 6)
    y_height, y_width = word(b, 7), word(b, 8)
    inner, outer, x_channels, y_channels = word(b, 10), word(b, 11), word(b, 12), word(b, 13)
    bands, band_rows = word(b, 15), word(b, 16)
    copied_rows, copied_columns, top, left = word(b, 17), word(b, 18), word(b, 19), word(b, 20)
    step_down, stride_down, step_across, stride_across = word(b, 22), word(b, 23), word(b, 24), word(b, 25)
    x_images, depths, dilation, stride = word(b, 36), word(b, 38), word(b, 39), word(b, 40)
    lift, expand, lifted, adds = word(b, 41), word(b, 42), word(b, 43), word(b, 44)
    block = word(b, 0) // bands
    band = word(b, 0) % bands
    volume = block // word(b, 37)
    first_image = (block - volume * word(b, 37)) * word(b, 14)
    last_image = first_image + word(b, 14) if first_image + word(b, 14) < images else images
    first_row = band * band_rows
    begin = first_row * step_down + top
    # Where the first image of the volume would lie.
    if word(b, 21) == 0:
        x_line = {size} * copied_columns * x_channels
        x_image = x_line * copied_rows
        base = word(b, 1) - ((first_image * stride + lift) // expand - lifted) * x_image
    else:
        x_line = {size} * width * x_channels
        x_image = x_line * height
        base = word(b, 1) + volume * x_images * x_image + begin * x_line + {size} * left * x_channels
    pixel = {size} * x_channels
    a_step = step_across * pixel
    c_step = {size} * stride_across * y_channels
    strips, strip_width, wide, all_vectors = word(b, 28), word(b, 29), word(b, 30), word(b, 31)
    for number in range(word(b, 9) * strips):
{_strip(8)}
        columns = outer - first * used if outer - first * used < vectors * used else vectors * used
        weight_row = {size} * lanes * vectors
        for component in range(word(b, 35)):
            entry = 45 + 11 * component
            row_first, row_count, row_source, all_row_taps = (
                word(b, entry), word(b, entry + 1), word(b, entry + 2), word(b, entry + 3))
            column_first, column_count, column_source, column_taps = (
                word(b, entry + 4), word(b, entry + 5), word(b, entry + 6), word(b, entry + 7))
            before, of_runs, runs = word(b, entry + 8), word(b, entry + 9), word(b, entry + 10)
            taps = all_row_taps * column_taps
            end_row = first_row + band_rows if first_row + band_rows < row_count else row_count
            for image in range(first_image, last_image if adds == 0 else first_image):
                met_images = i64(0)
                if taps > 0:
                    for tap in range(depths):
                        met = image * stride + tap * dilation + lift
                        if (met % expand == 0) & (met // expand >= lifted) & (met // expand < lifted + x_images):
                            met_images += 1
                if met_images > 0:
                    continue
                for q in range(first_row, end_row):
                    line_of_y = ((volume * images + image) * y_height + row_first + q * stride_down) * y_width
                    for p in range(column_count):
                        nothing = (line_of_y + column_first + p * stride_across) * y_channels + group * outer
                        zero_bytes(word(b, 3) + {size} * (nothing + first * used), {size} * columns)
            if taps == 0:
                continue
            mine = taps * inner
            reach_down = word(b, 26)
            row_stride = reach_down * x_line
            row_weights = column_taps * inner * weight_row
            tap_stride = word(b, 27) * pixel
            n1, n0 = column_taps, {"i64(1)" if of.group else "inner"}
            if word(b, 34):
                n1 = i64(1)
                n0 = column_taps * inner
            row_passes = all_row_taps if word(b, 33) else i64(1)
            for number_of_pass in range({"row_passes" if together else "depths * row_passes"}):
                tap = number_of_pass // row_passes
                row_tap = number_of_pass - tap * row_passes
                for image in range(first_image, last_image):
{met}
                    weights = word(b, 2) + {size} * lanes * (
                        (tap * word(b, 9) + group) * all_vectors * word(b, 32) + before * all_vectors + mine * first)
                    met_image = image * stride + tap * dilation + lift
                    source_image = met_image // expand - lifted
                    if (met_image % expand != 0) | (source_image < 0) | (source_image >= x_images):
                        continue
                    more_images = adds
                    for earlier in range(tap):
                        met = image * stride + earlier * dilation + lift
                        if (met % expand == 0) & (met // expand >= lifted) & (met // expand < lifted + x_images):
                            more_images = i64(1)
                    from_image = base + source_image * x_image + {here}
                    for q in range(first_row, end_row):
                        # Kernel rows that meet nothing but padding are left out, as long as one is left.
                        met = q * step_down + row_source
                        skipped = (reach_down - 1 - met) // reach_down if met < 0 else i64(0)
                        until = (height - met + reach_down - 1) // reach_down if met < height else i64(0)
                        until = until if until < all_row_taps else all_row_taps
                        skipped = skipped if skipped < until else i64(0)
                        until = until if until > 0 else i64(1)
                        more = more_images
                        row_taps = until - skipped
                        if word(b, 33):
                            if (row_tap < skipped) | (row_tap >= until):
                                continue
                            more = i64(1) if row_tap > skipped else more_images
                            skipped, row_taps = row_tap, i64(1)
                        of_w = weights + skipped * row_weights
                        at = from_image + (met - begin + skipped * reach_down) * x_line
                        at += (column_source - left) * pixel
                        to = word(b, 3) + {size} * (
                            (((volume * images + image) * y_height + row_first + q * stride_down) * y_width
                             + column_first) * y_channels + group * outer + first * used)
                        for run in range(runs):
                            kind, rows = word(b, of_runs + 3 * run + 1), word(b, of_runs + 3 * run + 2)
                            for block_of_run in range(word(b, of_runs + 3 * run)):
                                {call_one(cases, of.tail, 32)}
                                at += rows * a_step
                                to += rows * c_step
    return i64(0)
"""
