"""The epilogue of a convolution: element-wise work on its output, tile by tile, and sums over all positions."""

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
    """The epilogue of a unit's convolution.

    Output `accumulator` of the unit is the memory in which the convolution sums its tile: its own output, or one that
    the epilogue computes from that in place. `loops` is a region of (output of the convolution, other inputs...); its
    output k is output `outputs[k]` of the unit. `moments` are nodes that read outputs of the unit after that.
    """

    accumulator: int
    loops: Node | None
    outputs: tuple[int, ...]
    moments: tuple[Node, ...]

    def nest(self, views: Mapping[Value, View], cut: RowTiles, target: Target) -> LoopNest | None:
        """The loops over the rows of tiles that are cut so."""
        if self.loops is None:
            return None
        tile = self.loops.inputs[0]
        return loop_nest(self.loops, {**views, tile: own(tile)}, target, cut)

    def moments_of(self, unit: Node, target: Target) -> list[tuple[MomentTiles, Value, Value]]:
        """For each node of moments its tiles, the output of the unit that it reads, and the one that it makes."""
        place = dict(zip(unit.attrs["body"].outputs, unit.outputs))
        return [(MomentTiles.of(node, target), place[node.inputs[0]], place[node.output]) for node in self.moments]

    def moment_bytes(self, unit: Node, threads: int, target: Target) -> int:
        """Bytes of scratch for all moments."""
        return sum(tiles.scratch_bytes(threads) for tiles, _, _ in self.moments_of(unit, target))


def epilogue_of(unit: Node) -> ConvEpilogue | None:
    """The epilogue of the convolution of `unit`, or None where it has none."""
    if not has_epilogue(unit):
        return None
    body: Graph = unit.attrs["body"]
    convolution = convolution_of(unit)
    made = convolution.output
    after = [n for n in body.nodes[body.nodes.index(convolution) + 1 :] if n.op is not reduction.moments]
    inner = {v for n in after for v in n.outputs}
    ends = [(i, v) for i, v in enumerate(body.outputs) if v in inner]
    moments = tuple(n for n in body.nodes if n.op is reduction.moments)
    accumulator = accumulator_output(unit)
    if not ends:
        return ConvEpilogue(accumulator, None, (), moments)
    b = Builder()
    nodes = live_nodes(after, [v for _, v in ends])
    outer = dict(zip(body.inputs, unit.inputs))
    local = {made: b.input(made.type)}
    local.update((v, b.input(v.type)) for v in outer if any(v in n.inputs for n in nodes))
    given = [unit.outputs[accumulator], *(outer[v] for v in local if v is not made)]
    for node in nodes:
        local.update(zip(node.outputs, b.copy(node, [local[v] for v in node.inputs]).outputs))
    domain = squeezed(made.type.shape)
    attrs = {"body": b.graph([local[v] for _, v in ends]), "domain": domain, "rows": len(domain) - 1}
    outside = Builder()
    loops = outside.emit_node(OPS["region"], *given, **attrs)
    return ConvEpilogue(accumulator, loops, tuple(i for i, _ in ends), moments)


def has_epilogue(unit: Node) -> bool:
    """Whether the convolution of a unit has an epilogue."""
    convolution = convolution_of(unit)
    if convolution is unit or not is_convolution(convolution):
        return False
    return unit.attrs["body"].outputs != (convolution.output,)


def accumulator_output(unit: Node) -> int:
    """The output of a unit in whose memory its convolution, or gradient of a weight, is summed."""
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
    """Whether the epilogue of a unit sums over positions."""
    return unit.op.is_conv_region and any(map(_sums, unit.attrs["body"].nodes))


def wanted_cut(unit: Node, target: Target) -> RowTiles | None:
    """The tiles of positions that the epilogue of a unit wants; None where it has none."""
    return output_cut(convolution_of(unit), target) if has_epilogue(unit) else None


def output_cut(convolution: Node, target: Target) -> RowTiles:
    """The tiles of the output positions of a convolution: those of sums over them, channel by channel."""
    *rows, channels = squeezed(convolution.output.type.shape)
    return column_tiles(tuple(rows), channels, target)
