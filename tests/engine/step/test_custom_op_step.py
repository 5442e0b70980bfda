"""Kernels of users in training steps: bits under budgets and threads, tiles of the batch, bytes, and targets."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from user_kernels import gated, scaled_mish, stencil, tempered_softmax

ROWS = 512


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 64), nn.Linear(64, 5)

    def forward(self, x: Any) -> Any:
        assert self.first.bias is not None
        hidden = gated(scaled_mish(self.first(x)), self.first.bias * 1.5 + 1)
        return self.last(tempered_softmax(hidden, temperature=2.0) * 50)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


RANDOM = np.random.default_rng(0)
BATCH = {"x": RANDOM.normal(size=(ROWS, 16)).astype(np.float32), "y": RANDOM.integers(0, 5, ROWS)}


def trained(**options: Any) -> tuple[list[float], dict[str, Any], gl.Step]:
    step = gl.compile_step(Model(), loss_fn, gl.optim.AdamW(0.01), BATCH, **options)
    losses = [float(step(BATCH)) for _ in range(3)]
    return losses, step.parameters(), step


def test_bits_depend_on_neither_threads_nor_the_budget_and_bytes_are_as_predicted():
    losses, parameters, step = trained(threads=1)
    assert losses[2] < losses[0]
    budget = step.report.total_bytes  # three workers have more scratch than that
    for options in ({"threads": 3}, {"threads": 3, "memory": budget}):
        others, values, other = trained(**options)
        if "memory" in options and "tiles of" in other.report.other_bits:
            continue  # on some targets nothing else fits
        assert others == losses, options
        for name, value in parameters.items():
            np.testing.assert_array_equal(values[name], value)
        other.report.check()
        assert "smaller tiles" not in str(other.report)
    assert other.report.total_bytes <= budget


def test_the_batch_is_cut_where_rows_are_declared():
    batch = {"x": gl.spec((4096, 16)), "y": gl.spec(4096, "int64")}
    plan = gl.plan_step(Model(), loss_fn, gl.optim.SGD(0.1), batch)
    values = [value for value in plan.report.values if "softmax" in value.name or "gated" in value.name]
    assert plan.report.arena_bytes < 4096 * 64 * 4
    assert all(value.bytes <= 4096 * 64 * 4 // 8 for value in values)


def test_a_kernel_without_rows_is_recomputed_under_a_budget_and_gives_the_same_bits():
    def deep(model: Any, batch: Any) -> Any:
        x = batch["x"]
        for _ in range(6):
            x = np.tanh(stencil(x, model.weight))
        return (x * x).sum()

    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(gl.spec(3))

    batch = {"x": RANDOM.normal(size=20000).astype(np.float32)}
    values = {"weight": np.array([0.2, 0.5, -0.3], np.float32)}
    total = gl.plan_step(Filter(), deep, gl.optim.SGD(0.01), batch).report.total_bytes
    results: list[Any] = []
    for memory in (None, int(total * 0.7)):
        step = gl.compile_step(Filter(), deep, gl.optim.SGD(0.01), batch, memory=memory)
        step.set_parameters(values)
        results.append((step(batch), step(batch), step.parameters()["weight"].tobytes()))
        step.report.check()
    assert results[0] == results[1]
    assert step.report.recompute_flops > 0


def test_a_gpu_is_refused_by_name():
    with pytest.raises(gl.TargetError, match=r"the custom op tempered_softmax at .* is a kernel for the CPU"):
        gl.compile(lambda x: tempered_softmax(x), target="cuda-emulated")(BATCH["x"])
    with pytest.raises(gl.TargetError, match=r"the custom op scaled_mish at .*write target='cpu'"):
        gl.compile(lambda x: scaled_mish(x), target="cuda-emulated")(BATCH["x"])


def test_rows_are_padded_to_buckets_and_other_kernels_are_compiled_for_as_they_are(caplog):
    def losses(**options: Any) -> list[float]:
        step = gl.compile_step(Model(), loss_fn, gl.optim.SGD(0.01), first, **options)
        return [float(step(batch)) for batch in (first, {k: v[:25] for k, v in first.items()})]

    first = {key: value[:30] for key, value in BATCH.items()}
    np.testing.assert_allclose(losses(shapes="bucket"), losses(), 1e-5)
    assert "not padded" not in caplog.text

    def filtered(model: Any, batch: Any) -> Any:
        return stencil(batch["x"][:, 0], model.first.weight[0, :3]).sum()

    step = gl.compile_step(Model(), filtered, gl.optim.SGD(0.1), first, shapes="bucket")
    step({key: value[:25] for key, value in first.items()})
    assert "stencil along an axis of another length has no exact form with padding" in caplog.text
