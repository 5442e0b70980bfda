"""Kernels of a GPU in its memory, by their sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..codegen.kernel_cache import Kernel
from .device import Device, DeviceError
from .kernel_cache import ENTRY, GpuKernel

Source = tuple[str, int]
"""A kernel's source, and the number of its words."""
Compile = Callable[[Sequence[Source], str], Sequence[GpuKernel]]
"""Machine code of sources for a compute capability, such as "sm_90"."""


class Modules:
    """Kernels that were loaded, which stay as long as the process does."""

    def __init__(self, device: Device, compile: Compile) -> None:
        self._device, self._compile = device, compile
        self._arch = device.capability
        self._functions: dict[Source, Any] = {}

    def load(self, sources: Sequence[Source]) -> list[Kernel]:
        """Compile what is not compiled, and load what is not loaded. Raises `DeviceError` where that fails."""
        kernels = self._compile(sources, self._arch)
        self._device.enter()
        for source, kernel in zip(sources, kernels):
            if source not in self._functions:
                self._functions[source] = self._load(kernel)
        return [Kernel(ENTRY, 0, kernel.seconds, kernel.hit, kernel.why) for kernel in kernels]

    def function(self, source: str, words: int) -> Any:
        """The function of a kernel that was loaded."""
        return self._functions[source, words]

    def _load(self, kernel: GpuKernel) -> Any:
        try:
            module = self._device.call("cuModuleLoadData", kernel.cubin.code)
            function = self._device.call("cuModuleGetFunction", module, ENTRY.encode())
            # Where modules load lazily, this loads it now: later a stream may be captured, when nothing can be loaded.
            kinds = self._device.driver.CUfunction_attribute
            self._device.call("cuFuncGetAttribute", kinds.CU_FUNC_ATTRIBUTE_NUM_REGS, function)
            return function
        except DeviceError as error:
            if self._device.closed:
                raise
            raise DeviceError(
                f"a kernel for {self._arch} does not load: {error}. Empty the cache by `gradloom cache --clear` and "
                "see whether the driver is as new as the package nvidia-nvjitlink"
            ) from error
