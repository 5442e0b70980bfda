"""The compilers of GPU kernels: our front end, and numba.cuda. `GRADLOOM_FRONT_END` picks one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import llvmlite
import llvmlite.binding as llvm

from ...passes.target import TargetError
from ..codegen.front_end import NUMBA, OWN, front_end
from . import ptx
from .ptx import Ptx


class CompilePtx(Protocol):
    """The kernel of a function of a block of so many words, for an architecture; see `ptx.compile_ptx`."""

    def __call__(self, function: Callable[..., Any], words: int, arch: str, entry: str = "kernel") -> Ptx: ...


@dataclass(frozen=True)
class Compiler:
    """What makes PTX of a kernel. `versions` are all that its text depends on beside the source and our own code, as
    pairs of a name and a text.
    """

    name: str
    versions: tuple[tuple[str, str], ...]
    compile_ptx: CompilePtx


def compiler(name: str | None = None) -> Compiler:
    """The compiler "own" or "numba"; without a name the one that `GRADLOOM_FRONT_END` says.

    Raises `TargetError` where numba.cuda, or what it needs, is not installed, and `FrontEndError` as `front_end` does.
    """
    return {OWN: _own, NUMBA: _numba}[front_end() if name is None else name]()


@cache
def _own() -> Compiler:
    versions = ("llvmlite", llvmlite.__version__), ("LLVM", ".".join(map(str, llvm.llvm_version_info)))
    return Compiler(OWN, versions, ptx.compile_ptx)


@cache
def _numba() -> Compiler:
    try:
        found: Any = importlib.import_module(".numba_ptx", __package__)
        return Compiler(NUMBA, found.versions(), found.compile_ptx)
    except Exception as error:  # a package is missing, or a library that it loads: many kinds
        raise TargetError(
            f"GPU kernels through numba.cuda need the packages numba-cuda, nvidia-nvvm and nvidia-cuda-nvrtc: {error}; "
            f"pip install 'gradloom[cuda]', or write GRADLOOM_FRONT_END={OWN} for the front end that needs none of them"
        ) from error
