"""The dtypes of ONNX that this package computes with, and the names of the others."""

from __future__ import annotations

import numpy as np

from ...ir import DTYPES, DType
from ...ir.types import BFLOAT16
from ..tracing.errors import located
from .errors import OnnxError

# onnx.TensorProto.DataType, whose numbers are the format's and never change.
_NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4e2m1",
    24: "float8e8m0",
    25: "uint2",
    26: "int2",
}
_DTYPES: dict[str, DType] = {str(dtype): dtype for dtype in DTYPES}
_NUMBERS = {_DTYPES[name]: number for number, name in _NAMES.items() if name in _DTYPES}


def dtype_name(number: int) -> str:
    """The name of an element type of ONNX."""
    return _NAMES.get(number, f"element type {number}")


def dtype_of(number: int, what: str) -> DType:
    """The dtype of an element type of ONNX. Raises `OnnxError` that names it, where there is none here."""
    name = dtype_name(number)
    if name not in _DTYPES:
        instead = "; convert the model to float32 or bfloat16" if name == "float16" else ""
        raise OnnxError(
            located(f"{what} is of {name}, which is not supported; there are {', '.join(_DTYPES)}{instead}")
        )
    return _DTYPES[name]


def number_of(dtype: DType) -> int:
    """The element type of ONNX for a dtype."""
    return _NUMBERS[np.dtype(dtype)]


def is_stored_in_words(dtype: DType) -> bool:
    """Whether a tensor that has no raw bytes holds the bits of its elements as integers."""
    return dtype == BFLOAT16
