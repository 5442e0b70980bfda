"""The averages of a step's parameters, as what computes with them reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...ir import Array
from ..optim import Optimizer
from ..optim.averaging import count_name
from ..optim.optimizer import state_name
from ..tracing.tracer import located
from .sharded_arrays import ShardedArrays


class Averages:
    """The outermost averages that an optimizer keeps; `arrays` has them by the names of their parameters, which stand
    for themselves where they have none, because they are frozen. Of `sharded` averages each rank has a shard, and of
    `whole` parameters none. Raises `ValueError` where it keeps none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        state: Mapping[str, Array],
        parameters: Mapping[str, Array],
        sharded: ShardedArrays,
        whole: bool = True,
    ) -> None:
        kind, title = optimizer.averaged, optimizer.title
        if kind is None:
            raise ValueError(
                located(f"{title} keeps no average of the parameters; wrap it, as in gl.optim.EMA({title}(...), 0.999)")
            )
        self._count = state[count_name(kind)]
        self._parameters = parameters
        self.arrays = {name: state.get(state_name(kind, name), array) for name, array in parameters.items()}
        self._cuts = whole
        names = {name: state_name(kind, name) for name in parameters}
        types = {name: sharded.types[average] for name, average in names.items() if average in sharded.types}
        self.sharded = replace(sharded, types=types)
        """How ranks hold the averages, by the names of the parameters."""

    @property
    def now(self) -> Mapping[str, Array]:
        """The averages; before the first the parameters as they are."""
        return self.arrays if self._count else self._parameters

    @property
    def now_sharded(self) -> ShardedArrays:
        """How ranks hold `now`, where the step's parameters are whole."""
        return self.sharded if self._count else replace(self.sharded, types={})

    def follow(self) -> None:
        """Before the first average make them the parameters as they are."""
        if not self._count:
            for name, array in self.arrays.items():
                now = self._parameters[name]
                array[...] = self.sharded.cut(np.asarray(now)) if self._cuts and name in self.sharded.types else now
