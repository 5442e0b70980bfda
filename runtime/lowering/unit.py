"""From a unit, which is a region or a lone node, to its launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...ir import Node
from ...ir.ops.window import WINDOW_OPS
from ...passes.memory.plan import Plan
from .convolution import lower_convolution
from .data_movement import lower_concatenate, lower_gather, lower_pad
from .launch import Launch, Traps
from .matmul import lower_matmul
from .moments import lower_moments
from .region import lower_region
from .running_sums import lower_running
from .scatter_add import lower_scatter_add
from .sorting import lower_sort
from .windows import lower_window


def lower_unit(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The launches of a unit, each waiting for those before unless it is `concurrent` with them."""
    return _LOWERINGS[node.op.name](node, plan, traps)


_LOWERINGS: Mapping[str, Callable[[Node, Plan, Traps], list[Launch]]] = {
    "region": lower_region,
    "dot": lower_matmul,
    "dot_add": lower_matmul,
    "gather": lower_gather,
    "scatter_add": lower_scatter_add,
    "cumsum": lower_running,
    "cumprod": lower_running,
    "sort": lower_sort,
    "argsort": lower_sort,
    "moments": lower_moments,
    "concatenate": lower_concatenate,
    "pad": lower_pad,
    **dict.fromkeys(WINDOW_OPS, lower_window),
    **dict.fromkeys(("conv", "conv_add", "conv_weight_gradient", "conv_weight_gradient_add"), lower_convolution),
    "conv_region": lower_convolution,
}
