"""Where the proof runs: the host, the card and its driver, what is installed, and what is left out without the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess

from ...passes.target import TargetError
from ...runtime.cuda.assembler import assembler
from ...runtime.cuda.compilers import compiler
from .report import Report
from .stages import Options

OURS = ("gradloom", "numpy", "numba", "llvmlite", "cuda-bindings", "nvidia-nvjitlink", "numba-cuda",
        "nvidia-nvvm", "nvidia-cuda-nvrtc", "nvmath-python", "nvidia-cublas", "nvidia-cudnn-cu13",
        "nvidia-cudnn-frontend")  # fmt: skip
"""Packages whose versions say what was proven."""
PEERS = {"torch": "the steps of torch, as one CUDA graph and by torch.compile", "jax": "the steps of JAX",
         "jax-cuda13-plugin": "the steps of JAX on a GPU"}  # fmt: skip
"""Packages to compare with, and what is left out without them."""


def run(report: Report, options: Options) -> None:
    """Notes of all versions; nothing of CUDA is imported for them."""
    report.note("system", platform.platform())
    report.note("python", platform.python_version())
    report.note("cores", os.cpu_count())
    versions = {package: _version(package) for package in (*OURS, *PEERS)}
    report.note("versions", {package: version for package, version in versions.items() if version})
    for package in OURS:
        if not versions[package]:
            report.lacks(f"the package {package}")
    for package, left_out in PEERS.items():
        if not versions[package]:
            report.lacks(f"the package {package}: {left_out}")
    for name in ("own", "numba"):
        try:
            report.note(f"compiler {name}", dict(compiler(name).versions))
        except TargetError as error:
            report.lacks(str(error))
    try:
        report.note("assembler", f"{assembler().name} {assembler().version}")
    except TargetError as error:
        report.lacks(str(error))
    report.note("sanitizer", shutil.which("compute-sanitizer") or "")
    report.note("nvidia-smi", _nvidia_smi())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _nvidia_smi() -> str:
    """What the driver's own program says of the cards; empty where it is not here."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = "name,driver_version,memory.total,memory.used,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current"
    done = subprocess.run([program, f"--query-gpu={asked}", "--format=csv"], capture_output=True, text=True, timeout=10)
    return (done.stdout or done.stderr).strip()
