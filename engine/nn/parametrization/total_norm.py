"""The norm of several arrays together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from ... import array_api as xp
from ...array_api.broadcasting import as_arraylike
from ...tracing.errors import UnsupportedError
from ...tracing.tracer import located


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The p-norm, for p = `norm_type`, of the p-norms of `tensors`, an array or several: a scalar, 0 of nothing.

    `foreach`, which says how torch computes it, changes nothing. Raises `UnsupportedError` for `error_if_nonfinite`.
    """
    if error_if_nonfinite:
        instead = "return the norm, and look at it: np.isfinite(norm)"
        raise UnsupportedError(located(f"get_total_norm: error_if_nonfinite=True is not supported; {instead}"))
    each = list(tensors) if isinstance(tensors, Iterable) and not hasattr(tensors, "shape") else [tensors]
    norms = [xp.linalg.norm(xp.reshape(as_arraylike(x), (-1,)), norm_type) for x in cast("list[Any]", each)]
    return xp.linalg.norm(xp.stack(norms), norm_type) if norms else np.zeros(())
