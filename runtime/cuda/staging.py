"""Pinned memory that a GPU copies from and to by itself: what goes in with a run, and what comes out of it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir import Array, ArrayType
from .device import Device
from .runs import Run, Runs

LINE = 256
_CODE, _FLAG = ArrayType((), np.dtype(np.int64)), ArrayType((), np.dtype(np.bool_))
_MOST_SLOTS, _LEAST_SLOTS = 8, 2
_ENOUGH_BYTES = 64 << 20
"""Slots take no more memory than this together, if there are two."""


class Layout:
    """Places for arrays one behind the other, each beginning at a line."""

    def __init__(self, types: Mapping[Any, ArrayType]) -> None:
        self.types = types
        self.offsets: dict[Any, int] = {}
        self.nbytes = 0
        for key, type in types.items():
            self.offsets[key] = self.nbytes
            self.nbytes += -(-type.nbytes // LINE) * LINE

    def arrays(self, address: int) -> dict[Any, Array]:
        """Views of host memory that is laid out like this."""
        return {key: view(address + self.offsets[key], type) for key, type in self.types.items()}


def view(address: int, type: ArrayType) -> Array:
    """The array at an address of the host."""
    if not type.nbytes:
        return np.empty(type.shape, type.dtype)
    memory: Any = (ctypes.c_char * type.nbytes).from_address(address)
    return np.frombuffer(memory, type.dtype).reshape(type.shape)


class Slot:
    """What one run copies from and to: `inputs`, `results` by numbers of outputs, the `code` of a trap,
    and the `flag` of a fork."""

    def __init__(self, device: Device, inputs: Layout, results: Layout) -> None:
        self._memory = device.allocate_pinned(inputs.nbytes + results.nbytes + LINE)
        self.address = self._memory.address
        self.results_address = self.address + inputs.nbytes
        self.code_address = self.results_address + results.nbytes
        self.flag_address = self.code_address + _CODE.nbytes
        self.inputs, self.results = inputs.arrays(self.address), results.arrays(self.results_address)
        self.code = view(self.code_address, _CODE)
        self.code[...] = 0
        self.flag = view(self.flag_address, _FLAG)
        self.event = device.call("cuEventCreate", 2)  # without the time
        self.run: Run | None = None
        self.kept: list[Any] = []
        """Arrays of other libraries that the run copies."""

    def read(self) -> tuple[int, dict[int, Array]]:
        """The code, and copies of the results, when the run is over."""
        self.kept = []
        return int(self.code), {i: array.copy() for i, array in self.results.items()}


class Slots:
    """A ring of slots: the host fills one while runs that were given others go on."""

    def __init__(self, device: Device, inputs: Layout, results: Layout) -> None:
        nbytes = inputs.nbytes + results.nbytes + LINE
        count = max(_LEAST_SLOTS, min(_MOST_SLOTS, _ENOUGH_BYTES // nbytes))
        self._make = lambda: Slot(device, inputs, results)
        self._slots: list[Slot] = []
        self._count, self._next = count, 0

    def next(self, runs: Runs) -> Slot:
        """The slot of the oldest run, which is over. Raises the error of a run that failed."""
        if self._next == len(self._slots):
            self._slots.append(self._make())
        slot = self._slots[self._next]
        if slot.run is not None and not slot.run.settled:
            runs.settle(slot.run)
        self._next = (self._next + 1) % self._count
        return slot
