"""DLPack: arrays handed from one library to another without a copy, as capsules that hold a `DLManagedTensor`.

The structures are those of `dlpack.h`, version 0 of the protocol, which all libraries take.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import BFLOAT16, DType
from ...ir.users_line import located

CUDA, CUDA_MANAGED = 2, 13
"""Types of devices of arrays that a GPU reads."""

_NAME = b"dltensor"
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_BFLOAT, _BOOL = 4, 6
_DTYPES = {(code, np.dtype(f"{kind}{nbytes}").itemsize * 8): np.dtype(f"{kind}{nbytes}")
           for kind, code in _KINDS.items() for nbytes in ((1,) if kind == "b" else (1, 2, 4, 8))
           if not (kind == "f" and nbytes == 1)}  # fmt: skip
_DTYPES[_BFLOAT, 16] = BFLOAT16


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


@dataclass(frozen=True)
class Content:
    """What a capsule says of an array: strides are in elements, None where it is C-contiguous."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: DType


def content(capsule: Any) -> Content:
    """What is in a capsule, which keeps the array alive as long as nobody takes it over. Raises `TypeError` for numbers
    that no program computes with.
    """
    tensor = _Managed.from_address(_pointer(capsule, _NAME)).tensor
    dtype = _DTYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if dtype is None:
        raise TypeError(
            located(f"DLPack's type ({tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes) is not supported")
        )
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    return Content((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype)


def capsule_of(address: int, shape: Sequence[int], dtype: DType, device: tuple[int, int], owner: Any) -> Any:
    """A capsule for an array that is C-contiguous; `owner` lives as long as someone uses it."""
    managed = _Managed()
    lengths = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    kind = _BFLOAT if dtype == BFLOAT16 else _KINDS[dtype.kind]
    managed.tensor = _Tensor(address, *device, len(shape), kind, 8 * dtype.itemsize, 1, lengths, None, 0)
    managed.deleter = ctypes.cast(_delete, ctypes.c_void_p).value
    place = ctypes.addressof(managed)
    _alive[place] = managed, lengths, owner
    return _new_capsule(place, _NAME, ctypes.cast(_destroy, ctypes.c_void_p))


_alive: dict[int, Any] = {}
"""What capsules of ours refer to, by their addresses."""

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# The same functions for a capsule that is dying, which no reference may be made to.
_of_dying = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_pointer_of_dying = _of_dying(("PyCapsule_GetPointer", ctypes.pythonapi))
_name_of_dying = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_GetName", ctypes.pythonapi))


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(managed: int) -> None:
    """Called by who took an array over, when it is no longer used."""
    _alive.pop(managed, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _destroy(capsule: int) -> None:
    """Called for a capsule that dies: what nobody took over goes with it."""
    if _name_of_dying(capsule) == _NAME:
        _alive.pop(_pointer_of_dying(capsule, _NAME), None)


for _callback in (_delete, _destroy):  # they may be called when the names of this module are gone
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))
