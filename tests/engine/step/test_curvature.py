"""The largest eigenvalues of the Hessian of a step's loss."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def step_of(width, dtype="float64", layers=()):
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), *layers, nn.Linear(width, 3)).to(dtype)
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((12, 4)).astype(dtype), "y": rng.integers(0, 3, 12)}
    return model, gl.compile_step(model, loss_fn, optim.SGD(0.1), batch), batch


def hessian(model, parameters, batch):
    """By central differences of the gradient, in float64."""
    names = list(parameters)
    sizes = [parameters[name].size for name in names]
    ends = np.cumsum(sizes)

    def gradient(flat):
        parts = np.split(flat, ends[:-1])
        values = {name: part.reshape(parameters[name].shape) for name, part in zip(names, parts)}
        found = traced(values)
        return np.concatenate([found[name].ravel() for name in names])

    graph = gl.grad(lambda p: nn.cross_entropy(nn.functional_call(model, p, batch["x"]), batch["y"]))
    traced = gl.compile(graph)
    flat = np.concatenate([parameters[name].ravel() for name in names])
    step = 1e-5
    rows = [gradient(flat + step * e) - gradient(flat - step * e) for e in np.eye(flat.size)]
    return np.stack(rows) / (2 * step)


@pytest.mark.parametrize("width", [3, 12])
def test_eigenvalues_and_eigenvectors_are_those_of_the_whole_hessian(width):
    model, step, batch = step_of(width)
    for _ in range(3):
        step(batch)
    before = step.parameters()
    wanted = hessian(model, before, batch)
    values, vectors = gl.curvature(step, batch, k=3, vectors=True)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(wanted)[::-1][:3], rtol=1e-6)
    for value, vector in zip(values, vectors):
        flat = np.concatenate([vector[name].ravel() for name in before])
        np.testing.assert_allclose(np.linalg.norm(flat), 1.0, rtol=1e-9)
        np.testing.assert_allclose(wanted @ flat, value * flat, atol=1e-5)
    np.testing.assert_array_equal(gl.curvature(step, batch, 3), values)
    for name, array in step.parameters().items():
        np.testing.assert_array_equal(array, before[name])
    step(batch)
    assert gl.curvature(step, batch, 1)[0] != values[0], "it is that of the live parameters"


def test_float32_with_dropout_and_batch_norm_is_the_loss_of_the_next_step():
    _, step, batch = step_of(12, "float32", [nn.BatchNorm1d(12), nn.Dropout(0.5)])
    buffers = step.buffers()
    values = gl.curvature(step, batch, k=2)
    assert values.dtype == np.float64
    assert values[0] >= values[1] > 0
    np.testing.assert_array_equal(gl.curvature(step, batch, k=2), values)
    for name, array in step.buffers().items():
        np.testing.assert_array_equal(array, buffers[name])


def test_what_cannot_be_is_said():
    model, step, batch = step_of(3)
    size = sum(array.size for array in step.parameters().values())
    for k in (0, size + 1, 1.5):
        with pytest.raises(ValueError, match=f"k is a whole number from 1 to {size}"):
            gl.curvature(step, batch, k)
    with pytest.raises(TypeError, match="curvature takes a step first"):
        gl.curvature(model, batch)
    with pytest.raises(TypeError, match=r"without batch\.y"):
        gl.curvature(step, {"x": batch["x"]})
    with pytest.raises(RuntimeError, match="is not finite"):
        gl.curvature(step, {**batch, "x": np.full_like(batch["x"], np.nan)})
