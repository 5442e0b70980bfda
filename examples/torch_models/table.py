"""The table of docs/from_torch.md: architectures of `transformers` beside torch, a row each, as Markdown.

`python examples/torch_models/table.py [NAME ...]` prints it; it needs the extra `peers`. Losses and gradients are
compared in float64, bytes and times are of float32 on one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import torch
from gradloom.examples.torch_models.architectures import ALL, batch_of, built
from gradloom.tools.bench.torch_side import peak_bytes

STEPS = 10
ROUNDS = 7
HEAD = "| architecture | loss | gradient | export | plan | bytes | of torch's | step | of torch's |"


class Both:
    """A module, its export, and both optimizers, on one batch."""

    def __init__(self, name: str, dtype: Any) -> None:
        self.module = built(name).to(dtype).train()
        given = batch_of(name)
        self.arguments = {
            key: value.to(dtype) if hasattr(value, "dtype") and value.is_floating_point() else value
            for key, value in given.items()
        }
        self.batch = {key: value for key, value in self.arguments.items() if hasattr(value, "dtype")}
        begun = time.process_time()
        self.model, self.loss_fn = gl.from_torch_loss(self.module, **self.arguments)
        self.export_seconds = time.process_time() - begun
        self.optimizer = torch.optim.AdamW(self.module.parameters(), 1e-3)

    def torch_step(self) -> float:
        """One step of torch."""
        self.optimizer.zero_grad()
        loss = self.module(**self.arguments).loss
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def step(self) -> Any:
        """The compiled step."""
        return gl.compile_step(self.model, self.loss_fn, gl.optim.AdamW(1e-3), self.batch, threads=1)


def agreement(name: str) -> tuple[float, float]:
    """The largest relative differences in float64: of the loss in ten steps, of the gradients in the first."""
    both = Both(name, torch.float64)
    step = both.step()
    gradients = step.gradients(both.batch)
    both.module(**both.arguments).loss.backward()
    by_gradient = 0.0
    for key, ours in gradients.items():
        theirs = both.module.get_parameter(key).grad
        expected = np.zeros(ours.shape) if theirs is None else theirs.numpy()
        largest = np.abs(expected).max(initial=0) + 1e-3
        by_gradient = max(by_gradient, float(np.abs(ours - expected).max(initial=0) / largest))
    losses = [(float(step(both.batch)), both.torch_step()) for _ in range(STEPS)]
    return max(abs(ours - theirs) / max(1, abs(theirs)) for ours, theirs in losses), by_gradient


def seconds(run: Callable[[], Any]) -> float:
    """Processor time of one call."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def row(name: str) -> str:
    """A row of the table."""
    by_loss, by_gradient = agreement(name)
    both = Both(name, torch.float32)
    optimizer = gl.optim.AdamW(1e-3)
    begun = time.process_time()
    report = gl.plan_step(both.model, both.loss_fn, optimizer, both.batch, threads=1).report
    plan_seconds = time.process_time() - begun
    step = both.step()
    held = sum(p.nbytes * (3 if p.requires_grad else 1) for p in both.module.parameters())
    both.torch_step()
    theirs = held + peak_bytes(both.torch_step)
    step(both.batch)
    rounds = [(seconds(lambda: step(both.batch)), seconds(both.torch_step)) for _ in range(ROUNDS)]
    ratio = statistics.median(ours / theirs for ours, theirs in rounds)
    milliseconds = 1e3 * statistics.median(ours for ours, _ in rounds)
    return (
        f"| {name} | {by_loss:.0e} | {by_gradient:.0e} | {both.export_seconds:.1f} s | {plan_seconds:.1f} s | "
        f"{report.total_bytes / 1e6:.2f} MB | {report.total_bytes / theirs:.2f} | {milliseconds:.2f} ms | {ratio:.2f} |"
    )


def main() -> None:
    """Print the rows of the architectures that are named, or of all."""
    torch.set_num_threads(1)
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    for name in sys.argv[1:] or ALL:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
