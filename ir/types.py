"""Array types: a static shape and one of nine dtypes, or float16 of what is stored so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, SupportsIndex

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .users_line import located

DType = np.dtype[Any]
Array = npt.NDArray[Any]

_SHORT = {
    "bool": "bool",
    "uint8": "u8",
    "int32": "i32",
    "int64": "i64",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
    "complex64": "c64",
    "complex128": "c128",
}
DTYPES: tuple[DType, ...] = tuple(np.dtype(name) for name in _SHORT)
"""Those of arrays that a user has."""
FLOAT16 = np.dtype("float16")
SHORT_NAMES: dict[DType, str] = {np.dtype(name): short for name, short in _SHORT.items()} | {FLOAT16: "f16"}
"""Those of values of a graph, as types print them."""
DTYPE_OF_SHORT: dict[str, DType] = {short: dtype for dtype, short in SHORT_NAMES.items()}

BOOL = np.dtype("bool")
INT32 = np.dtype("int32")
INT64 = np.dtype("int64")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT32 = np.dtype("float32")
FLOAT64 = np.dtype("float64")
COMPLEX64 = np.dtype("complex64")
COMPLEX128 = np.dtype("complex128")

_PART: dict[DType, DType] = {COMPLEX64: FLOAT32, COMPLEX128: FLOAT64}


def as_dtype(dtype: npt.DTypeLike) -> DType:
    """The supported dtype that `dtype` names. Raises `TypeError` for any other (float16, int8, strings, ...)."""
    try:
        resolved = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError):  # NumPy has none of that name
        resolved = None
    if resolved is None or resolved not in DTYPES:
        known = ", ".join(_SHORT)
        raise TypeError(
            located(
                f"dtype {resolved or repr(dtype)} is not supported; use one of {known}, for example x.astype('float32')"
            )
        )
    return resolved


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A static shape and a dtype: what is known of an array before any data exists.

    `shape` is a tuple of non-negative ints and `dtype` one of bool, uint8, int32, int64, bfloat16,
    float32, float64, complex64, complex128; and float16 of what a step stores so.
    """

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the contiguous array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{SHORT_NAMES.get(self.dtype, self.dtype)}[{','.join(map(str, self.shape))}]"


def spec(shape: int | Sequence[int], dtype: npt.DTypeLike = "float32") -> ArrayType:
    """An array without data: `spec((128, 784), "float32")`.

    Raises `TypeError` for an unsupported dtype or a shape that is not integers, `ValueError` for a negative length.
    """
    lengths = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    return ArrayType(tuple(_length(n, lengths) for n in lengths), as_dtype(dtype))


def _length(length: object, shape: tuple[object, ...]) -> int:
    if isinstance(length, bool) or not isinstance(length, SupportsIndex):
        raise TypeError(located(f"a shape is made of integers, got {length!r} in {shape!r}"))
    if index(length) < 0:
        raise ValueError(located(f"a shape has no negative lengths, got {shape!r}"))
    return index(length)


_BLOCK = 1 << 14


def has_one_value(array: Array) -> bool:
    """Whether all elements of an array that has any are the same, bit for bit. Takes little memory for a large one."""
    if not array.size:
        return False
    if all(length == 1 or stride == 0 for length, stride in zip(array.shape, array.strides)):
        return True
    flat = array.ravel("K")
    first = flat[:1].tobytes()
    blocks = (flat[at : at + _BLOCK] for at in range(0, flat.size, _BLOCK))
    return all(block.tobytes() == first * block.size for block in blocks)


def type_of(array: Array) -> ArrayType:
    """The type of a NumPy array. Raises `TypeError` for an unsupported dtype."""
    return ArrayType(tuple(array.shape), as_dtype(array.dtype))


def is_half(dtype: DType) -> bool:
    """Whether `dtype` is bfloat16 or float16: two bytes in memory, and float32 where it is computed with."""
    return dtype in (BFLOAT16, FLOAT16)


def is_float(dtype: DType) -> bool:
    """Whether `dtype` is bfloat16, float16, float32 or float64."""
    return dtype.kind == "f" or dtype == BFLOAT16


def is_complex(dtype: DType) -> bool:
    """Whether `dtype` is complex64 or complex128."""
    return dtype.kind == "c"


def is_inexact(dtype: DType) -> bool:
    """Whether `dtype` is one of floats or of complex numbers: arrays of it have derivatives."""
    return is_float(dtype) or is_complex(dtype)


def part_dtype(dtype: DType) -> DType:
    """The dtype of the real and the imaginary parts of complex numbers; any other dtype itself."""
    return _PART.get(dtype, dtype)


def complex_dtype(dtype: DType) -> DType:
    """The complex dtype whose parts are `dtype`: complex64 of float32, complex128 of float64. No other has one."""
    return next(whole for whole, part in _PART.items() if part == dtype)


def kind_of(dtype: DType) -> str:
    """NumPy's letter for the kind of a dtype: b, u, i, f or c. NumPy itself says V of bfloat16."""
    return "f" if dtype == BFLOAT16 else dtype.kind


def finfo(dtype: DType) -> Any:
    """The limits of a float dtype, as `numpy.finfo`, which does not know bfloat16."""
    limits: Any = ml_dtypes.finfo  # it is annotated for dtypes that NumPy knows
    return limits(dtype)


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))
