"""Machine code of GPU kernels from their sources, kept on disk beside the CPU's between processes.

A file is named by what its bytes depend on: the source, the architecture, all code that kernels call or are made by,
which compiler made it (`GRADLOOM_FRONT_END`), and the versions of that compiler and of CUDA's assembler.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..codegen import disk_cache
from ..codegen.front_end import front_end
from ..codegen.kernel_cache import KernelRequest, code_salt
from ..lowering.namespace import kernel_namespace
from .assembler import Cubin, assemble, assembler
from .compilers import compiler
from .ptx import PTX_VERSION, Ptx


@dataclass(frozen=True)
class GpuKernel:
    """The machine code of the kernel of a source.

    `seconds` is what it took to read it or to compile it, `hit` is whether it came from the disk, and `why` says why
    not, or why it was not kept there.
    """

    source: str
    cubin: Cubin
    seconds: float
    hit: bool
    why: str


ENTRY = "kernel"
"""The name of every kernel in its machine code."""

_kernels: dict[tuple[str, int, str, str], GpuKernel] = {}
"""By source, words, architecture and front end."""


def compile_kernels(sources: Iterable[tuple[str, int]], arch: str) -> list[GpuKernel]:
    """The kernels of sources, each with the number of its words, for an architecture such as "sm_90".

    Equal sources give the same kernel, compiled once. Raises `TargetError` where CUDA's assembler is missing, or the
    compiler that `GRADLOOM_FRONT_END` names, and `CodeError` for what a GPU cannot run.
    """
    sources, by = list(sources), front_end()
    status = disk_cache.cache_status()
    for source, words in dict.fromkeys(sources):
        if (source, words, arch, by) not in _kernels:
            _kernels[source, words, arch, by] = _obtain(source, words, arch, status)
    return [_kernels[source, words, arch, by] for source, words in sources]


def ptx_of(source: str, words: int, arch: str) -> Ptx:
    """The PTX of the kernel of a source, by the compiler that `GRADLOOM_FRONT_END` names."""
    request = KernelRequest(source, ENTRY, kernel_namespace)
    return compiler().compile_ptx(request.function(), words, arch, ENTRY)


def _obtain(source: str, words: int, arch: str, status: disk_cache.CacheStatus) -> GpuKernel:
    start = time.perf_counter()
    key, why, found = _key(source, words, arch), status.why, None
    if status.folder is not None:
        data, why = disk_cache.read(status.folder, key)
        found = None if data is None else _unpacked(data)
    if found is not None:
        return GpuKernel(source, found, time.perf_counter() - start, True, "")
    cubin = assemble(ptx_of(source, words, arch))
    if status.folder is not None:
        why = disk_cache.write(status.folder, key, _packed(cubin), []) or why
    return GpuKernel(source, cubin, time.perf_counter() - start, False, why)


def _key(source: str, words: int, arch: str) -> disk_cache.Key:
    tool = assembler()
    compilers = (*compiler().versions, ("assembler", f"{tool.name} {tool.version}"))
    return disk_cache.key(source, ENTRY, f"{arch}, {words} words, PTX {PTX_VERSION}", code_salt(), compilers)


def _packed(cubin: Cubin) -> bytes:
    figures = {name: value for name, value in asdict(cubin).items() if name != "code"}
    return json.dumps(figures).encode() + b"\n" + cubin.code


def _unpacked(data: bytes) -> Cubin:
    figures, _, code = data.partition(b"\n")
    return Cubin(code, **json.loads(figures))
