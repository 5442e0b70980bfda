"""The order of all passes, in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..ir import Builder, Graph, Node, Value, verify
from ..ir.users_line import located
from .autodiff.min_cut_remat import MinCutRemat
from .dump import write_dump
from .fusion.block_epilogue import FuseBlockEpilogue
from .fusion.concat import FuseConcat
from .fusion.conv_epilogue import FuseConvEpilogue
from .fusion.library_epilogue import FuseLibraryEpilogue
from .fusion.matmul_epilogue import FuseMatmulEpilogue
from .fusion.narrow_products import NarrowProducts
from .fusion.own_casts import OwnCasts
from .fusion.pair_products import PairProducts
from .fusion.prologue import FusePrologue
from .fusion.regions import Fuse
from .graph.rewrite import Pass, for_target, rewrite_nodes, with_bodies
from .kernels.cost import useful_threads
from .loops.distribute_scans import DistributeScans
from .loops.merge_scans import MergeScans
from .loops.prepack_weights import PrepackWeights
from .memory.overlap_messages import OverlapMessages
from .memory.plan import Plan, plan
from .memory.schedule import Schedule
from .ranks.loop_parts import loop_parts
from .ranks.lower_collectives import LowerCollectives
from .ranks.regather import RegatherParameters
from .ranks.shares import Shares
from .simplify.canonicalize import Canonicalize
from .simplify.channels_last import ChannelsLast
from .simplify.one_pass_variance import OnePassVariance
from .simplify.push_casts import PushCasts
from .simplify.push_slices import PushSlices
from .simplify.row_sparse_updates import RowSparseUpdates
from .simplify.simplify import Simplify
from .simplify.slice_pointwise_convs import SlicePointwiseConvs
from .simplify.split_complex import SplitComplex
from .simplify.split_concat_conv import SplitConcatConv
from .simplify.swap_weight_gradients import SwapWeightGradients
from .simplify.widen_bfloat16 import WidenBfloat16
from .target import DEFAULT_TARGET, Target
from .tiling.accumulate import Accumulate
from .tiling.attention import TileAttention
from .tiling.batch import TileBatch
from .tiling.fuse_attention import FuseAttention
from .tiling.logits import TileLogits
from .tiling.strip_mine_scans import StripMineScans


def pipeline(parts: int = 1, target: Target = DEFAULT_TARGET, shares: Shares | None = None) -> list[Pass]:
    """The passes that turn a traced graph into a scheduled one for a target, in order; the batch runs in `parts` parts
    at least.
    """
    return [*preparation(parts, target, shares=shares), *scheduling(target=target)]


def preparation(
    parts: int = 1, target: Target = DEFAULT_TARGET, tiles: bool = False, shares: Shares | None = None
) -> list[Pass]:
    """The passes before it is decided what to keep for the backward: all variants share the graph that they leave. With
    `shares` the graph is that of one part of the batch, until near the end it becomes that of a rank.

    With `tiles` those that save memory by tiles run on a GPU too, see `for_target`.
    """
    passes = [
        RegatherParameters(shares is None or shares.local == 1),  # before what looks at who reads a value
        SplitComplex(),  # before all that look at what an op computes
        MergeScans(),  # so that every pass below finds one loop, not the forward's and a copy that stacks values
        PushCasts(),  # before the casts of the next one, which are float32's
        WidenBfloat16(),  # before any tiles, which add up results: those are float32 from here on
        Simplify(),
        RowSparseUpdates(),  # before any tiles, which would add up gradients of the size of a table
        DistributeScans(),  # before any tiles: it makes one product of the products of all steps
        PushSlices(),
        Simplify(),  # slices that were pushed to one value are one again
        ChannelsLast(),
        SlicePointwiseConvs(),
        SplitConcatConv(),
        SwapWeightGradients(),  # after it, which knows concatenations of first operands alone
        Accumulate(parts),  # before the tiles, which cut each part again
        TileBatch(),  # the widest loop first: the three below look inside of its body too
        StripMineScans(),
        TileLogits(),
        TileAttention(),
        FuseAttention(),  # after the last pass that makes loops: it knows what becomes of scores in one graph
        PrepackWeights(),  # after the last pass that makes loops, before which weights are packed
        PushCasts(),  # weights that loops read are bfloat16, or not rounded before the loop
        Canonicalize(),  # from here on the laws hold that fusion and lowering rely on
        *([PairProducts()] if target.multiplies_pairs else []),  # where `NarrowProducts` runs on a GPU
        NarrowProducts(),  # after canonicalize, whose products are matrices; before it is decided what to keep
        OnePassVariance(),  # needs to know which arrays are contiguous
        FuseLibraryEpilogue(),  # as late as that, and no later: a library's call is the same whatever is kept
        loop_parts(shares),  # after all that chooses the order of sums, which is the same for any number of ranks so
        LowerCollectives(),  # after the loops, which add up what the collectives get
    ]
    return for_target(passes, target, tiles)


def scheduling(
    reach: float | None = None, separate_comparisons: bool = False, target: Target = DEFAULT_TARGET
) -> list[Pass]:
    """The passes that turn a prepared graph into a scheduled one, `reach` as of `MinCutRemat` and `FusePrologue`,
    `separate_comparisons` as of `Fuse`.
    """
    return for_target(scheduling_of_all(reach, separate_comparisons), target)


def scheduling_of_all(
    reach: float | None = None, separate_comparisons: bool = False, messages: OverlapMessages | None = None
) -> list[Pass]:
    """The same for all targets, of which `for_target` takes those for one."""
    prologue = FusePrologue() if reach is None else FusePrologue(reach=reach)
    return [
        MinCutRemat(reach),  # before fusion, which makes what is recomputed a part of the regions that read it
        OwnCasts(),  # before fusion, which joins each cast to what reads it
        Fuse(separate_comparisons),
        FuseBlockEpilogue(),
        FuseMatmulEpilogue(),  # this and the three below take regions in whole, so after fusion
        prologue,  # before the epilogue, or the first of two convolutions takes the region between them and stores it
        FuseConvEpilogue(),
        FuseConcat(),
        Schedule(),  # it orders the units that are planned
        messages or OverlapMessages(),  # last: it moves in that order what ranks send each other
    ]


PASS_NAMES = tuple(dict.fromkeys(p.name for p in pipeline()))


def run_passes(
    graph: Graph, passes: Sequence[Pass] | None = None, after: str | None = None, first: int = 1, folder: str = ""
) -> Graph:
    """Run `passes` (default: the pipeline), up to the last one of the name `after`; the `first` one of them has this
    number among all.

    With `GRADLOOM_DUMP=dir` the graph is written to `dir/folder` before the first pass of all and after each; with
    `GRADLOOM_VERIFY=1` it is verified there. Raises `ValueError` where no pass has the name `after`.
    """
    steps = list(pipeline() if passes is None else passes)
    if after is not None:
        places = [i for i, step in enumerate(steps) if step.name == after]
        if not places:
            raise ValueError(located(f"no pass is named {after!r}; there are {', '.join(PASS_NAMES)}"))
        steps = steps[: places[-1] + 1]
    if first == 1:
        _stage(graph, "00_traced", folder)
    for number, step in enumerate(steps, first):
        graph = in_bodies(step(graph), step)
        _stage(graph, f"{number:02}_{step.name}", folder)
    return graph


def passed(graph: Graph, steps: Sequence[Pass]) -> Graph:
    """The graph after some passes, of which no stage is written anywhere."""
    for step in steps:
        graph = in_bodies(step(graph), step)
    return graph


def in_bodies(graph: Graph, step: Pass) -> Graph:
    """The graph with `step` done in the bodies of loops and branches, at any depth."""
    if not step.in_bodies:
        return graph
    looped = [node for node in graph.nodes if node.op.bodies]
    made = {node: [in_bodies(step(body), step) for body in node.bodies] for node in looped}
    if all(new is old for node, bodies in made.items() for new, old in zip(bodies, node.bodies)):
        return graph

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        return list(with_bodies(b, node, inputs, made[node]).outputs) if node in made else None

    return rewrite_nodes(graph, rule)


class Stages:
    """Runs pipelines on one graph. Those that begin alike share the graph after their common beginning, if it is one
    that was asked for; `dumped` as for all stages of `run`.
    """

    def __init__(self, graph: Graph, dumped: bool = True) -> None:
        self.known: dict[tuple[Pass, ...], Graph] = {(): graph}
        self.dumped = dumped

    def run(self, passes: Sequence[Pass], folder: str | None = "") -> Graph:
        """The graph after `passes`. The stages that this adds are written to this folder of `GRADLOOM_DUMP`, to none
        where it is None.
        """
        steps = tuple(passes)
        if steps not in self.known:
            begun = max(k for k in range(len(steps)) if steps[:k] in self.known)
            graph, left = self.known[steps[:begun]], steps[begun:]
            if self.dumped and folder is not None:
                self.known[steps] = run_passes(graph, left, None, begun + 1, folder)
            else:
                self.known[steps] = passed(graph, left)
        return self.known[steps]


def _stage(graph: Graph, name: str, folder: str) -> None:
    write_dump(f"{name}.txt", [graph], folder)
    if os.environ.get("GRADLOOM_VERIFY", "") not in ("", "0"):
        verify(graph, after=name)


def plan_graph(graph: Graph, threads: int = 1, outputs_in_arena: bool = False, target: Target = DEFAULT_TARGET) -> Plan:
    """From a traced graph to a plan for at most `threads` threads of a target, without a budget."""
    scheduled = run_passes(graph, pipeline(target=target))
    return plan(scheduled, useful_threads(scheduled, threads, target), outputs_in_arena, target=target)
