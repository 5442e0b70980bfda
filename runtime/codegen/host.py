"""Which CPU this machine has, by the name of its instructions, and which targets it can run."""

from __future__ import annotations

import os
import platform
from functools import cache

import llvmlite.binding as llvm

_RUNS = {
    "avx512": ("avx512", "avx2", "sse", "generic"),
    "avx2": ("avx2", "sse", "generic"),
    "sse": ("sse", "generic"),
    "neon": ("neon", "generic"),
    "generic": ("generic",),
}
"""The instructions that each CPU runs: its own first."""
_BF16 = "avx512bf16"
"""The feature that "avx512_bf16" has beside those of "avx512": no machine has that target by itself."""


def code_cpu(name: str = "") -> str:
    """The name of the target whose instructions machine code has that is to run here: of `name`, by default that of
    `GRADLOOM_TARGET`, or this machine's where it cannot run that.
    """
    name = name or os.environ.get("GRADLOOM_TARGET", "").strip()
    return name if name in runnable() else host_cpu()


@cache
def _host_features() -> frozenset[str]:
    """The features of this machine's CPU by LLVM's names; none where it cannot tell."""
    try:
        return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)
    except RuntimeError:
        return frozenset()


@cache
def host_cpu() -> str:
    """The name of this machine's target, see `Target.cpu`. Only its kind is asked for: nothing is measured."""
    return cpu_of(platform.machine(), set(_host_features()))


def cpu_of(machine: str, features: set[str]) -> str:
    """The name of the target of a machine, by what the system calls it, that has these features, by LLVM's names."""
    if machine.lower() in ("aarch64", "arm64"):
        return "neon"
    if machine.lower() not in ("x86_64", "amd64"):
        return "generic"
    if "avx512f" in features:
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= features else "sse"


def runnable() -> tuple[str, ...]:
    """The names of the targets that this machine runs."""
    own, *others = _RUNS[host_cpu()]
    return (own, *others) if _BF16 not in _host_features() or own != "avx512" else (own, "avx512_bf16", *others)
