"""Parameters and buffers of a step that are given as a dict by name: what each replaces."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from ...ir import Array, is_float
from ..nn.state_dict import IncompatibleKeys, plain_array
from ..saving.checkpoint_file import check_names
from ..tracing.tracer import located
from .live_arrays import LiveArrays, types_of
from .narrow_parameters import Masters
from .sharded_arrays import ShardedArrays

Replaced = list[tuple[Array, Array]]
"""Live arrays, each with what it becomes."""


def replaced_parameters(
    given: Any, live: LiveArrays, own: Container[str], masters: Masters, sharded: ShardedArrays
) -> Replaced:
    """For `Step.set_parameters`: all parameters that are `own` must come, those of other steps and buffers may."""
    arrays = _arrays_by_name(given, "parameters are a dict of arrays by name, as of step.parameters()")
    meant = {live.names.get(name, name) for name in arrays}
    targets = live.parameters | {name: array for name, array in live.buffers.items() if name in meant}
    optional = [name for name in targets if name not in own]
    types = masters.types(types_of(targets)) | {n: t for n, t in sharded.types.items() if n in targets}
    fitting = check_names(types, arrays, live.tied, optional=optional)
    written = masters.written(targets)
    cut = sharded.types.keys() - masters.in_shards
    return [(written[n], sharded.cut(x) if n in cut else masters.held(n, x)) for n, x in fitting.items()]


def replaced_by_state_dict(given: Any, named: Mapping[str, Array], strict: bool) -> tuple[Replaced, IncompatibleKeys]:
    """For `Step.load_state_dict`: `named` has every name of a state dict, those of a tied parameter with one array."""
    arrays = _arrays_by_name(given, "a state dict is a dict of arrays by name")
    first: dict[int, str] = {}
    tied = {name: first.setdefault(id(array), name) for name, array in named.items()}
    targets = {name: named[name] for name in first.values()}
    for name, array in arrays.items():
        target = named.get(name)
        if target is not None and is_float(array.dtype) and is_float(target.dtype):
            with np.errstate(over="ignore"):
                arrays[name] = array.astype(target.dtype, copy=False)
    fitting = check_names(types_of(targets), arrays, tied, "the arrays of the state dict", strict=strict)
    keys = IncompatibleKeys([n for n in targets if n not in fitting], [n for n in arrays if n not in named])
    return [(targets[name], array) for name, array in fitting.items()], keys


def replace(live: LiveArrays, replaced: Replaced, masters: Masters | None = None) -> None:
    """Do it, between two runs; parameters of two bytes follow their masters."""

    def change() -> None:
        for array, new in replaced:
            array[...] = new
        if masters is not None:
            masters.round()

    live.change(change)


def _arrays_by_name(given: Any, what: str) -> dict[str, Array]:
    if not isinstance(given, Mapping):
        raise TypeError(located(f"{what}, got {type(given).__name__}"))
    return {name: plain_array(array) for name, array in given.items()}
