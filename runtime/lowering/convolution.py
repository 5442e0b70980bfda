"""From convolutions to launches: which kernels run, and the arguments that they read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from ...ir import Node, Value
from ...ir.ops.convolution import Window, windows
from ...passes.kernels.conv_epilogue import epilogue_of
from ...passes.kernels.conv_geometry import Geometry
from ...passes.kernels.conv_operands import Operand, added_input, convolution_of, is_convolution, operand
from ...passes.kernels.conv_scratch import scratch_bytes
from ...passes.kernels.conv_tiles import ConvTiles, conv_tiles
from ...passes.kernels.line_blocks import line_blocks
from ...passes.kernels.plain_conv_tiles import PLAIN_TILE, PlainWeightGradient
from ...passes.kernels.polyphase import PolyphaseComponent, tap_outputs
from ...passes.kernels.register_tiles import tile_shapes
from ...passes.kernels.weight_gradient_tiles import WeightGradientTiles, weight_gradient_tiles
from ...passes.memory.plan import Plan
from ..codegen.group_product import Group
from . import conv_copy, plain_convolution, tiled_convolution, tiled_weight_gradient
from .data_movement import begin_accumulators
from .launch import TILE, Arg, Call, KernelAddress, Launch, Pointer, Scratch, Tile, Traps
from .moments import call_moments
from .region import lower_loops
from .tiled_convolution import Block, Vectors


def lower_convolution(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The launches of a convolution, or of the gradient of its weight; what its epilogue computes of a tile goes with
    the last of them, and what combines the parts of that follows.
    """
    lowered = _convolution if is_convolution(convolution_of(node)) else _weight_gradient
    launches = [*begin_accumulators(node, plan), *lowered(node, plan)]
    epilogue = epilogue_of(node)
    if epilogue is None:
        return launches
    scratch = plan.scratch.get(node, 0) + scratch_bytes(node, plan.threads, plan.views, plan.target)
    combining: list[Call] = []
    if epilogue.loops is not None:
        nest, outputs = plan.nests[node], [node.outputs[o] for o in epilogue.outputs]
        in_place = {k: 0 for k, o in enumerate(epilogue.outputs) if o == epilogue.accumulator}
        inputs = [Pointer(plan.views[value].base) for value in epilogue.loops.inputs]
        loops, combining = lower_loops(nest, inputs, outputs, in_place, scratch, plan, traps)
        launches[-1].calls.append(loops)
        scratch += plan.threads * nest.buffer_bytes + nest.partial_bytes
    for tiles, x, result in epilogue.moments_of(node, plan.target):
        part, combined = call_moments(tiles, x, result, scratch, plan)
        launches[-1].calls.append(part)
        combining.append(combined)
        scratch += tiles.scratch_bytes(plan.threads)
    return [*launches, Launch(1, combining)] if combining else launches


def _convolution(unit: Node, plan: Plan) -> list[Launch]:
    """The weight is packed once for all tiles; then each tile copies the image rows that it reads, unless it can read
    them where they are, and convolves them.
    """
    tiles = conv_tiles(unit, plan.target)
    if tiles is None:
        return [_plain_convolution(unit, plan)]
    calls = [_convolve(unit, tiles, plan)]
    if not tiles.direct:
        read = operand(unit, 0, plan.views, tiles.geometry.images_of(0))
        target = _scratch(unit, plan, tiles.packed_bytes, tiles.band_bytes)
        line_bytes = sum(read.line_bytes(tiles.copied[1], plan.target))
        lines = _scratch(unit, plan, tiles.packed_bytes + plan.threads * tiles.band_bytes, line_bytes)
        step = tiles.band * tiles.components[0][0].input_stride
        where = [tiles.bands, step, tiles.origin[0], tiles.copied[0], tiles.origin[1], tiles.copied[1]]
        images = [tiles.geometry.depths[0], tiles.runs, tiles.images, *_depth(tiles.geometry), tiles.copied_images]
        calls.insert(0, _copy(read, TILE, target, lines, where, images, plan))
    return [_pack(unit, tiles, plan), Launch(tiles.tiles, calls)]


def _weight_gradient(unit: Node, plan: Plan) -> list[Launch]:
    """Parts of the sum over all images, by tiles, then the sum of the parts."""
    tiles = weight_gradient_tiles(unit, plan.target)
    if tiles is None:
        return [_plain_weight_gradient(unit, plan)]
    return [_sum(unit, tiles, plan), _add_parts(unit, tiles, plan)]


