"""Dtypes and tensors of torch as those of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import BFLOAT16, DTYPES, Array, DType


def numpy_dtype(dtype: Any) -> DType:
    """A dtype of torch as one of NumPy. Raises `TypeError` for what there is not here."""
    name = str(dtype).rpartition(".")[2]
    known = {str(found): found for found in DTYPES}
    if name not in known:
        raise TypeError(f"{dtype} is not supported; there are {', '.join(known)}")
    return known[name]


def numpy_array(tensor: Any) -> Array:
    """A copy of a tensor as an array. Raises `TypeError` for a dtype that there is not here."""
    dtype = numpy_dtype(tensor.dtype)
    plain = tensor.detach().cpu()
    if dtype == BFLOAT16:
        return plain.float().numpy().astype(BFLOAT16)
    return np.array(plain.numpy(), order="C")
