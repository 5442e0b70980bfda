"""`cores` says for how many cores a step is cut; at one `cores` its bits are those of any number of threads."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.passes.target import Target


class Net(nn.Module):
    """What has tiles of each kind: a convolution with batch norm, an embedding, a loop over time, products."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.table = nn.Embedding(400, 16)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.wide = nn.Linear(32, 500)
        self.out = nn.Linear(500, 10)

    def forward(self, x: Any, words: Any) -> Any:
        y = np.maximum(self.norm(self.conv(x)), 0)
        y = np.moveaxis(y.reshape(*y.shape[:2], -1), 1, 2)[:, :: y.shape[-1] * 8] + self.table(words)
        return self.out(np.tanh(self.wide(self.lstm(y)[0].reshape(-1, 32))))


def loss_fn(model: Net, batch: Any) -> Any:
    y = model(batch["x"], batch["words"])
    return np.mean(np.sum(y * y, axis=1))


rng = np.random.default_rng(0)
BATCH = {
    "x": rng.standard_normal((64, 3, 16, 16), np.float32),
    "words": rng.integers(0, 400, (64, 2)),
}


def trained(cores: int | None, threads: int, optimizer: gl.optim.Optimizer | None = None) -> dict[str, Any]:
    optimizer = optimizer or gl.optim.AdamW(1e-3)
    step = gl.compile_step(Net(), loss_fn, optimizer, BATCH, cores=cores, threads=threads)
    for _ in range(2):
        step(BATCH)
    return {name: np.asarray(array).copy() for name, array in step.parameters().items()}


def test_the_bits_of_a_step_are_those_of_any_number_of_threads_at_one_number_of_cores():
    for cores in (16, 12):
        first = trained(cores, 1)
        for threads in (2, 3, 8, 16, 64) if cores == 16 else (7,):
            found = trained(cores, threads)
            assert all(np.array_equal(found[name], first[name]) for name in first), (cores, threads)


def test_other_cores_give_the_same_step_to_rounding():
    few, many = (trained(cores, 2, gl.optim.SGD(1e-3)) for cores in (None, 16))
    for name in few:
        np.testing.assert_allclose(many[name], few[name], rtol=1e-3, atol=1e-5)


def test_cores_are_part_of_the_target_and_the_report_tells_them():
    planned = gl.plan_step(Net(), loss_fn, gl.optim.SGD(0.1), BATCH, cores=16, threads=2, target="cpu:avx2")
    assert planned.report.target == dataclasses.replace(Target.cpu("avx2"), cores=16)
    assert "2 threads of cpu:avx2, cut for 16 cores" in str(planned.report)
    usual = gl.plan_step(Net(), loss_fn, gl.optim.SGD(0.1), BATCH, threads=2, target="cpu:avx2")
    assert usual.report.target == Target.cpu("avx2")
    assert "cores" not in str(usual.report).split("\n\n")[0]


def test_compiled_functions_take_cores_too():
    def fn(x: Any) -> Any:
        return np.exp(x).sum(axis=0)

    x = rng.standard_normal((300, 200), np.float32)
    found = [gl.compile(fn, cores=16, threads=threads)(x) for threads in (1, 5)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], fn(x), rtol=1e-5)


@pytest.mark.parametrize("cores", [0, -1, 2.5, "many", 2000])
def test_what_is_no_number_of_cores_is_refused(cores: Any):
    with pytest.raises(ValueError, match="cores is a whole number from 1 to 256"):
        gl.compile(np.exp, cores=cores)


def test_a_gpu_has_no_cores():
    with pytest.raises(gl.TargetError, match=r"cores is for the CPU, got 16 for 'cuda:h100'; leave it out"):
        gl.plan_step(Net(), loss_fn, gl.optim.SGD(0.1), BATCH, cores=16, target="cuda:h100")


def test_many_cores_share_tiles_of_the_batch_that_few_share_out():
    model = nn.Sequential(nn.Linear(64, 192), nn.Tanh(), nn.Linear(192, 192), nn.Tanh(), nn.Linear(192, 64))

    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean((model(batch) - batch) ** 2)

    def lanes(cores: int | None) -> list[int]:
        step = gl.plan_step(model, loss_fn, gl.optim.SGD(0.1), gl.spec((8192, 64)), cores=cores, threads=2)
        return [loop.lanes for loop in step.report.loops]

    assert max(lanes(None)) == 2
    assert max(lanes(16), default=1) == 1
