"""From a unit to its launches on a GPU: kernels of many threads, and for other units the CPU's kernel on one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ...ir import OPS, Node, Op
from ...ir.ops import dynamic_slice, indexing, movement, reduction
from ...ir.ops.region import region
from ...passes.memory.plan import Plan
from ...passes.target import TargetError
from .gpu_convolution import lower_gpu_convolution
from .gpu_copies import (
    lower_concatenate,
    lower_dynamic_slice,
    lower_dynamic_update_slice,
    lower_gather,
    lower_pad,
)
from .gpu_matmul import lower_gpu_matmul
from .gpu_region import lower_gpu_region
from .gpu_scatter_add import lower_gpu_scatter_add
from .gpu_windows import lower_gpu_window
from .launch import Launch, Traps
from .translated import on_columns, on_one_thread
from .unit import lower_unit


def lower_gpu_unit(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The launches of a unit, each waiting for those before unless it is `concurrent` with them.

    Raises `TargetError` for what has no kernel on a GPU yet.
    """
    if node.op in _LOWERINGS:
        return _LOWERINGS[node.op](node, plan, traps)
    if node.op.family in _CPU_ALONE or node.op.is_conv_region:
        raise TargetError(f"{node.op.name} has no kernel for {plan.target} yet")
    launches = lower_unit(node, plan, traps)
    if _stores_by_column(node):
        inner = math.prod(node.output.type.shape[node.attrs["axis"] + 1 :])
        return [on_columns(launch, inner) for launch in launches]
    return [on_one_thread(launch) for launch in launches]


def _stores_by_column(node: Node) -> bool:
    """Whether the CPU's kernel of a node stores to column `j` in loops over it, and nowhere else."""
    if node.op in (reduction.cumsum, reduction.cumprod):
        return math.prod(node.output.type.shape[node.attrs["axis"] + 1 :]) > 1
    return node.op.changes is not None and node.op.family == "indexing"


_LOWERINGS: Mapping[Op, Callable[[Node, Plan, Traps], list[Launch]]] = {
    region: lower_gpu_region,
    indexing.gather: lower_gather,
    indexing.scatter_add: lower_gpu_scatter_add,
    movement.concatenate: lower_concatenate,
    movement.pad: lower_pad,
    dynamic_slice.dynamic_slice: lower_dynamic_slice,
    dynamic_slice.dynamic_update_slice: lower_dynamic_update_slice,
    **{op: lower_gpu_matmul for op in OPS.values() if op.family == "contraction"},
    **{op: lower_gpu_convolution for op in OPS.values() if op.family == "convolution" and not op.is_conv_region},
    **{op: lower_gpu_window for op in OPS.values() if op.family == "window"},
}

_CPU_ALONE = ("linalg",)
"""Families whose kernels call LAPACK."""
