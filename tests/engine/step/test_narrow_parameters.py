"""Parameters that lie in memory as two bytes: what computes reads them, and the optimizer updates their masters."""

from __future__ import annotations

from pathlib import Path

import gradloom as gl
import ml_dtypes
import numpy as np
import pytest
from gradloom import nn

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(64, 12)).astype("float32"), "y": RNG.integers(0, 5, 64)}


class Small(nn.Module):
    def __init__(self):
        self.up, self.norm, self.head = nn.Linear(12, 24), nn.BatchNorm1d(24), nn.Linear(24, 5)

    def forward(self, x):
        return self.head(nn.functional.gelu(self.norm(self.up(x))))


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def step_of(precision, optimizer=None, **options):
    optimizer = optimizer or gl.optim.AdamW(lr=1e-2)
    return gl.compile_step(Small(), loss, optimizer, BATCH, precision=precision, **options)


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_a_parameter_is_its_master_rounded(half: str, tmp_path: Path):
    exact, step = step_of("fp32"), step_of({"parameters": half})
    dtype = {"bf16": BFLOAT16, "fp16": np.dtype("float16")}[half]

    def check():
        state = step.state()
        for name, array in step.parameters().items():
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, state[f"master.{name}"].astype(dtype))

    check()
    for name, array in exact.parameters().items():
        np.testing.assert_array_equal(step.state()[f"master.{name}"], array)
    assert 2 * step.report.parameter_bytes < 1.1 * exact.report.parameter_bytes
    losses = [(float(exact(BATCH)), float(step(BATCH))) for _ in range(60)]
    check()
    assert losses[-1][0] < 0.7 * losses[0][0]
    np.testing.assert_allclose(losses[-1][1], losses[-1][0], rtol=0.01)

    # A file has the masters: training goes on to the same bits, and a step without masters has them as parameters.
    step.save(tmp_path / "narrow.safetensors")
    again = step_of({"parameters": half}, threads=1, seed=7)
    again.load(tmp_path / "narrow.safetensors")
    with pytest.warns(gl.CheckpointWarning, match="precision"):
        exact.load(tmp_path / "narrow.safetensors")
    for name, array in exact.parameters().items():
        np.testing.assert_array_equal(array, step.state()[f"master.{name}"])
    exact.save(tmp_path / "wide.safetensors")
    with pytest.warns(gl.CheckpointWarning, match="precision"):
        step.load(tmp_path / "wide.safetensors")
    check()
    predict = step.bind(lambda model, x: model(x))
    np.testing.assert_allclose(predict(BATCH["x"]), exact.bind(lambda model, x: model(x))(BATCH["x"]), atol=0.2)
    for name, gradient in exact.gradients(BATCH).items():
        rounded = step.gradients(BATCH)[name]
        assert rounded.dtype == np.float32
        assert np.linalg.norm(rounded - gradient) <= 0.1 * np.linalg.norm(gradient) + 1e-6, name
    assert step(BATCH) == again(BATCH)


def test_setting_parameters_sets_the_masters(tmp_path: Path):
    step = step_of({"parameters": "bf16"})
    wide = {name: array + np.float32(0.001) for name, array in gl.nn.init_parameters(Small(), 3).items()}
    given = {name: array for name, array in wide.items() if name in step.parameters()}
    for put in (step.set_parameters, lambda arrays: step.load_state_dict(arrays, strict=False)):
        step.set_parameters(step_of("fp32").parameters())
        put(given)
        for name, array in given.items():
            np.testing.assert_array_equal(step.state()[f"master.{name}"], array)
            np.testing.assert_array_equal(step.parameters()[name], array.astype(BFLOAT16))
    step.set_parameters(step.parameters())  # which are rounded
    assert all((step.state()[f"master.{n}"] == a.astype("float32")).all() for n, a in step.parameters().items())
    step.save(tmp_path / "weights.safetensors", weights_only=True)
    other = step_of({"parameters": "bf16"}, seed=4)
    other.load(tmp_path / "weights.safetensors")
    assert step(BATCH) == other(BATCH)


def test_what_is_not_trained_has_no_master_and_half_the_bytes():
    exact, step = (step_of(p, train="head.*") for p in ("fp32", {"parameters": "bf16"}))
    assert [name for name in step.state() if name.startswith("master.")] == ["master.head.weight", "master.head.bias"]
    before = step.parameters()["up.weight"]
    step(BATCH)
    np.testing.assert_array_equal(step.parameters()["up.weight"], before)
    assert step.report.parameter_bytes < 0.6 * exact.report.parameter_bytes
    step.set_parameters(step_of("fp32", seed=5).parameters())
    assert step.parameters()["up.weight"].dtype == BFLOAT16


def test_averages_and_searches_along_lines_go_by_the_masters():
    step = step_of({"parameters": "bf16"}, gl.optim.EMA(gl.optim.SGD(lr=0.1), 0.5))
    for _ in range(3):
        step(BATCH)
    assert step.averaged_parameters()["up.weight"].dtype == np.float32
    assert step.bind(lambda model, x: model(x), averaged=True)(BATCH["x"]).shape == (64, 5)
    searching = gl.optim.LBFGS(line_search_fn="strong_wolfe", max_iter=3)
    step = step_of({"parameters": "bf16"}, searching)
    first, *_, last = [float(step(BATCH)) for _ in range(4)]
    assert last < first


class Copying(nn.Module):
    def __init__(self):
        self.online, self.target = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x):
        return self.online(x)


def test_what_is_assigned_is_refused():
    def assigning(model, batch):
        model.target.weight = model.target.weight * 0.9 + model.online.weight * 0.1
        return loss(model, batch)

    with pytest.raises(TypeError, match=r"assigns target.weight, which lies in memory as bfloat16"):
        gl.plan_step(Copying(), assigning, gl.optim.SGD(0.1), BATCH, train="online.*", precision={"parameters": "bf16"})
    step = step_of({"parameters": "bf16"})

    def doubled(model, x):
        model.up.weight = model.up.weight * 2
        return model(x)

    with pytest.raises(TypeError, match=r"the function assigns up.weight"):
        step.bind(doubled)(BATCH["x"])
    for share in (step, step_of("fp32")):
        with pytest.raises(ValueError, match="masters in one step"):
            step_of({"parameters": "bf16"}, share=share)
    with pytest.raises(ValueError, match=r"up.weight is float32 of shape"):
        step_of("fp32", share=step)


def test_an_exported_file_and_a_report_have_them(tmp_path: Path):
    step = step_of({"parameters": "bf16", "moments": "bf16"}, check_finite=True, diagnose=True)
    step(BATCH)
    assert step.diagnosis is not None
    kinds = {array.name: array.bytes for array in step.report.held}
    assert (kinds["up.weight"], kinds["master.up.weight"], kinds["exp_avg.up.weight"]) == (576, 1152, 576)
    assert step.first_nonfinite(BATCH) == ""
