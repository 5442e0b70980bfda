"""Which op follows which rule, where its own alignment of axes does not say enough."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import OPS, Op
from ...ir.ops import contraction, convolution, creation, dynamic_slice, indexing, movement, reduction, sorting
from ...ir.ops.control_flow import cond, while_loop
from ...ir.ops.custom_vjp import custom_vjp
from ...ir.ops.scan import scan
from .creation import masked_constant, masked_full, masked_iota, masked_random_bits
from .look_ups import masked_gather, masked_scatter
from .loops import masked_cond, masked_custom_vjp, masked_scan, masked_while_loop
from .masker import Rule, elementwise
from .matrices import masked_matrices
from .movement import (
    masked_broadcast,
    masked_concatenate,
    masked_dynamic_slice,
    masked_dynamic_update_slice,
    masked_pad,
    masked_reshape,
    masked_reverse,
    masked_slice,
    masked_transpose,
)
from .products import masked_conv, masked_dot, masked_weight_gradient, masked_window
from .reductions import NEUTRAL, masked_reduction, masked_running, masked_sort

RULES: Mapping[Op, Rule] = {
    **{op: elementwise for op in OPS.values() if op.is_elementwise},
    **dict.fromkeys(NEUTRAL, masked_reduction),
    **{op: masked_window for op in OPS.values() if op.family == "window"},
    **{op: masked_scatter for op in OPS.values() if op.family == "indexing"},
    **{op: masked_matrices for op in OPS.values() if op.family == "linalg"},
    indexing.gather: masked_gather,
    contraction.dot: masked_dot,
    convolution.conv: masked_conv,
    convolution.conv_weight_gradient: masked_weight_gradient,
    creation.full: masked_full,
    creation.constant: masked_constant,
    creation.iota: masked_iota,
    creation.random_bits: masked_random_bits,
    movement.reshape: masked_reshape,
    movement.transpose: masked_transpose,
    movement.broadcast: masked_broadcast,
    movement.slice_: masked_slice,
    movement.pad: masked_pad,
    movement.concatenate: masked_concatenate,
    movement.reverse: masked_reverse,
    dynamic_slice.dynamic_slice: masked_dynamic_slice,
    dynamic_slice.dynamic_update_slice: masked_dynamic_update_slice,
    reduction.cumsum: masked_running,
    reduction.cumprod: masked_running,
    sorting.sort: masked_sort,
    sorting.argsort: masked_sort,
    cond: masked_cond,
    custom_vjp: masked_custom_vjp,
    scan: masked_scan,
    while_loop: masked_while_loop,
}
