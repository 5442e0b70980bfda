"""The averages of a step's parameters, as what computes with them reads them."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Array
from ..optim import Optimizer
from ..optim.averaging import count_name
from ..optim.optimizer import state_name
from ..tracing.tracer import located


class Averages:
    """The outermost averages that an optimizer keeps; `arrays` has them by the names of their parameters, which stand
    for themselves where they have none, because they are frozen. Raises `ValueError` where it keeps none.
    """

    def __init__(self, optimizer: Optimizer, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        kind, title = optimizer.averaged, optimizer.title
        if kind is None:
            raise ValueError(
                located(f"{title} keeps no average of the parameters; wrap it, as in gl.optim.EMA({title}(...), 0.999)")
            )
        self._count = state[count_name(kind)]
        self._parameters = parameters
        self.arrays = {name: state.get(state_name(kind, name), array) for name, array in parameters.items()}

    @property
    def now(self) -> Mapping[str, Array]:
        """The averages; before the first the parameters as they are."""
        return self.arrays if self._count else self._parameters

    def follow(self) -> None:
        """Before the first average make them the parameters as they are."""
        if not self._count:
            for name, array in self.arrays.items():
                array[...] = self._parameters[name]
