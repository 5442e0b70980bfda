"""The shapes of lazy layers, found by tracing a program once for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType
from ..nn import Module, bind
from ..nn.uninitialized import is_uninitialized
from ..tracing import random
from ..tracing.frozen_draws import warn_of_draws
from ..tracing.tracer import Trace, located
from .arguments import call_loss
from .leaves import flattened, leaf_input, leaf_type


def find_lazy_shapes(model: Module, loss_fn: Callable[[Any, Any], Any], batch: Any) -> None:
    """Give all that `model` stores a shape, by its loss of a batch like `batch`; most models have them all already.

    Raises `TypeError` for a layer that the loss does not call.
    """
    if not any(is_uninitialized(stored) for _, stored in model.all_stored()):
        return
    names, leaves, tree = flattened(batch, "batch")
    with warn_of_draws(set(), model, loss_fn), Trace() as trace:
        known = [(name, stored) for name, stored in model.all_stored() if not is_uninitialized(stored)]
        values = {stored: trace.input(stored.type, name) for name, stored in known}
        arrays = [leaf_input(trace, leaf, leaf_type(name, leaf), name) for name, leaf in zip(names, leaves)]
        with random.key(trace.input(ArrayType((), np.dtype("int64")), "key")), bind(model, values) as binding:
            call_loss(loss_fn, model, optree.tree_unflatten(tree, arrays), binding)
    left = [name for name, stored in model.all_stored() if is_uninitialized(stored)]
    if left:
        said = f"{', '.join(left[:3])} has no shape, since the loss does not call its layer"
        raise TypeError(located(f"{said}; use the layer, or one that is given its size"))
