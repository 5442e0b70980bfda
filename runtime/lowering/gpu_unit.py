"""From a unit to its launches on a GPU: kernels of many threads, and for other units the CPU's kernel on one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ...ir import OPS, Node, Op
from ...ir.ops import (
    attention,
    dynamic_slice,
    general_eigenvalues,
    indexing,
    movement,
    orthogonal_factors,
    reduction,
    scatter,
    triangular_factors,
)
from ...ir.ops.region import region
from ...ir.users_line import located
from ...passes.memory.plan import Plan
from ...passes.target import TargetError
from .gpu_attention import lower_gpu_attention
from .gpu_convolution import lower_gpu_convolution
from .gpu_copies import (
    lower_concatenate,
    lower_dynamic_slice,
    lower_dynamic_update_slice,
    lower_gather,
    lower_move,
    lower_pad,
)
from .gpu_cumulative import lower_gpu_cumulative
from .gpu_libraries import library_launches
from .gpu_linalg import lower_gpu_linalg
from .gpu_matmul import lower_gpu_matmul
from .gpu_messages import MessageCall, MessageWait, lower_gpu_collective
from .gpu_orthogonal_factors import lower_gpu_qr, lower_gpu_svd
from .gpu_region import lower_gpu_region
from .gpu_scatter_add import lower_gpu_scatter_add
from .gpu_sorting import lower_gpu_sort
from .gpu_windows import lower_gpu_window
from .launch import Launch, Traps
from .library_call import LibraryCall
from .translated import on_loop, on_one_thread
from .unit import lower_unit


def lower_gpu_unit(
    node: Node, plan: Plan, traps: Traps, supports: Callable[[LibraryCall], bool]
) -> Sequence[Launch | LibraryCall | MessageCall | MessageWait]:
    """The launches of a unit, each waiting for those before unless it is `concurrent` with them; by own kernels where
    a library does not support one of its calls.

    Raises `TargetError` for what has no kernel on a GPU.
    """
    if node.op.on_ranks is not None:
        return lower_gpu_collective(node, plan)
    _refuse_user_kernels(node, plan)
    by_library = library_launches(node, plan)
    if by_library is not None and all(isinstance(each, Launch) or supports(each) for each in by_library):
        return by_library
    return [*_by_own_kernels(node, plan, traps)]


def _refuse_user_kernels(node: Node, plan: Plan) -> None:
    found = [n for n in (node, *(n for graph in node.graphs for n in graph.nodes)) if n.op.kernel is not None]
    if found:
        where = f" at {found[0].origin.source}" if found[0].origin.source else ""
        what = f"the custom op {found[0].op.name}{where} is a kernel for the CPU, and not for {plan.target}"
        raise TargetError(located(f"{what}; write target='cpu', or compute it by functions of gl.numpy"))


def _by_own_kernels(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    if node.op in _LOWERINGS:
        return _LOWERINGS[node.op](node, plan, traps)
    if node.op.is_conv_region:
        return _refuse(node, plan, traps)
    return [on_one_thread(launch) for launch in lower_unit(node, plan, traps)]


def _refuse(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    where = f" at {node.origin.source}" if node.origin.source else ""
    raise TargetError(located(f"{node.op.name}{where} has no kernel for {plan.target} yet; write target='cpu'"))


def _scatter(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    return [on_loop("j", _inner(node), launch) for launch in lower_unit(node, plan, traps)]


def _inner(node: Node) -> int:
    return math.prod(node.output.type.shape[node.attrs["axis"] + 1 :])


_LOWERINGS: Mapping[Op, Callable[[Node, Plan, Traps], list[Launch]]] = {
    region: lower_gpu_region,
    attention.attention: lower_gpu_attention,
    indexing.gather: lower_gather,
    indexing.scatter_add: lower_gpu_scatter_add,
    scatter.scatter_set: _scatter,
    scatter.scatter_mul: _scatter,
    scatter.scatter_max: _scatter,
    scatter.scatter_min: _scatter,
    movement.concatenate: lower_concatenate,
    movement.pad: lower_pad,
    dynamic_slice.dynamic_slice: lower_dynamic_slice,
    dynamic_slice.dynamic_update_slice: lower_dynamic_update_slice,
    reduction.cumsum: lower_gpu_cumulative,
    reduction.cumprod: lower_gpu_cumulative,
    **{op: lower_move for op in OPS.values() if op.moves_to is not None},
    **{op: lower_gpu_matmul for op in OPS.values() if op.family == "contraction"},
    **{op: lower_gpu_convolution for op in OPS.values() if op.family == "convolution" and not op.is_conv_region},
    **{op: lower_gpu_sort for op in OPS.values() if op.family == "sorting"},
    **{op: lower_gpu_linalg for op in OPS.values() if op.family == "linalg"},
    general_eigenvalues.eig: _refuse,
    triangular_factors.lu: _refuse,
    orthogonal_factors.qr: lower_gpu_qr,
    orthogonal_factors.svd: lower_gpu_svd,
    **{op: lower_gpu_window for op in OPS.values() if op.family == "window"},
}
