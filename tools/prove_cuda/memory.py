"""The bytes that a step takes of the card beside those that its plan says, and the same after a thousand steps."""

from __future__ import annotations

from typing import Any

import optree

from ...engine.step.compile_step import compile_step
from .gpu import Session, session
from .models import ingredients, model_names
from .report import Report
from .small import small_step, train
from .stages import Options

STEPS, FAKE_STEPS = 1000, 20
PIECE = 2 << 20
"""The driver takes memory in pieces of so many bytes: one allocation is rounded up to them."""
ALLOCATIONS = 4
"""The arena, what is held, what a program reads and writes beside them, and the code of its kernels."""


def run(report: Report, options: Options) -> None:
    """The models in turn; what a context and libraries take for themselves is there before the first of them."""
    with session(options) as gpu:
        before, total = gpu.gpu.device.free_bytes()
        report.note("taken before the first step, bytes", total - before)
        train(small_step("mlp", gpu.target), "mlp", 2)
        after = gpu.free_bytes()
        report.note("taken by code and libraries with the first step, bytes", before - after)
        for name in model_names(options.fake):
            _model(report, gpu, name, FAKE_STEPS if options.fake else STEPS)


def _model(report: Report, gpu: Session, name: str, steps: int) -> None:
    made, batch = ingredients(name)
    before = gpu.free_bytes()
    step: Any = compile_step(*made[:3], batch, target=gpu.target)
    compiled = gpu.free_bytes()
    planned = step.report.total_bytes
    taken = before - compiled
    report.check(
        f"{name}: what compiling takes is what was planned",
        0 <= taken - planned <= ALLOCATIONS * PIECE,
        f"{taken:,} of the card, {planned:,} planned",
    )
    for _ in range(10):
        loss = step(batch)
    float(loss)
    warm = gpu.free_bytes()
    for _ in range(steps if name not in ("gpt2_small", "resnet50") else steps // 20):
        loss = step(batch)
    float(loss)
    later = gpu.free_bytes()
    report.check(f"{name}: as much is free after {steps} steps more", warm == later, f"{warm:,} and {later:,} bytes")
    beside = sum(array.nbytes for array in optree.tree_leaves(batch))
    report.row("memory", model=name, planned=planned, taken=taken, graphs_and_batch=compiled - warm, batch=beside)
