"""What the losses that are layers have in common: the reduction, and the weights that they hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tracing.tracer import Tracer
from ..functional.reduction import check_reduction
from ..module import Module
from ..parameter import Buffer, Stored


class Loss(Module):
    """A loss, which `reduction` makes one number: "mean" or "sum"; or the losses of all elements: "none"."""

    reduction: Any

    def reduce_by(self, reduction: str) -> None:
        """Set the reduction. Raises `ValueError` where it is none."""
        check_reduction(reduction)
        self.reduction = reduction

    def hold(self, name: str, weight: Any) -> None:
        """Keep weights as the buffer `name`: an array, numbers, or `None` for none. A traced array is kept as it is."""
        if weight is None:
            self.register_buffer(name, None)
        elif isinstance(weight, (Tracer, Stored)):
            setattr(self, name, weight)
        else:
            self.register_buffer(name, Buffer(np.asarray(weight, None if hasattr(weight, "dtype") else "float32")))

    def held(self, name: str) -> Any:
        """The weights `name`: those of the model that the loss is part of, or, outside of one, those given."""
        value = getattr(self, name)
        return value.initial(name) if isinstance(value, Stored) else value

    def options(self) -> tuple[str, ...]:
        """The attributes that are printed; a subclass says which come before the reduction."""
        return ("reduction",)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.options())
