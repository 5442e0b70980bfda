"""Loss scaling: gradients that float16 holds, and updates that are skipped where it does not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(64, 12)).astype("float32"), "y": RNG.integers(0, 5, 64)}
HUGE = {**BATCH, "x": np.where(BATCH["x"] > 2, np.float32(np.inf), BATCH["x"])}


def model():
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 5))


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def linear(model, batch):
    """A loss with gradients that are not finite where the batch is not."""
    return (model(batch["x"]) ** 2).mean()


def step_of(loss_scaling, loss_fn=loss, **options):
    options = {"outputs": ["loss_scale", "skipped_updates"] if loss_scaling is not None else [], **options}
    return gl.compile_step(model(), loss_fn, gl.optim.AdamW(lr=1e-2), BATCH, loss_scaling=loss_scaling, **options)


def test_a_power_of_two_changes_no_bit_where_nothing_is_rounded_to_float16():
    plain, scaled, whole = step_of(None), step_of({}), step_of(1024, accumulate=2)
    for _ in range(3):
        value, told = scaled(BATCH)
        assert value == plain(BATCH)
        assert told == {"loss_scale": 2.0**16, "skipped_updates": 0}
    for name, array in plain.parameters().items():
        np.testing.assert_array_equal(scaled.parameters()[name], array)
    gradients = plain.gradients(BATCH)
    for name, array in scaled.gradients(BATCH).items():
        np.testing.assert_array_equal(array, gradients[name])
    assert (plain.loss_scale, plain.skipped_updates) == (1.0, 0)
    assert whole(BATCH)[1]["loss_scale"] == 1024


def test_an_update_that_is_not_finite_is_skipped(tmp_path: Path):
    few = {"init_scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    step, one = (step_of(few, linear, threads=n) for n in (None, 1))
    plain = gl.compile_step(model(), linear, gl.optim.AdamW(lr=1e-2), BATCH)
    scales: list[float] = []
    for batch in (BATCH, HUGE, BATCH, BATCH, BATCH, HUGE, HUGE):
        before = step.parameters() | step.state()
        step(batch), one(batch)
        scales.append(step.loss_scale)
        if batch is HUGE:
            for name, array in (step.parameters() | step.state()).items():
                if name not in ("step", "loss_scale", "good_updates", "skipped_updates"):
                    np.testing.assert_array_equal(array, before[name])
        else:
            plain(batch)
    assert scales == [8, 2, 2, 8, 8, 2, 0.5]
    assert (step.skipped_updates, step.steps) == (3, 7)
    for name, array in plain.parameters().items():  # which had the finite batches alone
        np.testing.assert_array_equal(step.parameters()[name], array)
        np.testing.assert_array_equal(one.parameters()[name], array)
    step.save(tmp_path / "step.safetensors")
    again = step_of(few, linear)
    again.load(tmp_path / "step.safetensors")
    assert (again.loss_scale, again.skipped_updates) == (0.5, 3)
    assert again(BATCH) == step(BATCH)
    with pytest.warns(gl.CheckpointWarning, match="loss_scaling: LossScaling.*before, None now"):
        plain.load(tmp_path / "step.safetensors")
    plain.save(tmp_path / "plain.safetensors")
    with pytest.warns(gl.CheckpointWarning):
        step.load(tmp_path / "plain.safetensors")


def test_a_fixed_scale_stays():
    step = step_of(1000.0, linear)
    for batch in (BATCH, HUGE, BATCH):
        step(batch)
    assert (step.loss_scale, step.skipped_updates) == (1000, 1)


def test_float16_trains_like_float32_with_it():
    exact, half = gl.compile_step(model(), loss, gl.optim.AdamW(lr=1e-2), BATCH), step_of(None, precision="fp16")
    assert half.loss_scale == 2.0**16
    losses = [(float(exact(BATCH)), float(half(BATCH))) for _ in range(60)]
    assert losses[-1][0] < 0.7 * losses[0][0]
    np.testing.assert_allclose(losses[-1][1], losses[-1][0], rtol=0.01)


def test_small_gradients_vanish_in_float16_without_it():
    def faint(model, batch):
        return loss(model, batch) * 1e-7

    exact, scaled, unscaled = (
        gl.compile_step(model(), faint, gl.optim.SGD(0.1), BATCH, precision=p, loss_scaling=s).gradients(BATCH)
        for p, s in (("fp32", None), ("fp16", 2.0**24), ("fp16", 1))
    )
    for name, gradient in exact.items():
        assert np.linalg.norm(scaled[name] - gradient) < 0.02 * np.linalg.norm(gradient)
        assert np.linalg.norm(unscaled[name] - gradient) > 0.1 * np.linalg.norm(gradient)


@pytest.mark.peers
def test_the_scale_moves_as_in_torch():
    torch = pytest.importorskip("torch")
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    step = step_of({"init_scale": 4.0, "growth_interval": 3}, linear)
    for finite in (1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1):
        optimizer.zero_grad()
        scaler.scale((weight * (1.0 if finite else float("inf"))).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        step(BATCH if finite else HUGE)
        assert step.loss_scale == scaler.get_scale()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("static", "loss_scaling is .dynamic., a number above 0"),
        (0, "got 0"),
        (True, "got True"),
        (float("inf"), "got inf"),
        ({"scale": 2}, "loss_scaling has no 'scale'; it is a dict of init_scale, growth_factor"),
        ({"init_scale": -1}, "init_scale is a number above 0, got -1"),
        ({"growth_factor": 1}, "growth_factor is a number above 1, got 1"),
        ({"backoff_factor": 2}, "backoff_factor lies between 0 and 1, got 2"),
        ({"growth_interval": 1.5}, "growth_interval is a whole number of 1 or more, got 1.5"),
    ],
)
def test_other_scales_are_refused(given: object, message: str):
    with pytest.raises(ValueError, match=message):
        gl.plan_step(model(), loss, gl.optim.SGD(0.1), BATCH, loss_scaling=given)


def test_searches_along_lines_compare_losses_and_take_no_scale():
    with pytest.raises(ValueError, match="loss_scaling with LBFGS"):
        gl.plan_step(model(), loss, gl.optim.LBFGS(), BATCH, loss_scaling=1024)


@pytest.mark.parametrize("precision", ["fp32", "bf16", {"kept": "fp16", "moments": "fp16"}])
def test_a_scale_that_nothing_needs_is_told_of_at_the_line_that_asks_for_it(precision: Any):
    message = r"is for precision=.fp16.*Leave it out, or write loss_scaling=1.0"
    with pytest.warns(gl.TracingWarning, match=message) as told:
        gl.plan_step(model(), loss, gl.optim.SGD(0.1), BATCH, loss_scaling="dynamic", precision=precision)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gl.plan_step(model(), loss, gl.optim.SGD(0.1), BATCH, loss_scaling="dynamic", precision="fp16")
