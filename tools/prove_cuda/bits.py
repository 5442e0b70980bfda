"""Training steps on the GPU beside those of the emulator: the same bits by kernels of our own, by libraries the same
numbers to rounding and the same bits every time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...engine.step.compile_step import plan_step
from ...engine.step.refusal import MemoryBudgetError
from ...ir import Array
from ...passes.target import Target
from .gpu import Session, session
from .report import Report
from .small import SMALL, small_step, train
from .stages import Options

STEPS = (1, 10)
TOLERANCE = 1e-4
"""Of losses of the first steps with libraries, whose sums have another order, relative to the emulator's."""

_COMPARED = 3


def run(report: Report, options: Options) -> None:
    """Each small model in turn."""
    with session(options) as gpu:
        for name in ("mlp",) if options.fake else SMALL:
            _own_kernels(report, gpu, name)
            _budgets(report, gpu, name)
            if gpu.target.libraries:
                _libraries(report, gpu, name)
        if not gpu.target.libraries:
            report.lacks("cuBLASLt and cuDNN: steps ran by kernels of our own alone")


def _own_kernels(report: Report, gpu: Session, name: str) -> None:
    for steps in STEPS:
        expected = train(small_step(name, gpu.emulated), name, steps)
        found = train(small_step(name, gpu.own), name, steps)
        different = unequal(found, expected)
        report.check(f"{name}: {steps} steps have the bits of the emulator", not different, different)


def _budgets(report: Report, gpu: Session, name: str) -> None:
    """A budget changes order and schedule of what runs, and no bit."""
    for kind, target in (("own kernels", gpu.own), ("libraries", gpu.target)):
        if kind == "libraries" and not target.libraries:
            continue
        plain = small_step(name, target)
        expected = train(plain, name, _COMPARED)
        for memory in budgets(name, target, plain.report.total_bytes):
            step = small_step(name, target, memory=memory)
            if step.report.other_bits:
                report.note(f"{name} by {kind} in {memory:,} bytes", "runs in smaller tiles, with bits of their own")
                continue
            different = unequal(train(step, name, _COMPARED), expected)
            report.check(f"{name} by {kind}: the same bits in {memory:,} bytes", not different, different)


def budgets(name: str, target: Target, most: int) -> list[int]:
    """The least bytes that a small model trains in, and half way from there to what it takes without a budget."""
    made = SMALL[name]()
    try:
        plan_step(*made[:3], made.batch, target=target, memory=1)
    except MemoryBudgetError as error:
        least = error.least_bytes
        return sorted({least, (least + most) // 2} - {most})
    return []


def _libraries(report: Report, gpu: Session, name: str) -> None:
    expected = train(small_step(name, gpu.emulated), name, _COMPARED)
    first, second = (train(small_step(name, gpu.target), name, _COMPARED) for _ in range(2))
    different = unequal(first, second)
    report.check(f"{name} by libraries: two runs have the same bits", not different, different)
    apart = float(np.max(np.abs(first["losses"] / expected["losses"] - 1)))
    report.check(f"{name} by libraries: losses within rounding", apart < TOLERANCE, f"{apart:.1e} apart")


def unequal(found: Mapping[str, Array], expected: Mapping[str, Array]) -> str:
    """What has other bits, in words; empty where nothing has."""
    said: list[str] = []
    for key in expected:
        one, other = np.asarray(found[key]), np.asarray(expected[key])
        if one.tobytes() != other.tobytes():
            said.append(f"{key}: {int(np.sum(one != other))} of {one.size} elements")
    return "; ".join(said[:5])
