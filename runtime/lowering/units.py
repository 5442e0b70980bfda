"""From a planned unit (a region or a lone node) to kernels with their argument blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...ir import Node, Value
from ...ir.ops.window import WINDOW_OPS
from ...passes.graph.views import View
from ...passes.kernels import conv_tiles, running_sums, window_sums
from ...passes.kernels.accumulators import carried_input
from ...passes.kernels.conv_epilogue import epilogue_of
from ...passes.kernels.loop_nest import LoopNest
from ...passes.kernels.matmul_tiles import DotTiles, dot_tiles, row_tiles
from ...passes.kernels.moment_tiles import MomentTiles
from ...passes.kernels.scatter_sums import ScatterSums
from ...passes.memory.plan import Plan
from . import contraction, convolution, library, moments, transposition
from .loops import Word, lower_loops
from .windows import WindowGeometry, window_kernel

# Elements that one tile of a copying kernel moves.
_TILE = 1 << 15


@dataclass(frozen=True, slots=True)
class Argument:
    """One word of an argument block: a number, the tile, an address in the memory of `value`, in the arena or of code.

    `kind`: `number`, `tile`, `value` (plus `offset` bytes), `arena` (at `offset`, for each worker `apart` bytes and for
    each tile `along` bytes further), `kernel` (that of `source`, for a kernel that calls it).
    """

    kind: str
    number: int = 0
    value: Value | None = None
    offset: int = 0
    apart: int = 0
    along: int = 0
    source: str = ""


TILE = Argument("tile")


@dataclass(frozen=True)
class Instruction:
    """A call of the kernel that `source` defines as `kernel`."""

    source: str
    arguments: list[Argument]

    def sources(self) -> list[str]:
        """The source of the kernel, and those of the kernels that it calls."""
        return [self.source, *(a.source for a in self.arguments if a.kind == "kernel")]


@dataclass(frozen=True)
class Site:
    """A place where a run may stop: `node` found an index out of range of `size` entries, or a negative exponent."""

    node: Node
    size: int


@dataclass
class Step:
    """Independent tiles that all run the same instructions; `beside`: they do not wait for the step before."""

    tiles: int
    instructions: list[Instruction] = field(default_factory=list[Instruction])
    beside: bool = False


@dataclass
class Sites:
    """All places where a program may stop; a kernel returns the number of one, counted from 1."""

    entries: list[Site] = field(default_factory=list[Site])

    def code(self, node: Node, size: int) -> int:
        """The code of a new site."""
        self.entries.append(Site(node, size))
        return len(self.entries)


def number(value: int) -> Argument:
    """A word that is a plain number."""
    return Argument("number", number=value)


def lower_unit(node: Node, plan: Plan, sites: Sites) -> list[Step]:
    """The steps of a unit, each waiting for those before unless it runs `beside` them."""
    if node.op.name == "region":
        return _region(node, plan, sites)
    return _LOWERINGS[node.op.name](node, plan.views, sites, plan)


def _at(views: Mapping[Value, View], value: Value) -> Argument:
    return _of_view(views[value], value.type.dtype)


def _of_view(view: View, dtype: np.dtype[Any]) -> Argument:
    return Argument("value", value=view.base, offset=view.offset * dtype.itemsize)


def _turned(node: Node, plan: Plan) -> list[Step] | None:
    """The steps of a region of nothing but copies that turn rows into columns, else None."""
    body = node.attrs["body"]
    if any(inner.op.name != "copy" for inner in body.nodes) or len(body.outputs) != len(body.nodes):
        return None
    steps: list[Step] = []
    for inner, output in zip(body.outputs, node.outputs):
        source = inner.node.inputs[0]
        if source not in body.inputs:
            return None
        outer = node.inputs[body.inputs.index(source)]
        copy = transposition.turned(plan.views[outer])
        if copy is None:
            return None
        arguments = [TILE, _at(plan.views, outer), _at(plan.views, output), *map(number, transposition.words(copy))]
        kernel = transposition.kernel(copy.itemsize)
        steps.append(Step(copy.tiles, [Instruction(kernel, arguments)], beside=bool(steps)))
    return steps


def _region(node: Node, plan: Plan, sites: Sites) -> list[Step]:
    if (steps := _turned(node, plan)) is not None:
        return steps
    nest: LoopNest = plan.nests[node]
    buffers = plan.scratch.get(node, 0)
    step, product = Step(nest.tiles), None
    if nest.product is not None:
        # Every tile finds its rows where it expects them in the whole product, of which there is but this tile.
        size = nest.product_rows * nest.product.type.shape[1] * nest.product.type.dtype.itemsize
        held = buffers + nest.buffer_bytes - nest.product_bytes
        product = Argument("arena", offset=held, apart=nest.buffer_bytes, along=-size)
        step.instructions.append(_product(node, plan, product, nest.product_rows))
    loops, combining = _loops(
        nest, node.inputs, node.outputs, plan.in_place.get(node, {}), buffers, plan, sites, product
    )
    step.instructions.append(loops)
    return [step, Step(1, combining)] if combining else [step]


def _loops(
    nest: LoopNest,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    in_place: Mapping[int, int],
    buffers: int,
    plan: Plan,
    sites: Sites,
    product: Argument | None = None,
) -> tuple[Instruction, list[Instruction]]:
    """The loops of a nest from `inputs` to `outputs`, with buffers at this place; and what combines parts of sums."""
    kernel = lower_loops(nest, in_place)
    codes = [sites.code(site, site.attrs.get("size", 0)) for site in kernel.sites]
    parts = buffers + plan.threads * nest.buffer_bytes

    def argument(word: Word) -> Argument:
        match word.what:
            case "number":
                return number(word.value)
            case "tile":
                return TILE
            case "input" if word.index == 0 and product is not None:
                return product
            case "input":
                return Argument("value", value=plan.views[inputs[word.index]].base, offset=word.offset)
            case "output":
                return Argument("value", value=outputs[word.index], offset=word.offset)
            case "buffer":
                return Argument("arena", offset=buffers + word.offset, apart=nest.buffer_bytes)
            case "partial":
                return Argument("arena", offset=parts + word.offset)
            case "site":
                return number(codes[word.index])
            case _:
                raise AssertionError(word)

    offset = parts
    combining: list[Instruction] = []
    for reduction in nest.crossings:
        if not nest.partial(reduction):
            continue
        result = reduction.output
        target = outputs[nest.body.outputs.index(result)]
        arguments = [
            Argument("arena", offset=offset),
            Argument("value", value=target),
            number(nest.tiles),
            number(result.type.size),
        ]
        combining.append(Instruction(library.combine(reduction.op.name, result.type.dtype), arguments))
        offset += -(-nest.tiles * result.type.nbytes // 64) * 64
    return Instruction(kernel.source, [argument(w) for w in kernel.words]), combining


def _dot(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    x, y, *added = (views[v] for v in node.inputs)
    cut = dot_tiles(x, y, plan.copies)
    target = _at(views, node.output)
    strip = Argument("arena", offset=plan.scratch.get(node, 0), apart=cut.strip_bytes + cut.group_bytes)
    group = replace(strip, offset=strip.offset + cut.strip_bytes)
    product = _multiply(x, y, cut, target, (strip, group), bool(added))
    steps = [Step(cut.tiles if node.output.type.size else 0, [product])]
    return _begun(node, views, plan) + steps


def _begun(node: Node, views: Mapping[Value, View], plan: Plan) -> list[Step]:
    """What copies the input that a unit adds to, if any, to where it does so, unless that is its place."""
    steps: list[Step] = []
    for o, value in enumerate(node.outputs):
        added = carried_input(node, o)
        if added is not None and o not in plan.in_place.get(node, {}):
            dtype, size = value.type.dtype, value.type.size
            steps.append(copy_rows(_at(views, node.inputs[added]), _at(views, value), dtype, 1, size, size))
    return steps


def _product(region: Node, plan: Plan, target: Argument, rows: int) -> Instruction:
    """The rows of a tile of the product that a region begins with."""
    x, y = plan.views[region.inputs[0]], plan.views[region.inputs[-1]]
    return _multiply(x, y, row_tiles(x, y, rows), target, (number(0), number(0)), False)


def _multiply(
    x: View, y: View, cut: DotTiles, target: Argument, scratch: tuple[Argument, Argument], added: bool
) -> Instruction:
    """Tiles of a batch of matrix products; the scratch of a worker is a strip, and the sums of a group of sections."""
    dtype = x.base.type.dtype
    addresses = [_of_view(x, dtype), _of_view(y, dtype), target]
    strip, group = scratch
    if cut.shapes:
        source, words = contraction.by_registers(x, y, cut, added)
        return Instruction(source, [TILE, *addresses, strip, group, *map(number, words)])
    source, function, words = contraction.by_blas(x, y, cut, added)
    return Instruction(source, [TILE, number(function), *addresses, group, *map(number, words)])


def _rows_of_a_tile(rows: int, inner: int) -> tuple[int, int]:
    """Rows of a tile and number of tiles for a kernel that moves `rows` rows of `inner` elements."""
    step = max(1, min(max(rows, 1), _TILE // max(inner, 1)))
    return step, -(-rows // step)


def _gather(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    x, indices = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    outer, inner = math.prod(x.shape[batch:axis]), math.prod(x.shape[axis + 1 :])
    count = math.prod(indices.shape[batch:])
    rows = math.prod(x.shape[:batch]) * outer * count
    step, tiles = _rows_of_a_tile(rows, inner)
    arguments = [
        number(sites.code(node, x.shape[axis])),
        TILE,
        number(step),
        number(rows),
        *(_at(views, v) for v in (*node.inputs, node.output)),
        *map(number, (outer, x.shape[axis], inner, count)),
    ]
    return [Step(tiles, [Instruction(library.gather(x.dtype, indices.dtype), arguments)])]


def _scatter_add(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    x, indices, _ = (v.type for v in node.inputs)
    axis, batch = node.attrs["axis"], node.attrs["batch"]
    batches, outer = math.prod(x.shape[:batch]), math.prod(x.shape[batch:axis])
    inner, count = math.prod(x.shape[axis + 1 :]), math.prod(indices.shape[batch:])
    blocks = batches * outer
    sums, scratch = ScatterSums.of(node), plan.scratch.get(node, 0)
    step = sums.columns
    rows, down = _rows_of_a_tile(blocks, max(x.shape[axis], count) * step)
    in_place = node in plan.in_place
    arguments = [
        number(sites.code(node, x.shape[axis])),
        TILE,
        number(step),
        *(_at(views, v) for v in (*node.inputs, node.output)),
        *map(number, (rows, blocks, outer, x.shape[axis], inner, count, int(in_place))),
    ]
    if sums.worker_bytes:
        places = (scratch, scratch + sums.table_bytes)
        arguments += [Argument("arena", offset=place, apart=sums.worker_bytes) for place in places]
        arguments += [number(sums.updates), number(sums.slots)]
    source = library.scatter_add(x.dtype, indices.dtype, sums)
    return [Step(-(-inner // step) * max(down, 1), [Instruction(source, arguments)])]


def _cumsum(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    shape, axis = node.output.type.shape, node.attrs["axis"]
    blocks, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    step, tiles = _rows_of_a_tile(blocks, shape[axis] * inner)
    arguments = [
        TILE,
        number(step),
        number(blocks),
        _at(views, node.inputs[0]),
        _at(views, node.output),
        *map(number, (shape[axis], inner, int(node.attrs["reverse"]))),
        Argument("arena", offset=plan.scratch.get(node, 0), apart=running_sums.line_bytes(node)),
    ]
    way = "before" if not running_sums.in_doubles(node) else "double" if inner == 1 else "doubles"
    return [Step(tiles, [Instruction(library.cumsum(node.output.type.dtype, way), arguments)])]


def _moments(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    tiles = MomentTiles.of(node)
    part, combined = _moments_of(tiles, node.inputs[0], node.output, plan.scratch.get(node, 0), views)
    return [Step(tiles.tiles, [part]), Step(int(tiles.tiles > 0), [combined])]


def _moments_of(
    tiles: MomentTiles, x: Value, result: Value, scratch: int, views: Mapping[Value, View]
) -> tuple[Instruction, Instruction]:
    """The moments of a tile of x, and what combines those of all tiles, with scratch at this place."""
    numbers, dtype = [number(n) for n in moments.numbers(tiles)], x.type.dtype
    parts = Argument("arena", offset=scratch)
    lines = Argument("arena", offset=scratch + tiles.part_bytes, apart=tiles.line_bytes)
    of_tile = Instruction(moments.part(dtype), [TILE, _at(views, x), parts, lines, *numbers])
    return of_tile, Instruction(moments.combine(dtype), [_at(views, result), parts, *numbers])


def copy_rows(source: Argument, target: Argument, dtype: np.dtype[Any], rows: int, n: int, apart: int) -> Step:
    """Copies `rows` rows of `n` elements, to rows that begin `apart` elements after one another."""
    step, tiles = _rows_of_a_tile(rows, n)
    arguments = [TILE, number(step), number(rows), source, target, number(n), number(apart)]
    return Step(tiles, [Instruction(library.copy_rows(dtype), arguments)])


def _concatenate(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    shape, axis, dtype = node.output.type.shape, node.attrs["axis"], node.output.type.dtype
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    steps: list[Step] = []
    done = 0
    for value in node.inputs:
        length = value.type.shape[axis]
        target = Argument("value", value=node.output, offset=done * inner * dtype.itemsize)
        step = copy_rows(_at(views, value), target, dtype, outer, length * inner, shape[axis] * inner)
        steps.append(replace(step, beside=bool(steps)))
        done += length
    return steps


def _pad(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    x, result = node.inputs[0].type, node.output.type
    attrs = node.attrs
    apart = [int(s) for s in np.cumprod([1, *result.shape[:0:-1]])[::-1]] if result.ndim else []
    start = sum(a * s for a, s in zip(attrs["low"], apart))
    axes = [(n, s * (i + 1)) for n, s, i in zip(x.shape, apart, attrs["interior"])] or [(1, 1)]
    filling = np.array(attrs["value"]).astype(result.dtype)
    bits = int(filling.view({1: "uint8", 4: "int32", 8: "int64"}[result.dtype.itemsize]))
    arguments = [
        _at(views, node.inputs[0]),
        _at(views, node.output),
        *map(number, (bits, result.size, len(axes), start)),
        *(number(word) for axis in axes for word in axis),
    ]
    return [Step(1, [Instruction(library.pad(result.dtype), arguments)])]


def _window(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    geometry = WindowGeometry.of(node)
    over_elements = "lengths" in node.attrs
    lines, step = geometry.lines(over_elements), geometry.lines_of_a_tile(over_elements)
    operands = (node.inputs[0], node.inputs[-1], node.output)
    arguments = [
        TILE,
        number(step),
        number(lines),
        *(_at(views, v) for v in operands),
        *map(number, geometry.words()),
    ]
    if window_sums.section(node):
        arguments.append(Argument("arena", offset=plan.scratch.get(node, 0), apart=window_sums.line_bytes(node)))
        arguments.append(number(window_sums.section(node)))
    return [Step(-(-lines // step), [Instruction(window_kernel(node), arguments)])]


def _stages(stages: Sequence[convolution.Stage], node: Node, plan: Plan) -> list[Step]:
    """Steps of calls whose words are values, places in the unit's scratch, kernels and numbers."""
    first = plan.scratch.get(node, 0)

    def argument(word: convolution.Word) -> Argument:
        if isinstance(word, Value):
            return _at(plan.views, word)
        if isinstance(word, convolution.Scratch):
            return Argument("arena", offset=first + word.offset, apart=word.apart)
        if isinstance(word, convolution.Kernel):
            return Argument("kernel", source=word.source)
        return TILE if word is None else number(word)

    return [
        Step(stage.tiles, [Instruction(call.source, [argument(word) for word in call.words]) for call in stage.calls])
        for stage in stages
    ]


