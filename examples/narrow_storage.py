"""What a GPT loses, and what it saves, where values of two bytes are stored: 200 steps on Python's documentation for
each kind, beside float32.

    python examples/narrow_storage.py
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import gradloom as gl
import numpy as np
from gradloom.tools.recipes.characters import loss
from gradloom.tools.recipes.corpus import Corpus, python_documentation
from gradloom.tools.recipes.gpt import Settings

KINDS: dict[str, str | dict[str, str]] = {
    "fp32": "fp32",
    "kept bf16": {"kept": "bf16"},
    "kept fp16": {"kept": "fp16"},
    "moments bf16": {"moments": "bf16"},
    "moments fp16": {"moments": "fp16"},
    "parameters bf16": {"parameters": "bf16"},
    "parameters fp16": {"parameters": "fp16"},
    "all three bf16": {"kept": "bf16", "moments": "bf16", "parameters": "bf16"},
    "all three fp16": {"kept": "fp16", "moments": "fp16", "parameters": "fp16"},
    "products bf16": "bf16",
    "products fp16": "fp16",
}
_LAST = 20
"""Losses that are averaged at the end of a run."""


def losses(precision: str | Mapping[str, str], steps: int = 200) -> tuple[list[float], gl.MemoryReport]:
    """The loss of each step of a run, and the memory of the step."""
    settings = Settings()
    corpus = Corpus(python_documentation(), settings.context)
    batches = [corpus.batch(settings.batch_size, settings.seed, step) for step in range(steps)]
    model, optimizer = settings.model(len(corpus.characters)), settings.optimizer(steps)
    step = gl.compile_step(model, loss, optimizer, batches[0], clip_norm=settings.clip_norm, precision=precision)
    return [float(np.ravel(step(batch))[0]) for batch in batches], step.report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    print(f"{'':16}  loss at the end  of fp32  params    state     arena     total")
    exact = 0.0
    for name, precision in KINDS.items():
        run, report = losses(precision, steps)
        end = float(np.mean(run[-_LAST:]))
        exact = exact or end
        parts = (report.parameter_bytes, report.state_bytes, report.arena_bytes, report.total_bytes)
        megabytes = "  ".join(f"{n / 1e6:5.2f} MB" for n in parts)
        print(f"{name:16}  {end:15.4f}  {end / exact - 1:+7.2%}  {megabytes}")


if __name__ == "__main__":
    main()
