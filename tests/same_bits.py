"""One training step compiled in several ways: the bits of its losses and parameters must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gradloom.engine.step import compile_step


def assert_same_bits(
    arguments: Callable[[], tuple[Any, ...]], batches: list[Any], ways: Iterable[tuple[int, Any]]
) -> None:
    """Run the step of `arguments()` over `batches` for each of `ways`, which are threads and a budget."""
    results = []
    for threads, memory in ways:
        step = compile_step(*arguments(), threads=threads, memory=memory, seed=3)
        losses = [step(batch) for batch in batches]
        results.append((losses, step.parameters()))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, results[0][1][name])
