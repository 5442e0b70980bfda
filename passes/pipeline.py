"""The order of all passes, in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..ir import Builder, Graph, Node, Value, verify
from .accumulate import Accumulate
from .attach import Attach
from .canonicalize import Canonicalize
from .collect import Collect
from .conv_parts import ConvParts
from .cost import useful_threads
from .epilogue import Epilogue
from .fuse import Fuse
from .hoist import Hoist
from .layout import Layout
from .merge import Merge
from .moments import Moments
from .plan import Plan, plan
from .prologue import Prologue
from .rebuild import Rebuild
from .rewrite import Pass, rebuild
from .schedule import Schedule
from .segment_loops import SegmentLoops
from .simplify import Simplify
from .sink import Sink
from .split import Split
from .tile_batch import TileBatch
from .tile_rows import TileRows
from .tile_wide import TileWide
from .turn import Turn


def pipeline(parts: int = 1) -> list[Pass]:
    """The passes that turn a traced graph into a scheduled one, in order; the batch runs in `parts` parts at least."""
    return [*preparation(parts), *scheduling()]


def preparation(parts: int = 1) -> list[Pass]:
    """The passes that do not ask what the backward reads of the forward."""
    return [
        Merge(),
        Simplify(),
        Sink(),
        Simplify(),
        Hoist(),
        Split(),
        Simplify(),
        Layout(),
        ConvParts(),
        Accumulate(parts),
        TileBatch(),
        SegmentLoops(),
        TileRows(),
        TileWide(),
        Turn(),
        Canonicalize(),
        Moments(),
    ]


def scheduling(reach: float | None = None, compares_apart: bool = False) -> list[Pass]:
    """The passes that turn a prepared graph into a scheduled one, `reach` as of `Rebuild` and `Prologue`,
    `compares_apart` as of `Fuse`.
    """
    prologue = Prologue() if reach is None else Prologue(reach=reach)
    return [Rebuild(reach), Fuse(compares_apart), Epilogue(), prologue, Attach(), Collect(), Schedule()]


PASS_NAMES = tuple(dict.fromkeys(p.name for p in pipeline()))


def run_passes(graph: Graph, passes: Sequence[Pass] | None = None, after: str | None = None, first: int = 1) -> Graph:
    """Run `passes` (default: the pipeline), up to the last one of the name `after`; the `first` one of them has this
    number among all.

    With `GRADLOOM_DUMP=dir` the graph is written to `dir` before the first pass and after each; with
    `GRADLOOM_VERIFY=1` it is verified there. Raises `ValueError` where no pass has the name `after`.
    """
    steps = list(pipeline() if passes is None else passes)
    if after is not None:
        places = [i for i, step in enumerate(steps) if step.name == after]
        if not places:
            raise ValueError(f"no pass is named {after!r}; there are {', '.join(PASS_NAMES)}")
        steps = steps[: places[-1] + 1]
    folder = os.environ.get("GRADLOOM_DUMP")
    checked = os.environ.get("GRADLOOM_VERIFY", "") not in ("", "0")
    if first == 1:
        _show(graph, "00_traced", folder, checked)
    for number, step in enumerate(steps, first):
        graph = in_bodies(step(graph), step)
        _show(graph, f"{number:02}_{step.name}", folder, checked)
    return graph


def passed(graph: Graph, steps: Sequence[Pass]) -> Graph:
    """The graph after some passes, which nobody is shown."""
    for step in steps:
        graph = in_bodies(step(graph), step)
    return graph


def in_bodies(graph: Graph, step: Pass) -> Graph:
    """The graph with `step` done in the body of every loop, at any depth."""
    if not any(node.op.name == "scan" for node in graph.nodes):
        return graph

    def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node.op.name != "scan":
            return None
        body = in_bodies(step(node.attrs["body"]), step)
        return list(b.emit_node(node.op, *inputs, **{**node.attrs, "body": body}).outputs)

    return rebuild(graph, rule)


def _show(graph: Graph, name: str, folder: str | None, checked: bool) -> None:
    if folder:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{name}.txt").write_text(str(graph) + "\n")
    if checked:
        verify(graph, after=name)


def plan_graph(graph: Graph, threads: int = 1, outputs_in_arena: bool = False) -> Plan:
    """From a traced graph to a plan for at most `threads` threads."""
    return plan_prepared(run_passes(graph, preparation()), threads, outputs_in_arena)


def plan_prepared(graph: Graph, threads: int = 1, outputs_in_arena: bool = False) -> Plan:
    """From a graph that went through `preparation` to a plan for at most `threads` threads."""
    scheduled = run_passes(graph, scheduling(), first=len(preparation()) + 1)
    return plan(scheduled, useful_threads(scheduled, threads), outputs_in_arena)
