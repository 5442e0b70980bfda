"""A step on a GPU, over a driver that is none, that moves values and state to the memory of its host and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from on_fake_gpu import fake_gpu

ROWS, WIDTH = 16, 16


def make_step(target: str, **options: Any) -> Any:
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean((model(batch["x"]) - batch["y"]) ** 2)

    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())))
    batch = {"x": gl.spec((ROWS, WIDTH)), "y": gl.spec((ROWS, WIDTH))}
    return gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-2), batch, target=target, **options)


def batch(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(ROWS, WIDTH)).astype("float32") for name in ("x", "y")}


def bits(arrays: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


def test_a_step_that_moves_state_has_the_bits_of_one_without_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_EMULATOR", "fast")
    with fake_gpu():
        free, step, again = make_step("cuda"), make_step("cuda", memory="78%"), make_step("cuda", memory="78%")
        report = step.report
        assert report.planner.endswith("offload")
        assert any(array.on_host for array in report.held)
        assert report.total_bytes <= 0.78 * free.report.total_bytes
        for seed in range(2):
            assert float(step(batch(seed))) == float(free(batch(seed)))
        step.save(tmp_path / "half.safetensors")
        again.load(tmp_path / "half.safetensors")
        losses = [float(one(batch(2))) for one in (free, step, again)]
        assert losses[0] == losses[1] == losses[2]
        for one in (step, again):
            assert bits(one.state()) == bits(free.state())
            assert bits(one.parameters()) == bits(free.parameters())
