"""Parameters that lie in memory as two bytes: what the step computes with. The optimizer updates their masters, float32
arrays of its state, and a parameter is its master rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...ir import Array, ArrayType, DType
from ...ir.ops import elementwise as ew
from ...ir.types import FLOAT32
from ..optim.optimizer import state_name
from ..tracing.errors import located
from ..tracing.precisions import stored_dtype
from ..tracing.tracer import emit
from .sharded_arrays import ShardedArrays

_MASTER = "master"


def master_name(parameter: str) -> str:
    """The name of a parameter's master among the state."""
    return state_name(_MASTER, parameter)


def stored_types(types: Mapping[str, ArrayType], dtype: DType | None) -> dict[str, ArrayType]:
    """The types of parameters in memory: those of float32 in the `dtype` of two bytes, if there is one."""
    if dtype is None:
        return dict(types)
    return {name: ArrayType(t.shape, dtype) if t.dtype == FLOAT32 else t for name, t in types.items()}


def as_float32(stored: Any, wide: ArrayType) -> Any:
    """A traced parameter as it is computed with, of the type that the model says."""
    return stored if stored.dtype == wide.dtype else emit(ew.cast, stored, dtype=wide.dtype)


def as_stored(value: Any, narrow: ArrayType) -> Any:
    """A traced parameter as it lies in memory."""
    return value if value.dtype == narrow.dtype else emit(ew.cast, value, dtype=narrow.dtype)


def check_not_assigned(names: Iterable[str], stored: Mapping[str, ArrayType], what: str) -> None:
    """Raise `TypeError` where a program assigns one of the parameters that are `stored` in two bytes."""
    for name in names:
        if name in stored:
            raise TypeError(
                located(
                    f"{what} assigns {name}, which lies in memory as {stored[name].dtype}, where small changes would "
                    "be lost; leave parameters out of precision="
                )
            )


def check_not_shared(share: Any, precision: str) -> None:
    """Raise `ValueError` where a step that stores parameters in two bytes is to share some: a master is of one step."""
    if share is not None and stored_dtype(precision, "parameters") is not None:
        raise ValueError(
            located("share: parameters in two bytes have masters in one step; leave parameters out of precision=")
        )


class Masters:
    """The live parameters of two bytes by name, and the live masters of those that are trained."""

    def __init__(
        self,
        model: Mapping[str, ArrayType],
        parameters: Mapping[str, Array],
        state: Mapping[str, Array],
        sharded: ShardedArrays,
    ):
        """`model` has the types that the model says, `parameters` and `state` the arrays of the step; of the state that
        is `sharded` this rank has shards.
        """
        self._narrow = {n: a for n, a in parameters.items() if n in model and a.dtype != model[n].dtype}
        self._masters = {n: state[master_name(n)] for n in self._narrow if master_name(n) in state}
        self._wide = {name: model[name] for name in self._narrow}
        self.state_names = frozenset(master_name(name) for name in self._masters)
        self._sharded = sharded
        self.in_shards = frozenset(name for name in self._masters if master_name(name) in sharded.types)
        """The parameters of whose masters this rank has shards."""

    def fill(self, initial: Mapping[str, Callable[[str, int], Array]], seed: int) -> None:
        """Give each master the initial value of its parameter."""
        for name, master in self._masters.items():
            master[...] = self.held(name, initial[name](name, seed))

    def held(self, name: str, whole: Array) -> Array:
        """What this rank has of a master that is `whole`."""
        return self._sharded.cut(whole) if name in self.in_shards else whole

    def written(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """What is to be written for each of some live arrays: the master, if it has one."""
        return {name: self._masters.get(name, array) for name, array in arrays.items()}

    def opened(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The same, and memory for a whole master in the place of a shard."""
        whole = {name: np.empty(self._wide[name].shape, self._wide[name].dtype) for name in self.in_shards}
        return self.written(arrays) | {name: array for name, array in whole.items() if name in arrays}

    def take(self, opened: Mapping[str, Array]) -> None:
        """Cut this rank's shards out of the whole masters that were `opened`."""
        for name in self.in_shards & opened.keys():
            self._masters[name][...] = self.held(name, opened[name])

    def types(self, types: Mapping[str, ArrayType]) -> dict[str, ArrayType]:
        """The types of what may be written: that of the model, which is rounded."""
        return {name: self._wide.get(name, type) for name, type in types.items()}

    def round(self) -> None:
        """Make each parameter its master rounded: all ranks together, where they have shards of masters."""
        with np.errstate(over="ignore"):
            for name, master in self._masters.items():
                narrow = self._narrow[name]
                rounded = np.asarray(master.copy()).astype(narrow.dtype)
                if name in self.in_shards and narrow.shape == self._wide[name].shape:
                    rounded = self._sharded.whole({master_name(name): rounded})[master_name(name)]
                narrow[...] = rounded
