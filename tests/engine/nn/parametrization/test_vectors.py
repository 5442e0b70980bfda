"""All parameters as one vector, inside a step, and back into arrays and initial values."""

from __future__ import annotations

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

from_vector, to_vector = nn.utils.vector_to_parameters, nn.utils.parameters_to_vector


def test_a_penalty_of_all_parameters_inside_a_step() -> None:
    model = nn.Linear(3, 2)
    step = gl.compile_step(model, lambda m, x: (to_vector(m.parameters()) ** 2).sum(), gl.optim.SGD(0.25), gl.spec(1))
    before = np.concatenate([p.ravel() for p in step.parameters().values()])
    np.testing.assert_allclose(step(np.ones(1, "float32")), (before**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(to_vector(step.parameters().values()), before / 2, rtol=1e-6)


def test_a_vector_becomes_arrays_and_initial_values() -> None:
    arrays = [np.zeros((2, 3)), np.zeros(2, "float32")]
    from_vector(np.arange(8.0), arrays)
    np.testing.assert_array_equal(to_vector(arrays), np.arange(8))
    model = nn.Linear(3, 2)
    from_vector(np.arange(8.0), model.parameters())
    np.testing.assert_array_equal(model.state_dict()["weight"], np.arange(6).reshape(2, 3))
    assert model.state_dict()["bias"].dtype == np.float32
    with pytest.raises(gl.ShapeError, match="8 elements are expected, got"):
        from_vector(np.arange(7.0), model.parameters())
    with pytest.raises(TypeError, match="no value here"):
        to_vector(model.parameters())
