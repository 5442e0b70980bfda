"""What a convolution's unit makes of its output tile by tile: element by element, and sums over all positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import OPS, Builder, Graph, Node, Value
from ...ir.ops import reduction
from ..graph.dead_code import live_nodes
from ..graph.views import View, own
from ..target import Target
from .conv_operands import convolution_of, is_convolution
from .loop_nest import LoopNest, loop_nest, squeezed
from .moment_tiles import MomentTiles
from .row_tiles import RowTiles, column_tiles


@dataclass(frozen=True)
class ConvEpilogue:
    """What follows the convolution of a unit.

    The convolution leaves its tile in the memory of output `home` of the unit, its own or what is made of it element by
    element there. `loops` is a region of (output of the convolution, other inputs...), of which output k is output
    `outputs[k]` of the unit; `moments` are those that are taken of outputs of the unit after that.
    """

    home: int
    loops: Node | None
    outputs: tuple[int, ...]
    moments: tuple[Node, ...]

    def nest(self, views: Mapping[Value, View], cut: RowTiles, target: Target) -> LoopNest | None:
        """The loops over the rows of tiles that are cut so."""
        if self.loops is None:
            return None
        home = self.loops.inputs[0]
        return loop_nest(self.loops, {**views, home: own(home)}, target, cut)

    def moments_of(self, unit: Node, target: Target) -> list[tuple[MomentTiles, Value, Value]]:
        """For each node of moments its tiles, the output of the unit that it reads, and the one that it makes."""
        place = dict(zip(unit.attrs["body"].outputs, unit.outputs))
        return [(MomentTiles.of(node, target), place[node.inputs[0]], place[node.output]) for node in self.moments]

    def moment_bytes(self, unit: Node, threads: int, target: Target) -> int:
        """Bytes of scratch for all moments."""
        return sum(tiles.scratch_bytes(threads) for tiles, _, _ in self.moments_of(unit, target))


def epilogue_of(unit: Node) -> ConvEpilogue | None:
    """What follows the convolution of `unit`, or None where nothing does."""
    if not has_epilogue(unit):
        return None
    body: Graph = unit.attrs["body"]
    convolution = convolution_of(unit)
    made = convolution.output
    after = [n for n in body.nodes[body.nodes.index(convolution) + 1 :] if n.op is not reduction.moments]
    inner = {v for n in after for v in n.outputs}
    ends = [(i, v) for i, v in enumerate(body.outputs) if v in inner]
    moments = tuple(n for n in body.nodes if n.op is reduction.moments)
    home = home_of(unit)
    if not ends:
        return ConvEpilogue(home, None, (), moments)
    b = Builder()
    nodes = live_nodes(after, [v for _, v in ends])
    outer = dict(zip(body.inputs, unit.inputs))
    local = {made: b.input(made.type)}
    local.update((v, b.input(v.type)) for v in outer if any(v in n.inputs for n in nodes))
    given = [unit.outputs[home], *(outer[v] for v in local if v is not made)]
    for node in nodes:
        local.update(zip(node.outputs, b.copy(node, [local[v] for v in node.inputs]).outputs))
    domain = squeezed(made.type.shape)
    attrs = {"body": b.graph([local[v] for _, v in ends]), "domain": domain, "rows": len(domain) - 1}
    outside = Builder()
    loops = outside.emit_node(OPS["region"], *given, **attrs)
    return ConvEpilogue(home, loops, tuple(i for i, _ in ends), moments)


def has_epilogue(unit: Node) -> bool:
    """Whether a unit goes on with what its convolution makes."""
    convolution = convolution_of(unit)
    if convolution is unit or not is_convolution(convolution):
        return False
    return unit.attrs["body"].outputs != (convolution.output,)


def home_of(unit: Node) -> int:
    """The output of a unit in whose memory its convolution, or gradient to a weight, leaves what it makes."""
    convolution = convolution_of(unit)
    if convolution is unit:
        return 0
    body: Graph = unit.attrs["body"]
    if convolution.output in body.outputs:
        return body.outputs.index(convolution.output)
    return next(i for i, v in enumerate(body.outputs) if v.type == convolution.output.type)


def _sums(node: Node) -> bool:
    return node.op.is_reduction or node.op is reduction.moments


def has_sums(unit: Node) -> bool:
    """Whether a unit sums over what its convolution makes."""
    return unit.op.is_conv_region and any(map(_sums, unit.attrs["body"].nodes))


def wanted_cut(unit: Node, target: Target) -> RowTiles | None:
    """The tiles of positions that what follows the convolution of a unit wants; None where nothing does."""
    return output_cut(convolution_of(unit), target) if has_epilogue(unit) else None


def output_cut(convolution: Node, target: Target) -> RowTiles:
    """The tiles of positions of what a convolution makes: those of sums over them, channel by channel."""
    *rows, channels = squeezed(convolution.output.type.shape)
    return column_tiles(tuple(rows), channels, target)
