"""Tensors of an ONNX file as NumPy arrays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ....ir import Array, DType
from ...tracing.errors import located
from ..dtypes import dtype_of, is_stored_in_words
from ..errors import OnnxError
from .external_data import read_external

_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL


def array_of(tensor: Any, folder: Path | None, what: str = "") -> Array:
    """A `TensorProto` as an array of its own. Raises `OnnxError` for a dtype that is not supported, and for data that
    is missing, cut off, or more than the shape has.
    """
    what = what or f"tensor {tensor.name!r}"
    dtype = dtype_of(tensor.data_type, what)
    shape = tuple(tensor.dims)
    if min(shape, default=0) < 0:
        raise OnnxError(located(f"{what} has the shape {shape}; lengths are 0 or more"))
    if tensor.HasField("segment"):
        raise OnnxError(located(f"{what} is in segments, which are not supported; load and save it with onnx first"))
    nbytes = math.prod(shape) * dtype.itemsize
    if tensor.data_location == _EXTERNAL:
        return _of_bytes(read_external(tensor, folder, nbytes), shape, dtype)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != nbytes:
            raise OnnxError(
                located(f"{what} takes {nbytes:,} bytes for shape {shape}, but has {len(tensor.raw_data):,}")
            )
        return _of_bytes(tensor.raw_data, shape, dtype)
    given = _typed(tensor, dtype)
    if given.size != math.prod(shape):
        raise OnnxError(located(f"{what} has shape {shape}, but {given.size:,} elements"))
    return given.reshape(shape)


def _of_bytes(data: bytes, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.frombuffer(data, dtype.newbyteorder("<") if dtype.kind != "V" else dtype).astype(dtype).reshape(shape)


def _typed(tensor: Any, dtype: DType) -> Array:
    """The elements from the field that is for their dtype."""
    if is_stored_in_words(dtype):
        return np.array(tensor.int32_data, np.uint16).view(dtype)
    fields = {"float32": tensor.float_data, "float64": tensor.double_data, "int64": tensor.int64_data}
    return np.array(fields.get(str(dtype), tensor.int32_data)).astype(dtype)
