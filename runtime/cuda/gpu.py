"""All that programs on one GPU have in common."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir import ArrayType
from ...passes.target import Target
from .device import Device
from .device_array import DeviceArray
from .kernel_cache import compile_kernels
from .libraries import Libraries, installed_libraries
from .modules import Compile, Modules
from .runs import Runs
from .staging import Layout


@dataclass(frozen=True)
class Gpu:
    """A device with what runs on it, the kernels that are loaded, and the libraries that are installed."""

    device: Device
    runs: Runs
    modules: Modules
    libraries: Libraries

    def hold(self, types: Sequence[ArrayType], on_host: Collection[int] = ()) -> list[DeviceArray]:
        """Arrays in one allocation, each beginning at a line; those of the numbers `on_host` in pinned memory."""
        there = Layout({i: type for i, type in enumerate(types) if i in on_host})
        here = Layout({i: type for i, type in enumerate(types) if i not in on_host})
        memory = self.device.allocate(here.nbytes, "what a step holds")
        pinned = self.device.allocate_pinned(there.nbytes)
        return [
            DeviceArray(pinned, there.offsets[i], type, self.runs.check_all)
            if i in on_host
            else DeviceArray(memory, here.offsets[i], type, self.runs.check_all)
            for i, type in enumerate(types)
        ]


def open_gpu(target: Target, driver: Any, compile: Compile | None, libraries: Libraries | None, number: int = 0) -> Gpu:
    """A GPU that runs what is made for a target, where there is one, with what stands for its packages if given; of
    several the one of this number.
    """
    device = Device(importlib.import_module("cuda.bindings.driver") if driver is None else driver, target, number)
    modules = Modules(device, compile or compile_kernels)
    return Gpu(device, Runs(device), modules, installed_libraries() if libraries is None else libraries)
