"""Products of groups of rows, each with a matrix of its own: mixtures of experts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import array_api as xp
from ...tracing.errors import UnsupportedError, located
from ..table import aten, op


@op("transformers.grouped_mm_fallback.default")
def grouped_product(x: Any, weight: Any, ends: Any) -> Any:
    """The rows (S, in) of each group times its matrix of weight (E, in, out); `ends` says where each group ends.

    How many rows a group has is known only when the program runs, so each matrix is multiplied by all rows.
    """
    places = np.arange(x.shape[0], dtype=np.int64)[:, None]
    total: Any = None
    for i in range(weight.shape[0]):
        inside = (
            xp.less(places, ends[i])
            if not i
            else xp.logical_and(xp.less(places, ends[i]), xp.greater_equal(places, ends[i - 1]))
        )
        product = xp.matmul(xp.where(inside, x, 0), weight[i])
        total = product if total is None else total + product
    return total


@aten("_grouped_mm.default", whole=True)
def grouped_mm(x: Any, weight: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """Rows in groups, each times a matrix of its own."""
    if x.ndim != 2 or weight.ndim != 3 or offs is None or bias is not None:
        raise UnsupportedError(located("grouped_mm is supported for rows (S, in) and weights (E, in, out) with offs"))
    return grouped_product(x, weight, offs)
