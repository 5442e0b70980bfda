"""Kernels of plans as machine code of a GPU, by either compiler: registers, spills, seconds. No GPU is needed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from ...passes.memory.plan import Plan
from ...passes.target import TargetError
from ...runtime.codegen.kernel_cache import KernelRequest
from ...runtime.cuda import ptx
from ...runtime.cuda.assembler import Cubin, assemble
from ...runtime.cuda.compilers import compiler
from ...runtime.cuda.kernel_cache import ENTRY
from ...runtime.cuda.ptx import ARCHITECTURES
from ...runtime.lowering.launch_list import lower
from ...runtime.lowering.namespace import kernel_namespace
from .models import model_names, plan_of
from .report import Report
from .stages import Options

COMPILERS = ("own", "numba")


@dataclass(frozen=True)
class GpuSource:
    """The source of a kernel, and how many words it takes."""

    source: str
    words: int


@dataclass(frozen=True)
class Code:
    """A kernel as a compiler made it for an architecture. `unlike` says where its text rounds otherwise than its
    source; seconds are those of the processor.
    """

    cubin: Cubin
    unlike: tuple[str, ...]
    ptx_seconds: float
    cubin_seconds: float


def kernels_of(plans: Iterable[Plan]) -> list[GpuSource]:
    """The kernels of plans for a GPU, each once, those for which libraries stand in too. Raises `TargetError` for an op
    without a kernel.
    """
    launches = (launch for plan in plans for launch, _ in lower(plan, supports=lambda call: False).launches())
    calls = (call for launch in launches for call in launch.calls)
    return list(dict.fromkeys(GpuSource(call.source, len(call.args)) for call in calls))


@cache
def compile_source(kernel: GpuSource, by: str, arch: str) -> Code:
    """The machine code of a kernel by the compiler "own" or "numba", for an architecture such as "sm_90".

    Raises `CodeError` where it is refused, and `TargetError` where a compiler or an assembler is not installed.
    """
    function = KernelRequest(kernel.source, ENTRY, kernel_namespace).function()
    chosen = compiler(by)
    start = time.process_time()
    text = chosen.compile_ptx(function, kernel.words, arch, ENTRY)
    middle = time.process_time()
    cubin = assemble(text)
    end = time.process_time()
    return Code(cubin, rounded_otherwise(text.text, asks_for_fma(kernel)), middle - start, end - middle)


@cache
def asks_for_fma(kernel: GpuSource) -> bool:
    """Whether the source itself says that products and sums are rounded together, as exponentials do."""
    function = KernelRequest(kernel.source, ENTRY, kernel_namespace).function()
    return "@llvm.fma" in re.sub('"', "", str(ptx.lower_kernel(function, kernel.words, ENTRY)))


def rounded_otherwise(text: str, fma: bool) -> tuple[str, ...]:
    """The instructions of a PTX text that round otherwise than sources say: approximations, numbers that are flushed to
    zero, what assemblers may contract, and, unless `fma` are asked for, what was contracted.

    Assemblers contract a product and a sum where neither says how it is rounded.
    """
    found = re.findall(r"^\s*(?:@!?%p\d+\s+)?((?:add|sub|mul|div|fma|mad|sqrt|rcp|rsqrt|ex2|lg2|sin|cos|tanh)\.\S+)",
                       text, re.MULTILINE)  # fmt: skip
    real = [word for word in dict.fromkeys(found) if word.endswith(("f32", "f64"))]
    plain = [word for word in real if re.fullmatch(r"(add|sub|mul)\.f(32|64)", word)]
    apart = plain if {word[:3] == "mul" for word in plain} != {True, False} else []
    return tuple(
        word
        for word in real
        if word not in apart and (".rn." not in word or "ftz" in word or (word.startswith("fma") and not fma))
    )


def run(report: Report, options: Options) -> None:
    """Kernels of the workloads by our front end for both architectures, those of the first by numba.cuda too."""
    for i, name in enumerate(model_names(options.fake)):
        kernels = kernels_of([plan_of(name)])
        for by in COMPILERS[: 1 + (i == 0)]:
            for arch in ARCHITECTURES:
                try:
                    codes = [compile_source(kernel, by, arch) for kernel in kernels]
                except TargetError as error:
                    report.lacks(f"{name} by {by} for {arch}: {error}")
                    continue
                report.row("machine code", workload=name, compiler=by, architecture=arch, **summary(codes))
                unlike = sorted({word for code in codes for word in code.unlike})
                report.check(f"{name} by {by} for {arch} rounds as it is written", not unlike, ", ".join(unlike))


def summary(codes: Sequence[Code]) -> dict[str, float]:
    """Columns of a table about kernels: registers and bytes of the worst, seconds of all."""
    cubins = [code.cubin for code in codes]
    return {
        "kernels": len(codes),
        "most registers": max((cubin.registers for cubin in cubins), default=0),
        "that spill": sum(cubin.spilled_bytes > 0 for cubin in cubins),
        "spilled bytes": max((cubin.spilled_bytes for cubin in cubins), default=0),
        "stack bytes": max((cubin.stack_bytes for cubin in cubins), default=0),
        "shared bytes": max((cubin.shared_bytes for cubin in cubins), default=0),
        "PTX s": sum(code.ptx_seconds for code in codes),
        "cubin s": sum(code.cubin_seconds for code in codes),
    }
