"""The predicted time of products follows from what they multiply."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom.ir import BFLOAT16, Graph
from gradloom.passes.graph.rewrite import all_nodes
from gradloom.passes.kernels.cost import node_nanoseconds, work
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target

PLAIN, PAIRS = Target.cpu("avx512"), Target.cpu("avx512_bf16")


def product(x: Any, y: Any) -> Any:
    return np.matmul(x, y)


def rounded(x: Any, y: Any) -> Any:
    return np.matmul(*(np.astype(np.astype(v, BFLOAT16), "float32") for v in (x, y)))


def nanoseconds(fn: Any, target: Target) -> tuple[float, float]:
    """The time of the products of a function of matrices, as of nodes of its plan and as of all of them."""
    graph: Graph = plan_graph(gl.trace(fn, gl.spec((256, 128)), gl.spec((128, 96))), target=target).graph
    products = [node for node in all_nodes(graph) if node.op.is_contraction]
    return sum(node_nanoseconds(node, target) for node in products), work(products, target)


def test_pairs_of_bfloat16_are_multiplied_faster_where_the_target_does_it():
    flops = 2 * 256 * 128 * 96
    for fn, target, rate in (
        (product, PLAIN, PLAIN.matmul_flops_per_ns),
        (product, PAIRS, PLAIN.matmul_flops_per_ns),
        (rounded, PLAIN, PLAIN.matmul_flops_per_ns),
        (rounded, PAIRS, PAIRS.bf16_flops_per_ns),
    ):
        assert rate is not None
        assert nanoseconds(fn, target) == pytest.approx([flops / rate] * 2)
    assert PAIRS.flops_per_ns(BFLOAT16) > PAIRS.flops_per_ns(np.dtype("float32"))
    assert PLAIN.flops_per_ns(BFLOAT16) == PLAIN.flops_per_ns(np.dtype("float32"))
