"""`target="cuda-emulated"`: training by the kernels of a GPU on this CPU, as any user may ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from small_workloads import SMALL_WORKLOADS, batch_for

SAMPLE = ("mlp_s", "lstm")
"""What the default suite trains: products and a loop."""


def trained(name: str, target: str, steps: int = 3) -> tuple[list[float], dict[str, np.ndarray]]:
    made = SMALL_WORKLOADS[name]()
    batch = batch_for(made)
    step = gl.compile_step(*made[:3], made.batch, target=target)
    losses = [float(step(batch)) for _ in range(steps)]
    return losses, {key: np.array(value) for key, value in step.state_dict().items()}


def assert_trains_as_on_the_cpu(name: str) -> None:
    losses, state = trained(name, "cuda-emulated")
    expected, parameters = trained(name, "cpu")
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert state.keys() == parameters.keys()
    for key in state:
        np.testing.assert_allclose(state[key], parameters[key], rtol=1e-3, atol=2e-4, err_msg=key)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_workload_trains_as_on_the_cpu(name: str):
    assert_trains_as_on_the_cpu(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_WORKLOADS)
def test_every_workload_trains_as_on_the_cpu(name: str):
    assert_trains_as_on_the_cpu(name)


def small() -> tuple[Any, ...]:
    """A small model, with the same initial parameters each time, and what it is trained by."""
    model = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.Tanh())])
    batch = {"x": gl.spec((48, 8)), "y": gl.spec((48, 8))}
    return model, lambda m, b: nn.mse_loss(m(b["x"]), b["y"]), optim.Adam(0.01), batch


def batch() -> dict[str, np.ndarray]:
    x, y = np.random.default_rng(0).standard_normal((2, 48, 8)).astype("float32")
    return {"x": x, "y": y}


def test_all_that_a_step_offers_is_there(tmp_path: Path):
    step = gl.compile_step(*small(), target="cuda-emulated")
    losses = [float(step(batch())) for _ in range(3)]
    assert step.report.target.device == "cuda-emulated"
    assert step.report.check() is None
    assert "cuda-emulated" in str(step.report)
    step.report.to_html(tmp_path / "step.html")
    assert gl.MemoryReport.from_json(step.report.to_json()).arena_bytes == step.report.arena_bytes

    predict = step.bind(lambda model, x: model(x))
    before = predict(batch()["x"])
    path = str(tmp_path / "step.safetensors")
    step.save(path)
    later = [float(step(batch())) for _ in range(2)]
    assert not np.array_equal(predict(batch()["x"]), before)

    # A checkpoint goes on with the same bits here, and elsewhere with the same numbers.
    for target, exact in (("cuda-emulated", True), ("cpu", False)):
        resumed = gl.compile_step(*small(), target=target)
        resumed.load(path)
        again = [float(resumed(batch())) for _ in range(2)]
        assert again == later if exact else np.allclose(again, later, rtol=1e-4)
    assert losses[0] > later[-1]


def test_a_budget_changes_no_bit():
    whole = gl.compile_step(*small(), target="cuda-emulated")
    point = gl.plan_step(*small(), target="cuda-emulated").curve(4)[-1]
    tight = gl.compile_step(*small(), target="cuda-emulated", memory=point.total_bytes)
    assert tight.report.arena_bytes < whole.report.arena_bytes
    assert [float(tight(batch())) for _ in range(3)] == [float(whole(batch())) for _ in range(3)]


def test_a_function_is_compiled_for_it():
    x = np.random.default_rng(0).standard_normal((5, 7)).astype("float32")
    f = gl.compile(gl.value_and_grad(lambda x: (np.exp(x) @ x.T).sum()), target="cuda-emulated")
    value, gradient = f(x)
    expected, wanted = gl.compile(gl.value_and_grad(lambda x: (np.exp(x) @ x.T).sum()))(x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5)


def test_it_imports_nothing_of_cuda():
    code = (
        "import sys, numpy as np, gradloom as gl\n"
        "assert gl.compile(lambda x: x * 2, target='cuda-emulated')(np.ones(3)).sum() == 6\n"
        "assert not [m for m in sys.modules if m.partition('.')[0] in ('cuda', 'numba_cuda', 'nvmath', 'numba')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
