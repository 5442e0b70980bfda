"""Which op follows which rule, where its own batching rule does not say enough."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import OPS, Op
from ...ir.ops import convolution, creation, dynamic_slice, indexing
from ...ir.ops.control_flow import cond, while_loop
from ...ir.ops.custom_vjp import custom_vjp
from ...ir.ops.scan import scan
from .control_flow import vectorized_cond, vectorized_while_loop
from .convolutions import vectorized_conv, vectorized_weight_gradient, vectorized_window
from .custom_derivatives import vectorized_custom_vjp
from .look_ups import (
    vectorized_dynamic_slice,
    vectorized_gather,
    vectorized_update,
)
from .loops import vectorized_scan
from .random_bits import vectorized_random_bits
from .vectorizer import Rule

RULES: Mapping[Op, Rule] = {
    **{op: vectorized_update for op in OPS.values() if op.family == "indexing"},
    **{op: vectorized_window for op in OPS.values() if op.family == "window"},
    indexing.gather: vectorized_gather,
    dynamic_slice.dynamic_slice: vectorized_dynamic_slice,
    dynamic_slice.dynamic_update_slice: vectorized_update,
    convolution.conv: vectorized_conv,
    convolution.conv_weight_gradient: vectorized_weight_gradient,
    creation.random_bits: vectorized_random_bits,
    cond: vectorized_cond,
    custom_vjp: vectorized_custom_vjp,
    scan: vectorized_scan,
    while_loop: vectorized_while_loop,
}
