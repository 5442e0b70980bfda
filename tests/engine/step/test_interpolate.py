"""Parameters between two checkpoints."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim


def steps():
    batch = {"x": np.ones((4, 3), "float32")}
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    made = [gl.compile_step(model, lambda m, b: np.mean(m(b["x"]) ** 2), optim.Adam(), batch, seed=s) for s in (0, 1)]
    made[1](batch)
    return made


def test_files_dicts_and_steps_give_the_line_between_them_with_its_ends(tmp_path):
    a, b = steps()
    a.save(tmp_path / "a.safetensors")
    b.save(tmp_path / "b.safetensors")
    ends = [{**step.parameters(), **step.buffers()} for step in (a, b)]
    given = [(tmp_path / "a.safetensors", str(tmp_path / "b.safetensors")), (a, b), tuple(ends)]
    alphas = np.array([0.0, 0.25, 1.0, 1.5])
    for pair in given:
        found = list(gl.interpolate(*pair, alphas))
        assert len(found) == 4
        for name in ends[0]:
            first, second = (end[name] for end in ends)
            np.testing.assert_array_equal(found[0][name], first)
            np.testing.assert_array_equal(found[2][name], second)
            assert found[1][name].dtype == first.dtype
            if first.dtype.kind == "f":
                np.testing.assert_allclose(found[1][name], 0.75 * first + 0.25 * second, rtol=1e-6)
                np.testing.assert_allclose(found[3][name], 1.5 * second - 0.5 * first, rtol=1e-6)
            else:
                np.testing.assert_array_equal(found[3][name], second)
    a.set_parameters(found[1])
    (half,) = gl.interpolate(a, b, 0.5)
    assert list(half) == list(ends[0])


def test_checkpoints_that_differ_are_refused_before_anything_is_made():
    a = {"w": np.zeros(3, "float32"), "v": np.zeros(2)}
    with pytest.raises(gl.CheckpointError, match=r"only the first has v; only the second has u.*test_interpolate"):
        gl.interpolate(a, {"w": np.zeros(3, "float32"), "u": np.zeros(2)}, [0.5])
    with pytest.raises(gl.CheckpointError, match=r"v is float64\[2\] in the first, float64\[3\] in the second"):
        gl.interpolate(a, {"w": a["w"], "v": np.zeros(3)}, [0.5])
    with pytest.raises(ValueError, match="an alpha is a finite number, got nan"):
        gl.interpolate(a, a, [0.5, float("nan")])
    with pytest.raises(TypeError, match="a dict of arrays by name, or a step, got list"):
        gl.interpolate([a], a, [0.5])
    with pytest.raises(gl.CheckpointError):
        gl.interpolate("nowhere.safetensors", a, [0.5])
