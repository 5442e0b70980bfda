"""From a unit, which is a region or a lone node, to its launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...ir import OPS, Node, Op
from ...ir.ops import (
    complex_numbers,
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
from ...passes.memory.plan import Plan
from .collectives import lower_collective
from .complex_numbers import lower_planes
from .convolution import lower_convolution
from .cumulative import lower_cumulative
from .data_movement import lower_concatenate, lower_gather, lower_move, lower_pad
from .dynamic_slice import lower_dynamic_slice, lower_dynamic_update_slice
from .fourier import lower_fourier
from .general_eigenvalues import lower_eig
from .launch import Launch, Traps
from .linalg import lower_linalg
from .matmul import lower_matmul
from .moments import lower_moments
from .orthogonal_factors import lower_qr, lower_svd
from .region import lower_region
from .scatter import lower_scatter
from .scatter_add import lower_scatter_add
from .sorting import lower_sort
from .triangular_factors import lower_lu
from .user_kernel import lower_user_kernel
from .windows import lower_window


def lower_unit(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The launches of a unit, each waiting for those before unless it is `concurrent` with them."""
    if node.op.kernel is not None:
        return lower_user_kernel(node, plan, traps)
    return _LOWERINGS[node.op](node, plan, traps)


_LOWERINGS: Mapping[Op, Callable[[Node, Plan, Traps], list[Launch]]] = {
    region: lower_region,
    indexing.gather: lower_gather,
    indexing.scatter_add: lower_scatter_add,
    scatter.scatter_set: lower_scatter,
    scatter.scatter_mul: lower_scatter,
    scatter.scatter_max: lower_scatter,
    scatter.scatter_min: lower_scatter,
    reduction.cumsum: lower_cumulative,
    reduction.cumprod: lower_cumulative,
    reduction.moments: lower_moments,
    movement.concatenate: lower_concatenate,
    movement.pad: lower_pad,
    dynamic_slice.dynamic_slice: lower_dynamic_slice,
    dynamic_slice.dynamic_update_slice: lower_dynamic_update_slice,
    complex_numbers.planes: lower_planes,
    complex_numbers.from_planes: lower_planes,
    **{op: lower_collective for op in OPS.values() if op.on_ranks is not None},
    **{op: lower_move for op in OPS.values() if op.moves_to is not None},
    **{op: lower_matmul for op in OPS.values() if op.family == "contraction"},
    **{op: lower_convolution for op in OPS.values() if op.family == "convolution"},
    **{op: lower_fourier for op in OPS.values() if op.family == "fourier"},
    **{op: lower_linalg for op in OPS.values() if op.family == "linalg"},
    general_eigenvalues.eig: lower_eig,
    triangular_factors.lu: lower_lu,
    orthogonal_factors.qr: lower_qr,
    orthogonal_factors.svd: lower_svd,
    **{op: lower_sort for op in OPS.values() if op.family == "sorting"},
    **{op: lower_window for op in OPS.values() if op.family == "window"},
}
