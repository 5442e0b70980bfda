"""A kernel as PTX: from its Python source through our front end and LLVM's NVPTX, without a GPU and without CUDA.

A kernel is `def kernel(b)` as on the CPU. Its words become parameters of 64 bits in their order; one more holds the
address of the word for errors, to which a code goes that the kernel returns, unless one stands there. Every operation
is rounded as it is written: products and sums are not contracted, quotients and roots are those of IEEE 754.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from ..codegen.arithmetic import Unsupported, Value
from ..codegen.gpu_natives import trap
from ..codegen.natives import WORD
from ..codegen.python_to_llvm import Lowering
from .nvptx_natives import NVPTX, parameter_words

TRIPLE = "nvptx64-nvidia-cuda"
PTX_VERSION = "8.0"
"""Drivers since 525 load it."""
ARCHITECTURES = ("sm_80", "sm_90")
"""Those that kernels are tested for."""


MOST_WORDS = 511
"""Parameters of a kernel take 4096 bytes at most, 8 of them the address of the error word."""


class CodeError(RuntimeError):
    """A kernel could not be compiled for a GPU."""


@dataclass(frozen=True)
class Ptx:
    """The text of a kernel, `entry` its name in it. It takes `words` parameters and the address of the error word."""

    entry: str
    arch: str
    words: int
    text: str


def compile_ptx(function: Callable[..., Any], words: int, arch: str, entry: str = "kernel") -> Ptx:
    """The kernel of a Python function of a block of so many words, for an architecture such as "sm_90".

    The same function gives the same text. Raises `CodeError` where it is not in the part of Python that the front end
    knows, or calls what a GPU has not.
    """
    try:
        text = _emit(lower_kernel(function, words, entry), arch)
    except Unsupported as error:
        raise CodeError(f"the kernel {function.__name__} has no code for {arch}: {error}") from None
    return Ptx(entry, arch, words, text)


def lower_kernel(function: Callable[..., Any], words: int, entry: str = "kernel") -> ir.Module:
    """A module with the kernel `void entry(i64, ..., i64)`: its words, and the address of the error word.

    Raises `Unsupported`.
    """
    if words > MOST_WORDS:
        raise Unsupported(f"{words} arguments, more than {MOST_WORDS}")
    module = ir.Module(entry)
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * (words + 1)), entry)
    kernel.calling_convention = "ptx_kernel"
    builder = ir.IRBuilder(kernel.append_basic_block())
    lowering = Lowering(builder, NVPTX)
    result = lowering.inline(function, [Value("i64*", parameter_words(builder, words))])
    if result.type != "none":
        code = lowering.convert(result, "i64")
        with builder.if_then(lowering.nonzero(code)):
            NVPTX.natives[trap].emit(builder, code.llvm)
    builder.ret_void()
    return module


@cache
def _target_machine(arch: str) -> Any:
    """LLVM's code generator for an architecture. Raises `CodeError` where this LLVM has none for it."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(TRIPLE)
    except RuntimeError as error:
        raise CodeError(f"llvmlite {llvm.llvm_version_info} has no code generator for NVIDIA GPUs: {error}") from None
    return target.create_target_machine(cpu=arch, features=f"+ptx{PTX_VERSION.replace('.', '')}", opt=3)


def _known(function: str) -> bool:
    """Whether a function that a module only declares is an instruction of a GPU."""
    return function.startswith("llvm.") and not function.startswith(("llvm.x86.", "llvm.aarch64."))


def _emit(module: ir.Module, arch: str) -> str:
    machine = _target_machine(arch)
    # Before it is parsed: then an access takes its alignment from the layout, by default 4 bytes for an i64.
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    # LLVM ends the process where it cannot select an instruction of another machine.
    absent = [f.name for f in parsed.functions if f.is_declaration and not _known(f.name)]
    if absent:
        raise Unsupported(f"a call of {', '.join(absent)}")
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = False  # a thread has no vectors
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    text = machine.emit_assembly(parsed)
    if re.search(r"^\s*call", text, re.MULTILINE):  # everything else was put inline
        raise Unsupported("a call by address")
    return text
