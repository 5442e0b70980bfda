"""A replay on one core and on two takes what the step really takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import gradloom as gl
import numpy as np
import optree
import pytest
from gradloom import nn
from gradloom.engine.step import core_times as subject
from gradloom.engine.step.step import Step
from gradloom.ir import ArrayType, type_of
from gradloom.tools.bench.machine import Clocks, Noise, bandwidth_of_core, usable_cores
from gradloom.tools.find_recipe import make_recipe
from gradloom.tools.training_data import RandomBatches


def steps_of(recipe: str) -> tuple[Any, Any]:
    """A function that compiles the step for so many threads, and a batch."""
    batch = make_recipe(recipe).batch
    specs = optree.tree_map(lambda leaf: leaf if isinstance(leaf, ArrayType) else type_of(leaf), batch)

    def make(threads: int) -> Step:
        made = make_recipe(recipe)
        return gl.compile_step(made.model, made.loss_fn, made.optimizer, specs, threads=threads)

    return make, next(RandomBatches(specs, seed=0).epoch(0))


def test_a_step_that_waits_for_a_flag_is_replayed_as_often_as_it_ran(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subject, "_SECONDS", 0.0)

    class Model(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(256, 256)

        def forward(self, x: Any) -> Any:
            return self.linear(x)

    def loss_fn(model: Any, batch: Any) -> Any:
        counted = gl.while_loop(lambda i: i < 5.0, lambda i: i + 1.0, batch[0, 0] * 0.0)
        return np.mean(np.tanh(model(model(batch))) ** 2) + 0.0 * gl.stop_gradient(counted)

    batch = np.ones((256, 256), np.float32)
    made = gl.compile_step(Model(), loss_fn, gl.optim.SGD(0.1), batch, threads=2)
    found = subject.core_times(lambda threads: made, batch, [1, 2], lambda n: 10.0)
    one, two = found.times
    assert one.nanoseconds > 0.0
    assert one.work == pytest.approx(2 * two.work)
    assert two.barriers > 0.0


def interleaved(steps: list[Step], batch: Any, rounds: int) -> Iterator[list[float]]:
    """What each step takes in each of so many rounds, in turn."""
    for _ in range(rounds):
        taken: list[float] = []
        for step in steps:
            begun = time.perf_counter()
            for _ in range(3):
                step(batch)
            taken.append((time.perf_counter() - begun) / 3)
        yield taken


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="there is one core")
@pytest.mark.parametrize("recipe", ["mlp_m", "mlp_l", "gpt", "cnn", "lstm_bench"])
def test_one_and_two_threads_take_what_is_predicted(recipe: str):
    make, batch = steps_of(recipe)
    bandwidth = 1e-9 * bandwidth_of_core()
    found = subject.core_times(make, batch, [1, 2], lambda n: n * bandwidth)
    steps = [make(1), make(2)]
    for step in steps:
        step(batch)
    begun = Clocks.now()
    taken = list(interleaved(steps, batch, 15))
    if noise := Noise.between(begun, Clocks.now()).complaints({}):
        pytest.skip(f"a noisy machine: {'; '.join(noise)}")
    for i, predicted in enumerate(found.times):
        measured = statistics.median(round[i] for round in taken)
        share = 1e-9 * predicted.nanoseconds / measured
        print(f"{recipe} on {i + 1}: predicted {predicted.nanoseconds / 1e6:.3g} ms, took {1e3 * measured:.3g} ms")
        assert 0.9 < share < 1.1
