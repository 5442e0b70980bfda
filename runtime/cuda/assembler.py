"""Machine code of a GPU from PTX, by CUDA's own assembler: the library nvJitLink, or the program ptxas.

No GPU is needed. nvJitLink comes with the extra `cuda`, ptxas with a CUDA toolkit; neither is looked for before
something is assembled.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...passes.target import TargetError
from .ptx import CodeError, Ptx


@dataclass(frozen=True)
class Cubin:
    """Machine code of a kernel. A thread uses so many registers; `spilled_bytes` of it are in memory instead.

    `shared_bytes` is the memory that the threads of a block share, `stack_bytes` what a thread has of its own.
    """

    code: bytes
    registers: int
    spilled_bytes: int
    shared_bytes: int
    stack_bytes: int = 0


@dataclass(frozen=True)
class Assembler:
    """A program or library that makes machine code of PTX. `assemble` of a text and an architecture gives the code, and
    what it says of it.
    """

    name: str
    version: str
    assemble: Callable[[str, str], tuple[bytes, str]]


def assemble(ptx: Ptx) -> Cubin:
    """The machine code of a kernel. Raises `CodeError` where it is refused, and `TargetError` as `assembler` does."""
    code, log = assembler().assemble(ptx.text, ptx.arch)
    return Cubin(code, _number(r"Used (\d+) registers", log), _number(r"(\d+) bytes spill stores", log),
                 _number(r"(\d+) bytes smem", log), _number(r"(\d+) bytes stack frame", log))  # fmt: skip


@cache
def assembler() -> Assembler:
    """nvJitLink, or else ptxas. Raises `TargetError` where there is neither."""
    found = _nvjitlink() or _ptxas()
    if found is None:
        raise TargetError(
            "machine code of a GPU needs nvJitLink or ptxas, and neither is here: pip install 'gradloom[cuda]', or "
            "install a CUDA toolkit and put its ptxas into PATH"
        )
    return found


def _number(pattern: str, log: str) -> int:
    found = re.search(pattern, log)
    return int(found[1]) if found else 0


def _nvjitlink() -> Assembler | None:
    try:
        library: Any = importlib.import_module("cuda.bindings.nvjitlink")
        version = ".".join(map(str, library.version()))
    except (ImportError, RuntimeError):  # the package finds no library: a RuntimeError
        return None

    def text(size: Callable[[Any], int], read: Callable[[Any, Any], Any], handle: Any) -> str:
        buffer = bytearray(size(handle))
        read(handle, buffer)
        return buffer.rstrip(b"\0").decode(errors="replace")

    def run(ptx: str, arch: str) -> tuple[bytes, str]:
        options, data = [f"-arch={arch}", "-verbose"], ptx.encode()
        handle = library.create(len(options), options)
        try:
            library.add_data(handle, library.InputType.PTX, data, len(data), "kernel")
            library.complete(handle)
            code = bytearray(library.get_linked_cubin_size(handle))
            library.get_linked_cubin(handle, code)
            return bytes(code), text(library.get_info_log_size, library.get_info_log, handle)
        except library.nvJitLinkError as error:
            why = text(library.get_error_log_size, library.get_error_log, handle)
            raise CodeError(f"nvJitLink {version} refuses a kernel for {arch}: {why.strip() or error}") from None
        finally:
            library.destroy(handle)

    return Assembler("nvJitLink", version, run)


def _ptxas() -> Assembler | None:
    program = shutil.which("ptxas")
    if program is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"V([\d.]+)", told)

    def run(ptx: str, arch: str) -> tuple[bytes, str]:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
            given.write_text(ptx)
            command = [program, f"-arch={arch}", "-v", str(given), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CodeError(f"ptxas refuses a kernel for {arch}: {done.stderr.strip()}")
            return made.read_bytes(), done.stderr

    return Assembler("ptxas", version[1] if version else told.strip(), run)
