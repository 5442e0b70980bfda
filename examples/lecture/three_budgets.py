"""One training run under three budgets: the same bits, in less memory and more time."""

from __future__ import annotations

import time

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "Three budgets, one result"
CLAIM = """Big memory is necessary: a smaller batch, accumulated gradients or recomputed activations buy it with time.
What is recomputed changes no number."""


def run(setting: Setting) -> Outcome:
    """Train a deep network without a budget, and under two that need recomputing."""
    x, y, *_ = setting.images()
    size, steps = min(512, len(x)), setting.of(60, 400)
    sizes, batch = [x.shape[1], *[128] * 10, 10], batch_spec(size, x.shape[1])
    free = gl.plan_step(perceptron(sizes), classifier_loss, gl.optim.AdamW(1e-3), batch)
    points = free.curve(12)
    least = points[-1].total_bytes
    budgets = [None, (free.report.total_bytes + least) // 2, least]
    rows, losses = [], []
    for memory in budgets:
        model, optimizer = perceptron(sizes), gl.optim.AdamW(1e-3)
        step = gl.compile_step(model, classifier_loss, optimizer, batch, memory, seed=setting.seed)
        step({"x": x[:size], "y": y[:size]})
        began = time.process_time()
        for _ in range(steps):
            loss = step({"x": x[:size], "y": y[:size]})
        milliseconds = (time.process_time() - began) / steps * 1e3
        losses.append([loss, *step.parameters().values()])
        name = "none" if memory is None else f"{memory / 1e6:.2f} MB"
        report = step.report
        rows.append([name, report.total_bytes / 1e6, report.recompute_flops / 1e6, milliseconds, repr(float(loss))])
    same = all(np.array_equal(a, b) for other in losses[1:] for a, b in zip(losses[0], other))
    less = 1 - rows[-1][1] / rows[0][1]
    seen = f"The smallest plan takes {less:.0%} less memory than the one without a budget. "
    word = "the same" if same else "not the same"
    seen += f"Loss and parameters after {steps} steps are {word}, bit for bit, in all three."
    curve = ([p.total_bytes / 1e6 for p in points], [100 * p.slowdown for p in points])
    panel = Panel("time against memory", "bytes of the step, MB", "predicted slowdown, %", {"plans": curve})
    columns = ["budget", "total, MB", "recomputed, MFLOP", "ms a step", "final loss"]
    return Outcome(columns, rows, seen, same and less > 0, [panel])