def _scratch(unit: Node, plan: Plan, offset: int, worker_stride: int = 0) -> Scratch:
    """An address in the unit's own scratch."""
    return Scratch(plan.scratch.get(unit, 0) + offset, worker_stride)


def _depth(g: Geometry) -> list[int]:
    """How images of the output meet those of the input: stride, what is added so that no place is below zero, expand,
    and what that is of the input. Image d meets image (d * stride + tap * dilation + lift) // expand - lifted.
    """
    window = g.depth_window
    lifted = max(-(-window.low // window.expand), 0)
    return [window.stride, lifted * window.expand - window.low, window.expand, lifted]


def _copy(
    read: Operand,
    tile: Tile | int,
    target: Scratch,
    lines: Scratch,
    where: Sequence[int],
    images: Sequence[int],
    plan: Plan,
) -> Call:
    """Makes rows of images of an operand; `where` are the arguments 7 to 12 of the kernel, `images` 14 to 21."""
    args: list[Arg] = [tile, target, lines, *read.lengths, *where, read.repeated, *images]
    at = 0
    for one, nbytes in zip(read.reads, read.line_bytes(where[-1], plan.target)):
        args += [Pointer.to(plan.views[one.value]), *one.strides, at]
        at += nbytes
    return Call(conv_copy.copy_images(read), args)


def _lanes(g: Geometry) -> int:
    """SIMD lanes: elements of a vector register."""
    return g.target.vector_bytes // g.itemsize


def _partly_there(g: Geometry) -> bool:
    """Whether the last vector of a group's channels has lanes without a channel that others have."""
    return _channels(g)[2] % _used(g) != 0


def _used(g: Geometry) -> int:
    """Lanes of a vector that have a channel, but for the last one of a group or of all."""
    return g.groups_of_vector * g.channels_out if g.shares_vectors else _lanes(g)


def _group(g: Geometry) -> Group | None:
    """Groups of a vector, channels into and out of each; None where they share none, or have one channel."""
    return None if g.is_depthwise or not g.shares_vectors else (g.groups_of_vector, g.channels_in, g.channels_out)


def _channels(g: Geometry) -> tuple[int, int, int]:
    """Groups that have strips of their own, and channels in and out of each."""
    if g.shares_vectors:
        return 1, g.channels_in, g.groups * g.channels_out
    return g.groups, g.channels_in, g.channels_out


def _rows_before(tiles: ConvTiles) -> list[int]:
    """For each polyphase component, the rows of packed vectors that the components before it have."""
    g = tiles.geometry
    before = [0]
    for row, column in tiles.components:
        before.append(before[-1] + row.taps * column.taps * g.channels_in)
    return before


def _pack(unit: Node, tiles: ConvTiles, plan: Plan) -> Launch:
    """Copies the weight to the order in which register tiles read it: a row of vectors of output channels for each
    place of the kernel and input channel.
    """
    g = tiles.geometry
    weight = _given(unit, 1)
    strips = g.channel_strips
    groups, inner, outer = _channels(g)
    kernel_rows, kernel_columns = g.kernel
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * (kernel_rows * kernel_columns)
    for (row, column), before in zip(tiles.components, _rows_before(tiles)):
        for t in range(row.taps):
            for s in range(column.taps):
                place = (row.first_tap + t * row.tap_stride) * kernel_columns + column.first_tap + s * column.tap_stride
                places[place] = (before, row.taps * column.taps * g.channels_in, t * column.taps + s)
    of_out, of_in, *of_kernel = plan.views[weight].strides
    of_depth, of_row, of_column = (*(0,) * (3 - len(of_kernel)), *of_kernel)
    run = _run(g, of_in, (of_depth, of_row, of_column))
    if run is not None and _used(g) == _lanes(g) and all(mine for _, mine, _ in places):
        channels_too, first, turned = run
        numbers = [of_out, of_in, first, channels_too, inner, outer, groups, strips.count, strips.width, strips.wide]
        numbers += [strips.vectors, tiles.packed, kernel_rows * kernel_columns, g.depth_kernel]
        of_places = [(depth, *place) for depth in range(g.depth_kernel) for place in places]
        numbers += [n for place in of_places[:: -1 if turned else 1] for n in place]
        source = tiled_convolution.pack_squares(convolution_of(unit).output.type.dtype, _lanes(g))
        args = [TILE, Pointer.to(plan.views[weight]), _scratch(unit, plan, 0), *numbers, *[0] * g.places]
        return Launch(groups * strips.count * -(-inner // 16), [Call(source, args)])
    numbers = [of_out, of_in, of_row, of_column, inner, outer, groups, strips.count, strips.width, strips.wide]
    numbers += [strips.vectors, kernel_rows, kernel_columns, tiles.packed, of_depth, g.depth_kernel]
    numbers += [n for place in places for n in place]
    count = groups * strips.count * -(-inner // 8)
    source = tiled_convolution.pack(convolution_of(unit).output.type.dtype, _lanes(g), _used(g))
    args = [TILE, Pointer.to(plan.views[weight]), _scratch(unit, plan, 0), *numbers]
    return Launch(count, [Call(source, args)])


def _run(g: Geometry, of_in: int, of_places: tuple[int, int, int]) -> tuple[int, int, bool] | None:
    """Where all places of the kernel follow one another in memory: whether all channels in do too, the element of the
    place that comes first, and whether that is the last of all. None where they do not, or a square would have one
    column alone.
    """
    kernel = (g.depth_kernel, *g.kernel)
    dense = (kernel[1] * kernel[2], kernel[2], 1)
    for sign in (1, -1):
        if all(n == 1 or stride == sign * step for n, stride, step in zip(kernel, of_places, dense)):
            first = sum((n - 1) * stride for n, stride in zip(kernel, of_places) if n > 1) if sign < 0 else 0
            return (int(of_in == g.places), first, sign < 0) if of_in == g.places or g.places > 1 else None
    return None


def _given(unit: Node, number: int) -> Value:
    """What is given to `unit` as operand `number` of its convolution."""
    if not unit.op.is_conv_region:
        return unit.inputs[number]
    return unit.inputs[unit.attrs["body"].inputs.index(convolution_of(unit).inputs[number])]


def _convolve(unit: Node, tiles: ConvTiles, plan: Plan) -> Call:
    """The convolution of a tile."""
    g, (first, *_) = tiles.geometry, tiles.components
    strips = g.channel_strips
    groups, inner, outer = _channels(g)
    row, column = first
    numbers = [g.depths[1], *g.input_lengths, *g.output_lengths, groups, inner, outer]
    numbers += [g.images_of(0)[3], g.images_of(1)[3]]
    numbers += [tiles.images, tiles.bands, tiles.band, *tiles.copied, *tiles.origin, int(tiles.direct)]
    numbers += [row.input_stride, row.stride, column.input_stride, column.stride, row.dilation, column.dilation]
    numbers += [strips.count, strips.width, strips.wide, strips.vectors, tiles.packed]
    numbers += [int(tiles.by_kernel_row), int(tiles.kernel_rows_are_dense), len(tiles.components)]
    numbers += [g.depths[0], tiles.runs, g.depth_kernel, g.depth_window.dilation, *_depth(g)]
    numbers += [int(_adds(unit))]
    runs = [line_blocks(across, g) for _, across in tiles.components]
    blocks = list(dict.fromkeys((run.rows, run.columns) for line in runs for run in line))
    at = 4 + len(numbers) + 11 * len(runs)
    for (down, across), before, line in zip(tiles.components, _rows_before(tiles), runs):
        numbers += [*_of_component(down), *_of_component(across), before, at, len(line)]
        at += 3 * len(line)
    for run in chain.from_iterable(runs):
        numbers += [run.blocks, blocks.index((run.rows, run.columns)), run.rows]
    dtype = convolution_of(unit).output.type.dtype
    vectors = Vectors(_lanes(g), _used(g), _partly_there(g), g.is_depthwise, _group(g))
    source = tiled_convolution.convolve(dtype, vectors, blocks, sorted(strips.widths()), _together(tiles, blocks))
    read = _scratch(unit, plan, tiles.packed_bytes, tiles.band_bytes)
    if tiles.direct:
        read = Pointer.to(plan.views[_given(unit, 0)])
    epilogue = epilogue_of(unit)
    target = unit.outputs[0 if epilogue is None else epilogue.accumulator]
    return Call(source, [TILE, read, _scratch(unit, plan, 0), Pointer(target), *numbers])


def _together(tiles: ConvTiles, blocks: Iterable[Block]) -> bool:
    """Whether a register tile sums over all images of the kernel that one of the output meets: it has three loops."""
    g = tiles.geometry
    if g.depth_kernel == 1 or g.depth_window.expand > 1 or tiles.by_kernel_row:
        return False
    return g.is_depthwise or (tiles.kernel_rows_are_dense and all(columns is None for _, columns in blocks))


def _of_component(component: PolyphaseComponent) -> list[int]:
    return [component.first, component.count, component.input_first, component.taps]


def _sum(unit: Node, tiles: WeightGradientTiles, plan: Plan) -> Launch:
    """Parts of a weight gradient. The arguments of the calls that make operands stand behind the kernel's own, which
    finds them by their place.
    """
    g, blocks = tiles.geometry, tiles.columns if tiles.by_kernel_row else tiles.blocks
    strips = g.channel_strips
    _, inner, outer = _channels(g)
    numbers = [g.volumes, *g.input_lengths, *g.output_lengths, inner, outer]
    numbers += [g.images_of(0)[3], g.images_of(1)[3]]
    numbers += [tiles.images, tiles.bands, tiles.band, tiles.chunks, tiles.parts, tiles.shares, tiles.units]
    numbers += [strips.count, strips.width, strips.wide, strips.vectors, blocks.blocks, blocks.most, blocks.long]
    numbers += [*g.kernel, tiles.part_bytes // g.target.vector_bytes, tiles.iterations, tiles.section]
    of_volumes = [*g.depths, g.depth_kernel, tiles.runs * tiles.iterations]
    of_axes = [_outputs_met(g.depth_window, *g.depths, g.depth_kernel)]
    of_axes += [_outputs_met(*axis) for axis in zip(g.windows, g.input_lengths, g.output_lengths, g.kernel)]
    dtype, widths = convolution_of(unit).output.type.dtype, sorted(strips.widths())
    vectors = Vectors(_lanes(g), _used(g), _partly_there(g), g.is_depthwise, _group(g), tiles.section > 0)
    behind: list[Arg] = []
    if tiles.by_kernel_row:
        line_blocks, of_blocks = _blocks_of_line(tiles)
        sizes, of_pieces = ([], []) if line_blocks else _pieces_of_line(tiles)
        of_axes[2] = of_blocks if line_blocks else of_pieces
        shapes = [(size, width) for size in sizes for width in widths]
        vectors = vectors if g.shares_vectors else replace(vectors, run=g.channels_in)
        source = tiled_weight_gradient.weight_gradient_by_kernel_row(dtype, vectors, shapes, line_blocks, widths)
    else:
        packed = _scratch(unit, plan, tiles.all_parts_bytes, tiles.packed_bytes) if tiles.packs else 0
        behind = [packed, *tiles.copied(0)]
        source = tiled_weight_gradient.weight_gradient(dtype, vectors, tile_shapes([blocks], widths), tiles.packs)
    copies = _copies(unit, tiles, plan)
    at = 4 + len(numbers) + 4 * 2 + len(of_volumes) + sum(map(len, of_axes)) + len(behind)
    of_copies: list[Arg] = []
    for number, copy in enumerate(copies):
        begins = tiles.copied(number)
        numbers += [at + len(of_copies) if copy else 0, *(begins if copy else (0, 0, g.images_of(number)[1]))]
        of_copies += [] if copy is None else [KernelAddress(copy.source), *copy.args]
    numbers += [*of_volumes, *chain.from_iterable(of_axes)]
    read = [Pointer.to(plan.views[_given(unit, n)]) if copy is None else copy.args[1] for n, copy in enumerate(copies)]
    call = Call(source, [TILE, *read, _scratch(unit, plan, 0), *numbers, *behind, *of_copies])
    return Launch(tiles.parts * tiles.shares, [call])


def _outputs_met(window: Window, length: int, outputs: int, kernel: int) -> list[int]:
    """Five numbers for each tap of a kernel along an axis: the outputs that meet it, and where."""
    met = tap_outputs(window, length, outputs, kernel)
    return [n for m in met for n in (m.first, m.count, m.stride, m.input_first, m.input_stride)]


def _blocks_of_line(tiles: WeightGradientTiles) -> tuple[list[Block], list[int]]:
    """The kinds of blocks in which a line of the cotangent is passed, and the numbers of these blocks."""
    runs, window = tiles.line_blocks, tiles.geometry.windows[1]
    kinds: list[Block] = list(dict.fromkeys((run.rows, run.columns) for run in runs))
    numbers = [len(runs), window.stride, -window.low]
    for run in runs:
        numbers += [run.blocks, kinds.index((run.rows, run.columns)), run.rows]
    return kinds, numbers


def _pieces_of_line(tiles: WeightGradientTiles) -> tuple[list[int], list[int]]:
    """How many columns of a kernel are taken together, and the numbers of all that are: for each block of columns where
    these begin, where the last ones end, then each.
    """
    g, blocks = tiles.geometry, tiles.columns_together
    (first, *_) = tap_outputs(g.windows[1], g.input_lengths[1], g.output_lengths[1], g.kernel[1])
    numbers = [first.stride, first.input_stride]
    at = len(numbers) + len(blocks) + 1
    for block in blocks:
        numbers.append(at)
        at += 6 * len(block)
    numbers.append(at)
    for piece in chain.from_iterable(blocks):
        numbers += [piece.first_tap, piece.taps, piece.first, piece.count, piece.input_first, piece.apart]
    return sorted({piece.taps for piece in chain.from_iterable(blocks)}), numbers


def _copies(unit: Node, tiles: WeightGradientTiles, plan: Plan) -> list[Call | None]:
    """For each operand, the call that makes it for an iteration, if the tile does."""
    begin = tiles.all_parts_bytes + plan.threads * tiles.packed_bytes
    lines = begin + plan.threads * sum(map(tiles.copied_bytes, (0, 1)))
    result: list[Call | None] = []
    for number in (0, 1):
        if not tiles.prologues[number]:
            result.append(None)
            continue
        read = operand(unit, number, plan.views, tiles.geometry.images_of(number))
        nbytes, columns = tiles.copied_bytes(number), tiles.copied_columns(number)
        line_bytes = sum(read.line_bytes(columns, plan.target))
        step, first, rows_ = tiles.copied(number)
        where = [tiles.bands, step, first, rows_, 0, read.lengths[2]]
        together = tiles.images // tiles.iterations
        images = [read.lengths[0], tiles.runs * tiles.iterations, together, *_depth(tiles.geometry), together]
        target, line = _scratch(unit, plan, begin, nbytes), _scratch(unit, plan, lines, line_bytes)
        result.append(_copy(read, 0, target, line, where, images, plan))
        begin += plan.threads * nbytes
        lines += plan.threads * line_bytes
    return result


def _adds(unit: Node) -> bool:
    """Whether what is computed is added to what the result holds."""
    return added_input(unit) is not None


def _add_parts(unit: Node, tiles: WeightGradientTiles, plan: Plan) -> Launch:
    """The sum of the parts of a weight gradient."""
    g = tiles.geometry
    groups, inner, outer = _channels(g)
    vectors = g.channel_strips.vectors
    numbers = [tiles.parts, tiles.part_bytes // g.target.vector_bytes, vectors, inner, outer, g.places]
    numbers += [int(_adds(unit)), *[0] * g.places]
    source = tiled_weight_gradient.add_parts(convolution_of(unit).output.type.dtype, _lanes(g), _used(g))
    args = [TILE, _scratch(unit, plan, 0), Pointer(unit.output), *numbers]
    return Launch(groups * vectors, [Call(source, args)])


# ---- what has no tiled kernel


def _plain_numbers(x: Value, w: Value, y: Value, node: Node) -> list[int]:
    groups: int = node.attrs["groups"]
    inner, outer = w.type.shape[1], w.type.shape[0] // groups
    lengths, steps, kernel = x.type.shape[1:-1], y.type.shape[1:-1], w.type.shape[2:]
    axes = [
        (n, o, k, a.stride, a.low, a.dilation, a.expand)
        for n, o, k, a in zip(lengths, steps, kernel, windows(node.attrs))
    ]
    sizes = [math.prod(steps), math.prod(x.type.shape[1:]), math.prod(kernel), len(axes)]
    return [inner, outer, groups, *sizes, *(number for axis in axes for number in axis)]


def _plain_convolution(node: Node, plan: Plan) -> Launch:
    (x, w), y = node.inputs, node.output
    positions = math.prod(y.type.shape[:-1])
    step = max(1, PLAIN_TILE // max(w.type.size, 1))
    operands = [Pointer.to(plan.views[v]) for v in (x, w, y)]
    args = [TILE, step, positions, *operands, *_plain_numbers(x, w, y, node)]
    return Launch(-(-positions // step), [Call(plain_convolution.convolution(y.type.dtype), args)])


def _plain_weight_gradient(node: Node, plan: Plan) -> Launch:
    (x, g), w = node.inputs[:2], node.output
    channels, cut = w.type.shape[0], PlainWeightGradient.of(node, plan.target)
    operands = [Pointer.to(plan.views[v]) for v in (x, g, w)]
    args: list[Arg] = [TILE, cut.channels, channels, *operands, *_plain_numbers(x, w, g, node)]
    args += [cut.positions, int(_adds(node)), cut.section, _scratch(node, plan, 0, cut.worker_bytes)]
    source = plain_convolution.weight_gradient(w.type.dtype, cut.worker_bytes > 0)
    return Launch(-(-channels // cut.channels), [Call(source, args)])
