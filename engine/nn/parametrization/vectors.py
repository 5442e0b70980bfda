"""All parameters as one vector, under torch's names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike, described
from ...tracing.tracer import ShapeError, located
from ..in_place import written_in_place
from ..init import constant
from ..parameter import Stored


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """Arrays, one after another, as one of shape (elements of all,); inside a step those of `model.parameters()`.

    Outside of one a parameter has no value: `gl.tree.ravel(step.parameters())` has those of training.
    """
    return xp.concat([xp.reshape(as_arraylike(p), (-1,)) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Write the parts of `vec` into arrays, in their order; a parameter of a model takes them as its initial value.

    Raises `ShapeError` where there are not as many elements.
    """
    vector, targets = as_arraylike(vec), list(parameters)
    count = sum(math.prod(p.shape) for p in targets)
    if tuple(vector.shape) != (count,):
        raise ShapeError(located(f"vector_to_parameters: {count} elements are expected, got {described(vector)}"))
    begin = 0
    for p in targets:
        end = begin + math.prod(p.shape)
        part = xp.astype(xp.reshape(vector[begin:end], tuple(p.shape)), p.dtype)
        if isinstance(p, Stored):
            p.initialize(constant(part))
        else:
            written_in_place("vector_to_parameters", p, part)
        begin = end
