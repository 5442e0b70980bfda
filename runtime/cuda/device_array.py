"""Arrays in a GPU's memory that the host reads and writes as it does NumPy's: each access is a copy, and waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Array, ArrayType, DType
from ...ir.users_line import located
from . import dlpack
from .device import LEGACY_STREAM, DeviceMemory, PinnedMemory

Check = Callable[[], None]


class DeviceArray:
    """An array of a GPU, C-contiguous: `offset` bytes into its memory, or into that of the host which it works with.

    `np.asarray` of it, its elements and `copy` are copies in the host's memory, of what is there when all is done that
    the device has been given; `check` raises what went wrong in that. Assigned to, `array[...] = value`, it is written
    behind all of that. Libraries of the GPU take it, without a copy, by `__dlpack__` and `__cuda_array_interface__`.
    """

    __slots__ = ("__weakref__", "_check", "dtype", "memory", "offset", "shape")

    def __init__(self, memory: DeviceMemory | PinnedMemory, offset: int, type: ArrayType, check: Check) -> None:
        self.memory, self.offset, self._check = memory, offset, check
        self.shape: tuple[int, ...] = type.shape
        self.dtype: DType = type.dtype

    @property
    def address(self) -> int:
        """Where it is in the memory of the device."""
        return self.memory.address + self.offset

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def copy(self) -> Array:
        """A copy in the host's memory."""
        device = self.memory.device
        self._check()
        array = np.empty(self.shape, self.dtype)
        device.read(array.ctypes.data, self.address, self.nbytes)
        self._check()
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(located("an array of a GPU is copied to be NumPy's; leave copy=False out"))
        array = self.copy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        return self.copy()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key is not Ellipsis and key != ():
            array = self.copy()
            array[key] = value
            value = array
        device = self.memory.device
        if isinstance(value, DeviceArray) and (value.shape, value.dtype) == (self.shape, self.dtype):
            device.copy(self.address, value.address, self.nbytes)
            return
        array = np.empty(self.shape, self.dtype)
        array[...] = value
        device.write(self.address, array.ctypes.data, self.nbytes)

    def __len__(self) -> int:
        return len(self.copy())

    def __bool__(self) -> bool:
        return bool(self.copy())

    def __int__(self) -> int:
        return int(self.copy())

    def __float__(self) -> float:
        return float(self.copy())

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device='cuda:{self.memory.device.ordinal}')"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the interface: who reads the array does so behind what `stream` was given, and the next run
        waits for what is on CUDA's default stream by then.
        """
        device = self.memory.device
        device.has_readers = True
        return {
            "version": 3,
            "shape": self.shape,
            "strides": None,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "stream": int(device.stream),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.memory.device.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule for the array itself. What is given to `stream` later (CUDA's default stream, where it is None)
        waits for all runs so far; -1 is for who waits in another way.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(located("an array of a GPU is handed out where it is; array.copy() is one of the host"))
        device = self.memory.device
        with device.lock:
            device.enter()
            device.has_readers = True
            if stream != -1:
                device.wait_for(LEGACY_STREAM if stream is None else stream, device.stream)
        return dlpack.capsule_of(self.address, self.shape, self.dtype, self.__dlpack_device__(), self)
