"""Frozen parameters: no gradient, no state and no time; they stay as they are, and change when they are told to."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

BATCH = {"x": np.random.default_rng(0).standard_normal((6, 4)).astype("float32"), "y": np.arange(6) % 3}


def model_of():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def test_frozen_modules_and_parameters_have_no_gradient_no_state_and_no_time():
    model = model_of()
    assert model[0].requires_grad_(False) is model[0]
    assert model[2].weight.requires_grad_(False) is model[2].weight
    assert [name for name, p in model.stored_parameters() if p.requires_grad] == ["2.bias", "4.weight", "4.bias"]
    plan = gl.plan_step(model, loss_fn, optim.AdamW(0.1), BATCH)
    free = gl.plan_step(model_of(), loss_fn, optim.AdamW(0.1), BATCH)
    assert plan.report.parameter_bytes == free.report.parameter_bytes
    assert plan.report.state_bytes == 2 * 4 * (5 + 15 + 3) + 8 + 16
    assert plan.report.flops < 0.7 * free.report.flops
    step = gl.compile_step(model, loss_fn, optim.AdamW(0.1), BATCH)
    before = step.parameters()
    step(BATCH)
    now = step.parameters()
    assert list(now) == list(before)
    assert [name for name in now if not np.array_equal(now[name], before[name])] == ["2.bias", "4.weight", "4.bias"]


def test_what_was_frozen_is_trained_again_by_the_next_step():
    model = model_of().requires_grad_(False)
    with pytest.raises(ValueError, match="all parameters of the model are frozen"):
        gl.plan_step(model, loss_fn, optim.AdamW(0.1), BATCH)
    model[4].requires_grad_()
    assert set(gl.compile_step(model, loss_fn, optim.SGD(0.1, 0.9), BATCH).state()) == {
        "momentum_buffer.4.weight",
        "momentum_buffer.4.bias",
        "step",
    }
    assert all(p.requires_grad for _, p in model.requires_grad_(True).stored_parameters())


def test_freezing_after_compiling_is_told_and_undone():
    model = model_of()
    step = gl.compile_step(model, loss_fn, optim.SGD(0.1), BATCH)
    model[0].requires_grad_(False)
    with pytest.raises(
        RuntimeError, match=r"changed after the step was compiled.*0\.weight\.requires_grad was True and is"
    ):
        step(BATCH)
    assert step.steps == 0
    model.requires_grad_(True)
    step(BATCH)


def test_the_flag_is_a_boolean_and_no_attribute_of_a_module():
    model = model_of()
    with pytest.raises(AttributeError, match=r"write module\.requires_grad_\(False\)"):
        model.requires_grad = False
    for wrong in (None, 1, "no"):
        with pytest.raises(TypeError, match="requires_grad is True or False, got"):
            model[0].weight.requires_grad_(wrong)
        with pytest.raises(TypeError, match="requires_grad is True or False, got"):
            nn.Parameter((3,), requires_grad=wrong)
    assert model[0].weight.requires_grad


def test_a_frozen_parameter_may_be_set_loaded_and_saved(tmp_path):
    model = model_of()
    model[0].requires_grad_(False)
    step = gl.compile_step(model, loss_fn, optim.SGD(0.1), BATCH)
    other = gl.compile_step(model, loss_fn, optim.SGD(0.1), BATCH, seed=1)
    step(BATCH)
    step.save(tmp_path / "a.safetensors")
    other.load(tmp_path / "a.safetensors")
    np.testing.assert_equal(other.parameters(), step.parameters())
    other.set_parameters({name: array + 1 for name, array in step.parameters().items()})
    np.testing.assert_array_equal(other.parameters()["0.weight"], step.parameters()["0.weight"] + 1)
