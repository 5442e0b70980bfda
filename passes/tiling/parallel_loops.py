"""Parallel iterations: those of a loop without carries, which may run concurrently, or one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Builder, Graph, Node, Value
from ..graph.rewrite import Pass, all_nodes, rewrite_nodes
from ..graph.scan import Scan
from ..target import MOST_PARALLEL


def parallel_iterations(node: Node) -> int:
    """The iterations of a `scan` that may run concurrently: all where there are no carries and they are few, and where
    it is known beforehand what runs in each. Of other nodes with bodies, 1.
    """
    if not node.op.is_scan:
        return 1
    scan = Scan(node)
    parallel = not scan.carries and not node.attrs.get("in_turn", False)
    if not parallel or not 1 < scan.length <= MOST_PARALLEL:
        return 1
    return 1 if any(inner.op.is_decided_at_run_time for inner in all_nodes(scan.body)) else scan.length


def run_concurrently(node: Node, threads: int) -> bool:
    """Whether each parallel iteration of a `scan` is run by one of `threads` workers, in an arena of its own; otherwise
    all workers share one iteration after the other.
    """
    return 1 < threads <= parallel_iterations(node)


@dataclass(frozen=True)
class SerializeIterations(Pass):
    """scan without carries -> scan {in_turn=True}

    Parallel iterations run one after the other: all workers share each iteration, and all iterations use one arena.
    The bits are the same; workers meet at more barriers. Known elsewhere as loop serialization.
    """

    in_bodies = False  # iterations of loops within loops are never concurrent

    def __call__(self, graph: Graph) -> Graph:
        def rule(b: Builder, node: Node, inputs: list[Value]) -> list[Value] | None:
            if not node.op.is_scan or parallel_iterations(node) == 1:
                return None
            return list(Scan(node, inputs).emit(b, in_turn=True).outputs)

        return rewrite_nodes(graph, rule)
