"""How long a graph takes on one core, roughly: enough to tell small programs from large ones."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir import Graph, Node, Value, node_flops
from ...ir.ops import contraction, movement

# Measured on current x86-64 cores: BLAS in floating-point operations, caches and memory in bytes, each a nanosecond.
BLAS_PER_NS = 90.0
CACHE_PER_NS = 40.0
MEMORY_PER_NS = 8.0
_CACHE_BYTES = 1 << 20

PACKED_ROWS = 12
"""A product with a weight costs as much as so many rows more: the weight is packed (see `kernels/matmul_tiles.py`)."""
BARRIER_NS = 10_000.0
"""Threads that share a unit meet at its end, and at the end of what stands beside it."""

# Waking a thread and meeting at barriers costs a few microseconds each.
_WORTH_THREADS = 100_000.0


def node_nanoseconds(node: Node) -> float:
    """Time of one node of a fused graph on one core."""
    if node.op.is_contraction:
        return node_flops(node) / BLAS_PER_NS
    if node.op.is_scan:
        return node.attrs["length"] * sum(map(node_nanoseconds, node.attrs["body"].nodes))
    moved = sum(map(_bytes, node.inputs)) + sum(v.type.nbytes for v in node.outputs)
    time = moved / (CACHE_PER_NS if moved < _CACHE_BYTES else MEMORY_PER_NS)
    if node.op.is_region:
        for inner in node.attrs["body"].nodes:
            time += node_flops(inner) / BLAS_PER_NS if inner.op is contraction.dot else 0.0
            time += sum(v.type.size for v in inner.outputs) * (1.0 if inner.op.is_transcendental else 0.05)
    return time


def _bytes(value: Value) -> int:
    """Bytes of memory behind a value: a broadcast reads its source."""
    while value.node is not None and value.node.op is movement.broadcast:
        value = value.node.inputs[0]
    return value.type.nbytes


def useful_threads(graph: Graph, threads: int) -> int:
    """`threads`, or 1 where the fused graph is so small that waking others costs more than they save."""
    return threads if sum(map(node_nanoseconds, graph.nodes)) > _WORTH_THREADS else 1


def work(nodes: Iterable[Node]) -> float:
    """The nanoseconds of the products and convolutions of the whole batch on one core."""
    return sum(node_flops(n) for n in nodes if n.op.is_contraction or n.op.is_scan) / BLAS_PER_NS
