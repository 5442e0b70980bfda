"""Parameters of bfloat16 are drawn, trained, saved as BF16 and loaded, and read as float32 where that is wanted."""

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.ir import BFLOAT16

BATCH = {"x": gl.spec((4, 8), "bfloat16"), "y": gl.spec((4,), "int64")}


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]).astype("float32"), batch["y"])


def make():
    layers = (nn.Linear(8, 8, dtype="bfloat16"), nn.ReLU(), nn.Linear(8, 3, dtype="bfloat16"))
    return gl.compile_step(nn.Sequential(*layers), loss_fn, gl.optim.SGD(0.1), BATCH)


def test_a_model_of_bfloat16_trains_and_is_saved(tmp_path):
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((4, 8)).astype(BFLOAT16), "y": rng.integers(0, 3, 4)}
    step, other = make(), make()
    losses = [float(step(data)) for _ in range(20)]
    assert losses[-1] < losses[0]
    step.save(tmp_path / "model.safetensors")
    other.load(tmp_path / "model.safetensors")
    for name, value in step.parameters().items():
        assert value.dtype == BFLOAT16
        assert other.parameters()[name].tobytes() == value.tobytes()
    read = gl.load_arrays(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read["0.weight"], step.parameters()["0.weight"].astype(np.float32))
