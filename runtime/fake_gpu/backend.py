"""The backend of NVIDIA GPUs over a driver that is none, whose kernels the emulator runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..cuda.assembler import Cubin
from ..cuda.backend import CudaBackend
from ..cuda.kernel_cache import GpuKernel
from ..cuda.libraries import Libraries
from .driver import FakeDriver, image


def fake_cuda(driver: FakeDriver, libraries: Mapping[str, Any] | None = None, nccl: Any = None) -> CudaBackend:
    """A backend that works with a fake driver, and without libraries, or with what stands for them by name, and for
    NCCL's bindings.
    """
    return CudaBackend(driver, _compile, Libraries(libraries or {}), nccl)


def _compile(sources: Sequence[tuple[str, int]], arch: str) -> list[GpuKernel]:
    start = time.perf_counter()
    return [
        GpuKernel(source, Cubin(image(source, words), 0, 0, 0), time.perf_counter() - start, False, "it is a fake")
        for source, words in sources
    ]
