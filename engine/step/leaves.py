"""The leaves of a batch or of arguments: their names and types, and inputs for them."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import optree

from ...ir import ArrayType, type_of
from ..nn.registration import torch_name
from ..tracing.trace import path_name
from ..tracing.tracer import Trace, Tracer, as_array, located


def flattened(tree: Any, what: str) -> tuple[list[str], list[Any], optree.PyTreeSpec]:
    """The names of the leaves of a pytree called `what`, the leaves, and the structure."""
    paths, leaves, structure = optree.tree_flatten_with_path(tree)
    return [path_name((what, *path)) for path in paths], list(leaves), structure


def leaf_type(name: str, leaf: Any) -> ArrayType:
    """The type of an array, a number, a spec or a tensor of torch. Raises `TypeError` for anything else."""
    if isinstance(leaf, ArrayType):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float)) or torch_name(leaf) is not None:
        return type_of(as_array(leaf))
    raise TypeError(located(f"{name} is of type {type(leaf).__name__}; use arrays or specs, gl.spec(shape, dtype)"))


def leaf_input(trace: Trace, leaf: Any, type: ArrayType, name: str) -> Tracer:
    """An input for a leaf of a batch or an argument; a Python float is weak, as NumPy has it."""
    if builtins.type(leaf) is not float:
        return trace.input(type, name)
    return trace.float_input(name, "close over a number that is to be known while tracing, instead of giving it here")
