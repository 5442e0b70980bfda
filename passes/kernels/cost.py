"""Estimates of the time of a graph on one worker: enough to tell small programs from large ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ...ir import BFLOAT16, DType, Graph, Node, Value, node_flops
from ...ir.ops import contraction, movement
from ...ir.ops.attention import scores_shape
from ..target import Target
from .loop_nest import reduction_form
from .score_tiles import skips_above_diagonal

_WORTH_THREADS = 10
"""A program that takes less than so many barriers runs on one thread: others must be woken, and waited for."""

_GUESSED_ITERATIONS = 10

_BYTES_OF_A_TILE = 64
"""Bytes of the L2 cache for an element of a tile."""
_UPDATES_TOGETHER = 16
"""Updates of parameters that are one launch, where there are many."""


def iterations(node: Node) -> int:
    """How often a body of the node runs; of a loop whose end is decided as it runs, a guess."""
    return node.attrs["length"] if node.op.is_scan else _GUESSED_ITERATIONS if node.op.is_while else 1


def node_nanoseconds(node: Node, target: Target) -> float:
    """Time of one node of a fused graph on one worker: on a core, or what a GPU takes times its workers. What moves to
    and from the memory of its host does so beside others.
    """
    if target.is_gpu and node.op.moves_to is not None:
        return 0.0
    if target.is_gpu and node.op.has_kernel and not node.op.bodies:
        return launches(node, target) * target.launch_ns + _computing_nanoseconds(node, target)
    return _computing_nanoseconds(node, target)


def launches(node: Node, target: Target) -> float:
    """Launches that a unit takes on a GPU: one more where it adds up the parts of sums, half of one for a region of one
    tile, since those are merged with others before and behind them, and a part of one for an update, since those are
    done together.
    """
    if not node.op.is_region:
        return 1.0
    if node.origin.role == "optimizer":
        return 1 / _UPDATES_TOGETHER
    body = node.attrs["body"].nodes
    domain = math.prod(node.attrs["domain"])
    if domain <= target.l2_bytes // _BYTES_OF_A_TILE:
        return 0.5
    sums = (n for n in body if n.op.is_reduction and reduction_form(n)[0] in ("columns", "all"))
    return 2.0 if any(n.inputs[0].type.size == domain for n in sums) else 1.0


def _computing_nanoseconds(node: Node, target: Target) -> float:
    if node.op.is_contraction:
        computing = node_flops(node) / target.flops_per_ns(_dtype_of_factors(node))
        # Tensor cores are fast enough to wait for the memory.
        return max(computing, moved_bytes(node) / target.memory_bytes_per_ns) if target.is_gpu else computing
    if node.op.bodies:
        times = (sum(node_nanoseconds(inner, target) for inner in body.nodes) for body in node.bodies)
        return iterations(node) * max(times)
    if node.op.is_tiled:
        return _score_nanoseconds(node, target)
    moved = moved_bytes(node)
    time = moved / (target.cache_bytes_per_ns if moved < target.l2_bytes else target.memory_bytes_per_ns)
    if node.op.is_region:
        for inner in node.attrs["body"].nodes:
            if inner.op is contraction.dot:
                time += node_flops(inner) / target.flops_per_ns(_dtype_of_factors(inner))
            of_element = target.function_ns if inner.op.is_transcendental else target.element_ns
            time += sum(v.type.size for v in inner.outputs) * of_element
    return time


def _dtype_of_factors(node: Node) -> DType:
    """What a product or a convolution multiplies: bfloat16 also where that lies in memory as float32."""
    return BFLOAT16 if contraction.has_bf16_factors(node) else node.inputs[0].type.dtype


def moved_bytes(node: Node) -> int:
    """What a node reads and writes, each value once."""
    return sum(map(_bytes, node.inputs)) + sum(v.type.nbytes for v in node.outputs)


def _score_nanoseconds(node: Node, target: Target) -> float:
    """Products of tiles of scores, and what the body makes of their elements: what they read stays in caches."""
    body: Graph = node.attrs["body"]
    shape = scores_shape([v.type for v in node.inputs], node.attrs)
    functions = sum(n.op.is_transcendental for n in body.nodes) + int(node.attrs["softmax"])
    elements = functions * target.function_ns + len(body.nodes) * target.element_ns
    time = node_flops(node) / target.matmul_flops_per_ns + math.prod(shape) * elements
    return time / 2 if skips_above_diagonal(node) else time


def _bytes(value: Value) -> int:
    """Bytes of memory behind a value: a broadcast reads its source."""
    while value.node is not None and value.node.op is movement.broadcast:
        value = value.node.inputs[0]
    return value.type.nbytes


def useful_threads(graph: Graph, threads: int, target: Target) -> int:
    """`threads`, or 1 where the fused graph is so small that waking others costs more than they save. A GPU runs all of
    its blocks.
    """
    if target.workers is not None:
        return target.workers
    time = sum(node_nanoseconds(node, target) for node in graph.nodes)
    return threads if time > _WORTH_THREADS * target.barrier_ns else 1


def work(nodes: Iterable[Node], target: Target) -> float:
    """The nanoseconds that the products, convolutions and loops among these nodes take on one core."""
    flops: Counter[float] = Counter()
    for node in nodes:
        if node.op.is_contraction or node.op.bodies:
            dtype = np.dtype(np.float32) if node.op.bodies else _dtype_of_factors(node)
            flops[target.flops_per_ns(dtype)] += node_flops(node)
    return sum(count / rate for rate, count in flops.items())
