"""Declarations of inputs and outputs, with their types."""

from __future__ import annotations

from typing import Any

from ..dtypes import number_of
from .emitter import BATCH, helper
from .symbolic_graph import Length, SymbolicValue


def declared(name: str, value: SymbolicValue) -> Any:
    """The declaration of an input or output."""
    shape = [BATCH if n == Length(1, 0) else None if isinstance(n, Length) else n for n in value.shape]
    return helper().make_tensor_value_info(name, number_of(value.dtype), shape)