def _convolution(node: Node, views: Mapping[Value, View], sites: Sites, plan: Plan) -> list[Step]:
    steps = _begun(node, views, plan) + _stages(convolution.stages(node, views, plan.threads), node, plan)
    epilogue = epilogue_of(node)
    if epilogue is None:
        return steps
    scratch = plan.scratch.get(node, 0) + conv_tiles.scratch_bytes(node, plan.threads, views)
    combining: list[Instruction] = []
    if epilogue.loops is not None:
        nest, outputs = plan.nests[node], [node.outputs[o] for o in epilogue.outputs]
        over = {k: 0 for k, o in enumerate(epilogue.outputs) if o == epilogue.home}
        loops, combining = _loops(nest, epilogue.loops.inputs, outputs, over, scratch, plan, sites)
        steps[-1].instructions.append(loops)
        scratch += plan.threads * nest.buffer_bytes + nest.partial_bytes
    for tiles, x, result in epilogue.moments_of(node):
        part, combined = _moments_of(tiles, x, result, scratch, views)
        steps[-1].instructions.append(part)
        combining.append(combined)
        scratch += tiles.scratch_bytes(plan.threads)
    return [*steps, Step(1, combining)] if combining else steps


_LOWERINGS: Mapping[str, Callable[[Node, Mapping[Value, View], Sites, Plan], list[Step]]] = {
    "dot": _dot,
    "dot_add": _dot,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "cumsum": _cumsum,
    "moments": _moments,
    "concatenate": _concatenate,
    "pad": _pad,
    **dict.fromkeys(WINDOW_OPS, _window),
    **dict.fromkeys(("conv", "conv_add", "conv_weight_gradient", "conv_weight_gradient_add"), _convolution),
    "conv_region": _convolution,
}
