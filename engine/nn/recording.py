"""Values that a model offers as outputs of a step: `record` names them where they are computed."""

from __future__ import annotations

from typing import Any

from ...ir import Array
from ..tracing.tracer import Tracer, as_array, located
from .binding import innermost_binding


def record(name: str, value: Any) -> Any:
    """Offer an array as an output of the step, and return it as it is.

    In the `forward` of a module, or in a loss function, `nn.record("attention", weights)` costs nothing until a step
    asks for it: `gl.compile_step(..., outputs="layers.0.attention")`. The name stands below the path of the module; a
    second value of one name gets `.1` behind it, a third `.2`. Outside of steps it does nothing.

    Raises `TypeError` for a name that is no text, or for what is no array.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(located(f"nn.record takes a name and an array, got {name!r} as the name"))
    if not isinstance(value, Tracer):
        try:
            kept: Tracer | Array = as_array(value)
        except TypeError:
            what = type(value).__name__
            raise TypeError(located(f"nn.record takes an array, got {what}; record each array by itself")) from None
    else:
        kept = Tracer(value.owner, value.value)  # what is written to the array from now on is not of it
    binding = innermost_binding()
    if binding is not None:
        path = binding.active[-1] if binding.active else ""
        whole = f"{path}.{name}" if path else name
        count = sum(other == whole or other.rpartition(".")[0] == whole for other in binding.records)
        binding.records[f"{whole}.{count}" if count else whole] = kept
    return value
