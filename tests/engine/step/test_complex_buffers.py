"""Steps whose buffers and batches are complex numbers, and what is trained instead of complex parameters."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


class Turned(nn.Module):
    def __init__(self, dtype):
        self.linear = nn.Linear(4, 4)
        self.turn = nn.Buffer(np.exp(1j * np.arange(4)).astype(dtype))

    def forward(self, z):
        return abs(self.linear(z.real) * self.turn.astype("complex64") + z)


def loss_fn(model, batch):
    return np.mean(model(batch["z"]) ** 2)


def test_a_step_with_complex_numbers_is_saved_and_goes_on(tmp_path):
    batch = {"z": (np.arange(8) * (0.2 - 0.1j)).reshape(2, 4).astype("complex64")}
    step = gl.compile_step(Turned("complex64"), loss_fn, gl.optim.Adam(1e-2), batch)
    step(batch)
    step.save(tmp_path / "turned.safetensors")
    expected = [step(batch) for _ in range(2)]
    step.load(tmp_path / "turned.safetensors")
    assert [step(batch) for _ in range(2)] == expected
    assert step.bind(lambda model, z: model.turn * z)(batch["z"]).dtype == "complex64"


def test_a_file_holds_no_complex128(tmp_path):
    batch = {"z": np.ones((2, 4), "complex64")}
    step = gl.compile_step(Turned("complex128"), loss_fn, gl.optim.SGD(0.1), batch)
    with pytest.raises(TypeError, match="turn is complex128, which safetensors files do not hold"):
        step.save(tmp_path / "turned.safetensors")
