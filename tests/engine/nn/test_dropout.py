"""Dropout's modes: what training, the Monte Carlo average and the mean-field approximation compute."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

F = nn.functional
LAYERS = [
    (nn.Dropout, (2, 3)),
    (nn.Dropout1d, (2, 30, 4)),
    (nn.Dropout2d, (2, 30, 4, 5)),
    (nn.Dropout3d, (2, 30, 1, 2, 3)),
]


def _run(layer: nn.Module, x: Any, training: bool, seed: int | None = 0) -> Any:
    if seed is None:
        return nn.functional_call(layer, {}, x, training=training)
    with gl.random.key(seed):
        return nn.functional_call(layer, {}, x, training=training)


@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_every_mode_drops_in_training_and_only_monte_carlo_in_evaluation(kind: Any, shape: tuple[int, ...]) -> None:
    x = np.ones(shape)
    layers = {mode: kind(0.4, mode=mode) for mode in ("train", "mc", "mean_field")}
    drawn = _run(kind(0.4), x, True)
    for mode, layer in layers.items():
        np.testing.assert_array_equal(_run(layer, x, True), drawn)
        np.testing.assert_array_equal(_run(layer, x, False), drawn if mode == "mc" else x)
    for mode in ("train", "mean_field"):
        assert _run(layers[mode], x, False, seed=None) is x
    with pytest.raises(RuntimeError, match=rf"{kind.__name__}\(mode='mc'\) draws in evaluation too and needs a key"):
        _run(layers["mc"], x, False, seed=None)


def test_the_mean_of_monte_carlo_draws_nears_the_mean_field_of_a_linear_network() -> None:
    x = np.random.default_rng(0).standard_normal(20)
    layer = nn.Dropout(0.3, mode="mc")
    with gl.random.key(1):
        mean = np.mean([nn.functional_call(layer, {}, x) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(mean, _run(nn.Dropout(0.3, mode="mean_field"), x, False), atol=0.06)


def test_a_bound_function_averages_draws_by_the_key_that_it_takes() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5, mode="mc"), nn.Linear(8, 2))
    batch = {"x": np.ones((3, 4), np.float32)}
    step = gl.compile_step(model, lambda model, batch: (model(batch["x"]) ** 2).mean(), gl.optim.SGD(0.1), batch)

    def average(model: Any, batch: Any) -> Any:
        return np.mean(np.stack([model(batch["x"]) for _ in range(4)]), axis=0)

    predict = step.bind(average, key=7)
    first, second = predict(batch), predict(batch)
    assert np.ptp(first, axis=0).all()  # rows of the same input have masks of their own
    assert (first != second).all()
    np.testing.assert_array_equal(step.bind(average, key=7)(batch), first)

    model[2].mode = "mean_field"
    step(batch)  # training is the same in each mode
    mean = step.bind(lambda model, batch: model(batch["x"]))
    np.testing.assert_array_equal(mean(batch), mean(batch))
    with pytest.raises(ValueError, match="mode is 'train', 'mc' or 'mean_field', got 'eval'"):
        model[2].mode = "eval"


@pytest.mark.parametrize("mode", ["train", "mc", "mean_field"])
@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_probability_one_gives_zeros_and_no_gradient(kind: Any, shape: tuple[int, ...], mode: Any) -> None:
    x = np.full(shape, np.inf)
    layer = kind(1, mode=mode)
    assert not _run(layer, x, True, seed=None).any()
    assert not gl.grad(lambda x: nn.functional_call(layer, {}, x, training=True).sum())(x).any()


def test_what_is_no_probability_and_no_mode_is_refused() -> None:
    for kind, _ in LAYERS:
        for p in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=f"{kind.__name__}: the probability is from 0 to 1, got {p}"):
                kind(p)
        for wrong in ("a", None, [0.5]):
            with pytest.raises(TypeError, match="the probability is a number from 0 to 1, got"):
                kind(wrong)
        with pytest.raises(ValueError, match="mode is 'train', 'mc' or 'mean_field', got 'eval'"):
            kind(mode="eval")
    assert repr(nn.Dropout(0.5, mode="mc")) == "Dropout(p=0.5, mode='mc')"
    assert repr(nn.Dropout(0.5, False)) == "Dropout(p=0.5)"
