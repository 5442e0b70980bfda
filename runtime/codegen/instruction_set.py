"""What LLVM generates code for: the instructions of a CPU target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import llvmlite.binding as llvm

from .host import host_cpu


@dataclass(frozen=True)
class InstructionSet:
    """A kind of system, a CPU by LLVM's name, and its features beside those that the name has.

    `fused` is whether a multiply-add that is rounded once is an instruction there, `converts_f16` whether there are
    instructions from float16 to float32 and back.
    """

    triple: str
    cpu: str
    features: str
    fused: bool
    converts_f16: bool

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")


_X86 = "x86_64-unknown-linux-gnu"
_NAMED = {
    # By default LLVM halves the vectors of loops there, because some processors clock lower with whole ones.
    "avx512": InstructionSet(_X86, "x86-64-v4", "-prefer-256-bit", True, True),
    "avx512_bf16": InstructionSet(_X86, "x86-64-v4", "-prefer-256-bit,+avx512bf16", True, True),
    "avx2": InstructionSet(_X86, "x86-64-v3", "", True, True),
    "sse": InstructionSet(_X86, "x86-64-v2", "", False, False),
    "neon": InstructionSet("aarch64-unknown-linux-gnu", "generic", "+neon", True, True),
}


@cache
def instruction_set(target: str) -> InstructionSet:
    """That of a CPU target by its name. Of this machine's own target it is all that the machine has; so the code of
    another one that it runs is the same on every machine that does.
    """
    here = llvm.get_process_triple()
    if target == host_cpu():
        return _of_host(here)
    if target == "generic":
        is_arm = "aarch64" in here
        return InstructionSet(here, "x86-64" if here.startswith("x86_64") else "generic", "", is_arm, is_arm)
    named = _NAMED[target]
    same = named.triple.partition("-")[0] == here.partition("-")[0]
    return replace(named, triple=here) if same else named


def _of_host(triple: str) -> InstructionSet:
    try:
        found = llvm.get_host_cpu_features()
        features = found.flatten()
    except RuntimeError:  # LLVM cannot tell on some systems; the name must do
        found, features = {}, ""
    fused, converts = (bool(found.get(name, False)) or not triple.startswith("x86_64") for name in ("fma", "f16c"))
    return InstructionSet(triple, llvm.get_host_cpu_name(), features, fused, converts)
