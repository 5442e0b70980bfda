"""A step on a machine where others compute: it does not hang, and the bits are the same."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from child_processes import BUSY, started
from gradloom import nn, optim


def make(width: int) -> tuple[gl.Step, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((128, 256), np.float32), "y": rng.integers(0, 10, 128)}
    model = nn.Sequential(nn.Linear(256, width), nn.ReLU(), nn.Linear(width, 10))

    def loss(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    return gl.compile_step(model, loss, optim.AdamW(1e-3), batch, threads=2), batch


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that compute all the time."""
    with started(*[BUSY] * processes):
        time.sleep(0.2)
        yield


@pytest.mark.parametrize("others", [1, 2 * (os.cpu_count() or 1)])
def test_a_step_ends_and_has_the_same_bits_beside_busy_processes(others: int):
    alone, batch = make(512)
    expected = [alone(batch) for _ in range(50)]
    shared, _ = make(512)
    with busy(others):
        assert [shared(batch) for _ in range(50)] == expected


def test_two_steps_run_at_once_beside_a_busy_process():
    made = [make(width) for width in (256, 512)]
    expected = [[step(batch) for _ in range(50)] for step, batch in made]
    again = [make(width) for width in (256, 512)]
    found: list[list[Any]] = [[], []]

    def train(i: int) -> None:
        step, batch = again[i]
        found[i] += [step(batch) for _ in range(50)]

    threads = [threading.Thread(target=train, args=(i,), daemon=True) for i in range(2)]
    with busy(1):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert found == expected


@pytest.mark.slow
def test_one_busy_process_costs_at_most_as_much_as_its_share():
    """On a quiet machine of two cores: 2.2 times the quiet step."""
    step, batch = make(2048)

    def median(seconds: float) -> float:
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            begun = time.perf_counter()
            step(batch)
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    quiet = min(median(1.0) for _ in range(3))
    with busy(1):
        assert median(3.0) < 2.2 * quiet
