"""Arrays that other libraries have on the GPU, as inputs of a run: they are copied there, without the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir import Array, DType
from ...ir.users_line import located
from . import dlpack
from .device import LEGACY_STREAM, Device
from .device_array import DeviceArray


class ForeignArray:
    """An array of a GPU in another library's memory, C-contiguous.

    A run copies it in the order of two streams: behind what its own library has given to `stream` before, and before
    what that gives to it later. `kept` is what keeps the memory alive until the copy is done.
    """

    def __init__(self, device: Device, address: int, shape: tuple[int, ...], dtype: DType, stream: int, kept: Any):
        self._device, self.address, self.shape, self.dtype = device, address, shape, dtype
        self._stream, self._kept = stream, kept

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def copy_to(self, address: int) -> None:
        """Give a copy to the device's stream."""
        device = self._device
        device.wait_for(device.stream, self._stream)
        device.call("cuMemcpyDtoDAsync", address, self.address, self.nbytes, device.stream)
        device.wait_for(self._stream, device.stream)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = np.empty(self.shape, self.dtype)
        with self._device.lock:
            self._device.enter()
            self._device.wait_for(self._device.stream, self._stream)
            self._device.read(array.ctypes.data, self.address, self.nbytes)
        return array if dtype is None else array.astype(dtype, copy=False)


def of_device(device: Device, given: Any) -> DeviceArray | ForeignArray | None:
    """`given` as an array of a device, by `__dlpack__` or `__cuda_array_interface__`; None for what is none.

    Raises `TypeError` where it is not C-contiguous, or on another GPU.
    """
    if isinstance(given, (DeviceArray, ForeignArray)):
        return given
    kind = type(given)
    if hasattr(kind, "__dlpack_device__"):
        where, number = given.__dlpack_device__()
        return _by_dlpack(device, given, int(number)) if int(where) in (dlpack.CUDA, dlpack.CUDA_MANAGED) else None
    # Of tensors on a CPU it is there too, and raises when it is asked for.
    told = getattr(given, "__cuda_array_interface__", None)
    return None if told is None else _by_interface(device, given, told)


def _by_dlpack(device: Device, given: Any, number: int) -> ForeignArray:
    if number != device.ordinal:
        raise TypeError(located(f"an array of cuda:{number} was given, and the program is on cuda:{device.ordinal}"))
    # Whoever makes the capsule lets our stream wait for what the array is made by.
    capsule = given.__dlpack__(stream=int(device.stream))
    told = dlpack.content(capsule)
    _check_dense(told.shape, told.strides)
    return ForeignArray(device, told.address, told.shape, told.dtype, LEGACY_STREAM, (capsule, given))


def _by_interface(device: Device, given: Any, told: dict[str, Any]) -> ForeignArray:
    shape, dtype, strides = tuple(told["shape"]), np.dtype(told["typestr"]), told.get("strides")
    if told.get("mask") is not None:
        raise TypeError(located("an array with a mask was given, which would be lost; fill it first"))
    _check_dense(shape, None if strides is None else tuple(stride // dtype.itemsize for stride in strides))
    stream = told.get("stream")
    return ForeignArray(device, int(told["data"][0]), shape, dtype, LEGACY_STREAM if stream is None else stream, given)


def _check_dense(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
    """Raise `TypeError` unless an array is C-contiguous; strides are in elements."""
    expected = 1
    for length, stride in zip(reversed(shape), reversed(strides or ())):
        if length > 1 and stride != expected and 0 not in shape:
            raise TypeError(
                located(
                    f"an array of a GPU of shape {shape} with strides of {strides} elements was given, which is not "
                    "C-contiguous; write x.contiguous(), or ascontiguousarray(x), of its library"
                )
            )
        expected *= length
