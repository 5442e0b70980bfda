"""`gl.load`: a model computes with the parameters of a file, without an optimizer, in a budget of its own."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

X = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")


def make_model():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def predict(model, x):
    return model(x)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    step = gl.compile_step(make_model(), lambda m, x: np.mean(m(x) ** 2), gl.optim.Adam(0.1), gl.spec((5, 4)))
    for _ in range(3):
        step(X)
    folder = tmp_path_factory.mktemp("saved")
    step.save(folder / "whole.safetensors")
    step.save(folder / "weights.safetensors", weights_only=True)
    return folder, step


@pytest.mark.parametrize("file", ["whole", "weights"])
def test_it_computes_what_the_step_does_in_evaluation(file, saved):
    folder, step = saved
    loaded = gl.load(make_model(), folder / f"{file}.safetensors")
    np.testing.assert_array_equal(loaded.bind(predict)(X), step.bind(predict)(X))
    for name, array in (step.parameters() | step.buffers()).items():
        np.testing.assert_array_equal((loaded.parameters() | loaded.buffers())[name], array)
    one, other = loaded.bind(predict, lambda model, x: model(x).sum())
    assert one(X[:2]).shape == (2, 2)
    assert other(X).shape == ()
    assert "bytes of parameters and buffers" in repr(loaded)


def test_it_takes_arrays_by_name_as_it_takes_a_file(saved):
    _, step = saved
    state = step.state_dict()
    want = step.bind(predict)(X)
    np.testing.assert_array_equal(gl.load(make_model(), state).bind(predict)(X), want)
    renamed = {f"net.{name}": array for name, array in state.items()} | {"other": np.ones(2)}
    renamed["net.0.weight"] = renamed["net.0.weight"].astype("float64")
    loaded = gl.load(make_model(), renamed, rename={"net.*": "*", "other": None})
    np.testing.assert_array_equal(loaded.bind(predict)(X), want)
    model = make_model()
    np.testing.assert_array_equal(
        gl.load(model, model.state_dict(4)).parameters()["0.weight"], model.state_dict(4)["0.weight"]
    )
    with pytest.raises(gl.CheckpointError, match="the arrays of the state dict"):
        gl.load(make_model(), renamed)
    tied = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 3, bias=False))
    tied[1].weight = tied[0].weight
    values = tied.state_dict(1)
    assert values.keys() == {"0.weight", "1.weight"}
    np.testing.assert_array_equal(gl.load(tied, values).parameters()["0.weight"], values["0.weight"])
    gl.load(tied, {"0.weight": values["0.weight"]})


def test_its_plan_is_what_it_takes_and_its_budget_is_kept(saved):
    folder, _ = saved
    path = folder / "whole.safetensors"
    bound = gl.load(make_model(), path).bind(predict)
    report = bound.plan(gl.spec((5, 4)))
    held = sum(a.nbytes for a in gl.load(make_model(), path).parameters().values())
    assert report.parameter_bytes == held
    report.check()
    assert report.total_bytes == bound.plan(X).total_bytes
    bound(X)
    assert bound._step._live.arena.nbytes == report.arena_bytes
    gl.load(make_model(), path, memory=report.total_bytes).bind(predict)(X)
    with pytest.raises(gl.MemoryBudgetError, match="give it smaller arrays"):
        gl.load(make_model(), path, memory=report.total_bytes - 1).bind(predict)(X)
    with pytest.raises(gl.MemoryBudgetError, match="the parameters and buffers take"):
        gl.load(make_model(), path, memory=100)


def test_names_may_differ_and_arrays_may_be_missing(saved):
    folder, step = saved
    arrays = step.state_dict()
    gl.save_arrays(folder / "other.safetensors", {f"net.{name}": a for name, a in arrays.items() if name != "4.bias"})
    path = folder / "other.safetensors"
    with pytest.raises(gl.CheckpointError, match="missing"):
        gl.load(make_model(), path)
    loaded = gl.load(make_model(), path, rename={"net.*": "*"}, strict=False)
    np.testing.assert_array_equal(loaded.parameters()["0.weight"], arrays["0.weight"])
    initial = nn.init_parameters(make_model(), 7)["4.bias"]
    given = gl.load(make_model(), path, rename={"net.*": "*"}, strict=False, seed=7)
    np.testing.assert_array_equal(given.parameters()["4.bias"], initial)


def test_what_cannot_be_loaded_is_a_clear_error(saved):
    path = saved[0] / "whole.safetensors"
    with pytest.raises(gl.CheckpointError, match=r"0\.weight"):
        gl.load(nn.Sequential(nn.Linear(4, 9)), path)
    with pytest.raises(TypeError, match=r"gl\.load takes a model and the path of a file, got PosixPath first"):
        gl.load(path, make_model())
    with pytest.raises(TypeError, match="the path of a file, or arrays by name, got int"):
        gl.load(make_model(), 3)
    with pytest.raises(ValueError, match="there is no step to take a part of"):
        gl.load(make_model(), path, memory="50%")
    with pytest.raises(ValueError, match="averaged=True"):
        gl.load(make_model(), path).bind(predict, averaged=True)
