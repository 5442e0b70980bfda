"""Taps: what flows through chosen modules of a step, forward and backward, besides the parameters' gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Value, is_float
from ..tracing.tracer import Tracer
from .calls import ModuleCall

Tapped = Callable[[ModuleCall], bool]
"""Which calls of modules are tapped."""


@dataclass(frozen=True, eq=False)
class Tap:
    """A call of a module, and the cotangents of its outputs: the loss's derivatives, in their shapes and dtypes."""

    call: ModuleCall
    cotangents: tuple[Tracer | None, ...]
    """One for each of `call.outputs`; `None` where the loss does not read it, or where it is of integers."""


def tapped_values(calls: Sequence[ModuleCall], depending: Collection[Value]) -> list[Value]:
    """The outputs of `calls` that have cotangents, each once; `depending` is what the loss depends on."""
    outputs = [output.value for call in calls for output in call.outputs]
    return [v for v in dict.fromkeys(outputs) if v in depending and is_float(v.type.dtype)]


def taps_of(calls: Sequence[ModuleCall], cotangents: Mapping[Value, Tracer]) -> list[Tap]:
    """The taps of `calls`, in their order."""
    return [Tap(call, tuple(cotangents.get(output.value) for output in call.outputs)) for call in calls]
