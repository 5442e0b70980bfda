"""Every row of the table of ops on the GPU: the emulator's bits, and the interpreter's numbers to rounding.

What the emulator computes comes from other processes, which leave the machine code for the GPU in the kernel cache.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from ...ir import OPS, Array
from ...passes.pipeline import plan_graph
from ...passes.target import Target, TargetError
from ...runtime.cuda.kernel_cache import compile_kernels
from .gpu import Session, session
from .kernels import kernels_of
from .report import Report
from .rows import rows_by_op, run_graph, tests_module
from .stages import Options

FAKE = ("mul", "reduce_sum", "gather")
"""Ops that the fake driver runs."""
MOST_PROCESSES = 8
MOST_TOLD = 20
"""Rows that are wrong of an op."""

Rows = list[tuple[int, list[Array]]]
"""The numbers of rows, each with what the emulator computes."""


def run(report: Report, options: Options) -> None:
    """Op after op."""
    try:
        rows = rows_by_op()
    except FileNotFoundError as error:
        report.lacks(str(error))
        return
    with session(options) as gpu:
        for name, emulated in _emulated(list(FAKE if options.fake else rows), gpu, options.fake):
            if not emulated:
                report.lacks(f"{name}: no kernel on a GPU")
                continue
            wrong = _wrong(rows[name], emulated, gpu.own)
            report.check(f"{name}: {len(emulated)} rows", not wrong, "; ".join(wrong[:MOST_TOLD]))
            if gpu.target.libraries and OPS[name].is_contraction:
                wrong = _by_libraries(rows[name], gpu.target)
                report.check(f"{name} by libraries: {len(rows[name])} rows", not wrong, "; ".join(wrong[:MOST_TOLD]))


def _emulated(names: Sequence[str], gpu: Session, fake: bool) -> Iterator[tuple[str, Rows]]:
    """Ops with what the emulator computes, in the order of `names`."""
    if fake:
        yield from ((name, emulated_rows(name, gpu.emulated, "")) for name in names)
        return
    arch, processes = gpu.gpu.device.capability, min(MOST_PROCESSES, os.cpu_count() or 1)
    # Spawned: CUDA does not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        futures = {name: pool.submit(emulated_rows, name, gpu.emulated, arch) for name in names}
        yield from ((name, future.result()) for name, future in futures.items())


def emulated_rows(name: str, target: Target, arch: str) -> Rows:
    """What the emulator computes of the rows of an op that have kernels, whose machine code for an architecture, if
    one is given, is then in the kernel cache.
    """
    found: Rows = []
    for i, case in enumerate(rows_by_op()[name]):
        made = tests_module("op_programs").plain([case])
        graph = made.b.graph(made.outputs)
        try:
            kernels = kernels_of([plan_graph(graph, target=target)]) if arch else []
            compile_kernels([(kernel.source, kernel.words) for kernel in kernels], arch)
            found.append((i, run_graph(graph, made.arrays, target)))
        except TargetError:
            continue
    return found


def _wrong(cases: Sequence[Any], emulated: Rows, target: Target) -> list[str]:
    """Rows that the GPU computes otherwise than the emulator in any bit, or than the interpreter beyond rounding."""
    wrong: list[str] = []
    for i, expected in emulated:
        made = tests_module("op_programs").plain([cases[i]])
        found = run_graph(made.b.graph(made.outputs), made.arrays, target)
        if any(one.tobytes() != other.tobytes() for one, other in zip(found, expected, strict=True)):
            wrong.append(f"{cases[i]}: other bits than the emulator's")
        wrong += made.wrong_rows(lambda *_, found=found: found)
    return wrong


def _by_libraries(cases: Sequence[Any], target: Target) -> list[str]:
    """Rows that libraries compute otherwise than the interpreter beyond rounding."""
    made = tests_module("op_programs").plain(cases)
    return made.wrong_rows(lambda graph, *arrays: run_graph(graph, arrays, target))
