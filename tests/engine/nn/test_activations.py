"""Activations: torch's values, derivatives also at kinks, and nothing that is not a number where x is infinite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from torch_rows import Row, assert_row_is_torchs

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
X = np.concatenate(
    [RNG.standard_normal((5, 6)) * 3, [[0.0, 0.5, -0.5, 1.0, -1.0, 3.0], [-3.0, 6.0, 30.0, -30.0, 2, 0]]]
)
IMAGES = RNG.standard_normal((2, 4, 3, 5))

ELEMENTWISE: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("relu", "ReLU", [{"inplace": False}]),
    ("relu6", "ReLU6", [{}, {"inplace": False}]),
    ("hardtanh", "Hardtanh", [{}, {"min_val": -0.5, "max_val": 0.5, "inplace": False}]),
    ("hardswish", "Hardswish", [{"inplace": False}]),
    ("hardsigmoid", "Hardsigmoid", [{"inplace": False}]),
    ("hardshrink", "Hardshrink", [{}, {"lambd": 1.0}, {"lambd": 0.0}, {"lambd": -0.5}]),
    ("softshrink", "Softshrink", [{}, {"lambd": 1.0}, {"lambd": 0.0}]),
    ("threshold", "Threshold", [{"threshold": 0.5, "value": 7.0}, {"threshold": -1.0, "value": 0, "inplace": False}]),
    ("leaky_relu", "LeakyReLU", [{"negative_slope": 0.3, "inplace": False}]),
    ("elu", "ELU", [{}, {"alpha": 0.7, "inplace": False}]),
    ("celu", "CELU", [{}, {"alpha": 0.7, "inplace": False}, {"alpha": -1.5}]),
    ("selu", "SELU", [{}, {"inplace": False}]),
    ("gelu", "GELU", [{}, {"approximate": "tanh"}]),
    ("silu", "SiLU", [{"inplace": False}]),
    ("mish", "Mish", [{}, {"inplace": False}]),
    ("sigmoid", "Sigmoid", [{}]),
    ("logsigmoid", "LogSigmoid", [{}]),
    ("tanh", "Tanh", [{}]),
    ("tanhshrink", "Tanhshrink", [{}]),
    ("softsign", "Softsign", [{}]),
    ("softplus", "Softplus", [{}, {"beta": 2.0, "threshold": 5.0}, {"beta": -1.0}]),
    ("rrelu", "", [{}, {"lower": 0.1, "upper": 0.4, "training": False, "inplace": False}]),
]
ROWS = [
    *(
        Row(name, (X,), layer, options, second=name != "hardsigmoid", double=name not in ("hardsigmoid", "celu"))
        for name, layer, several in ELEMENTWISE
        for options in several
    ),
    *(Row("glu", (x,), "GLU", o) for x, o in [(X, {}), (IMAGES, {"dim": 1}), (X[:4], {"dim": 0}), (X[0], {})]),
    *(Row("softmin", (IMAGES,), "Softmin", {"dim": dim}) for dim in (0, 1, -1)),
    *(Row("softmax", (IMAGES,), "Softmax", {"dim": dim}) for dim in (0, 1, -1)),
    *(Row("log_softmax", (IMAGES,), "LogSoftmax", {"dim": dim}) for dim in (0, 1, -1)),
    *(Row("prelu", (x, w)) for x in (X[:5], X[0], X[0, :1].reshape(()), IMAGES) for w in (np.ones(1), np.array(-0.2))),
    *(Row("prelu", (x, RNG.standard_normal(x.shape[1])), second=x is not X) for x in (X, IMAGES, IMAGES[..., 0])),
    *(Row(name, (X,), options=o) for name in ("alpha_dropout", "feature_alpha_dropout") for o in ({}, {"p": 0.3})),
    *(Row(name, (X,), options={"p": 1.0, "training": True}) for name in ("alpha_dropout", "feature_alpha_dropout")),
]


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_activations_are_torchs(row: Row, dtype: str) -> None:
    assert_row_is_torchs(row, dtype)


def _sum_of(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: fn(x).sum()


def _functions(x: Any) -> list[Any]:
    """Every function by element of `x`, with its options."""
    return [getattr(F, name)(x, **options) for name, _, several in ELEMENTWISE for options in several]


def test_compiled_activations_are_the_interpreted_ones_with_their_gradients() -> None:
    x = X.astype("float32")

    def both(x: Any) -> Any:
        return _functions(x), gl.grad(lambda x: sum((y * y).sum() for y in _functions(x)))(x)

    values, gradient = gl.compile(both)(x)
    others, other = both(x)
    for one, two in zip(values, others, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infinite_and_large_arguments_have_values_and_gradients_that_are_numbers(dtype: str) -> None:
    most = float(np.finfo(dtype).max)
    x = np.array([np.inf, -np.inf, most, -most, 1e4, -1e4], dtype)
    with np.errstate(over="ignore"):
        for name, _, several in ELEMENTWISE:
            for options in several:
                if options.get("beta", 1) < 0 or options.get("alpha", 1) < 0:
                    continue  # what should fall to a limit rises without one
                fn = partial(getattr(F, name), **options)
                y, slope = fn(x), gl.grad(_sum_of(fn))(x)
                assert not np.isnan(y).any(), (name, options, y)
                assert np.isfinite(slope).all(), (name, options, slope)


def test_what_is_not_a_number_stays_so() -> None:
    for name, _, several in ELEMENTWISE:
        for options in several:
            assert np.isnan(getattr(F, name)(np.full(2, np.nan), **options)).all(), name


def test_derivatives_at_kinks_are_those_of_one_side() -> None:
    for fn, points, expected in [
        (F.relu6, [0, 6], [0, 0]),
        (F.hardtanh, [-1, 1], [0, 0]),
        (F.hardsigmoid, [-3, 3], [0, 0]),
        (F.hardswish, [-3, 3], [0, 1]),
        (F.hardshrink, [-0.5, 0.5], [0, 0]),
        (F.softshrink, [-0.5, 0.5], [0, 0]),
        (lambda x: F.threshold(x, 1, 2), [1, 1.5], [0, 1]),
        (F.celu, [0, 1], [1, 1]),
        (F.selu, [0], [1.7580993408473768]),
        (F.softsign, [0], [1]),
        (F.rrelu, [0], [11 / 48]),
    ]:
        slope = gl.grad(_sum_of(fn))(np.array(points, float))
        np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_prelu_learns_one_slope_or_one_for_each_channel() -> None:
    layer = nn.PReLU(4, 0.5)
    assert layer.weight.shape == (4,)
    assert repr(nn.PReLU()) == "PReLU(num_parameters=1)"
    values = nn.init_parameters(layer)
    np.testing.assert_array_equal(values["weight"], np.full(4, 0.5, "float32"))
    y = nn.functional_call(layer, {"weight": np.arange(4.0)}, IMAGES)
    np.testing.assert_array_equal(y, np.where(IMAGES > 0, IMAGES, IMAGES * np.arange(4.0)[:, None, None]))
    assert [p.dtype for p in nn.PReLU(2, dtype="float64").parameters()] == ["float64"]
    with pytest.raises(ValueError, match=r"one for each of 4 channels of \(2, 4, 3, 5\) float64, got \(3,\) float64"):
        F.prelu(IMAGES, np.ones(3))
    with pytest.raises(ValueError, match=r"one for each of 1 channels of \(6,\) float64"):
        F.prelu(X[0], np.ones(6))
    with pytest.raises(ValueError, match="num_parameters is 1, or the number of channels, got 0"):
        nn.PReLU(0)


def test_rrelu_draws_slopes_in_training_and_takes_the_middle_in_evaluation() -> None:
    x = -np.ones((50, 40))
    layer = nn.RReLU(0.2, 0.6)
    with gl.random.key(3):
        drawn = nn.functional_call(layer, {}, x, training=True)
        again = nn.functional_call(layer, {}, x, training=True)
    assert -0.6 <= drawn.min() < -0.59
    assert -0.21 < drawn.max() <= -0.2
    assert (drawn != again).all()
    np.testing.assert_allclose(drawn.mean(), -0.4, atol=0.01)
    np.testing.assert_allclose(nn.functional_call(layer, {}, x), x * 0.4)
    with gl.random.key(3):
        slope = gl.grad(lambda x: F.rrelu(x, 0.2, 0.6, True).sum())(x)
    np.testing.assert_array_equal(slope, -drawn)
    for make in (lambda: nn.RReLU(2, 1), lambda: F.rrelu(x, 2, 1)):
        with pytest.raises(ValueError, match="lower is not above upper, got 2 and 1"):
            make()


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = RNG.standard_normal((400, 50)).astype("float32")
    with gl.random.key(0):
        for p in (0.1, 0.5):
            y = F.alpha_dropout(x, p, training=True)
            np.testing.assert_allclose([y.mean(), y.var()], [0, 1], atol=0.04)
        of_channels = nn.functional_call(nn.FeatureAlphaDropout(0.4), {}, np.ones((8, 20, 3, 2)), training=True)
    assert y.dtype == np.float32
    assert (np.ptp(of_channels, axis=(2, 3)) == 0).all()
    assert len(np.unique(of_channels)) == 2
    assert nn.functional_call(nn.AlphaDropout(0.4), {}, x) is x
    with pytest.raises(ValueError, match=r"feature_alpha_dropout: the input is \(N, C, ...\), got \(3,\) float64"):
        F.feature_alpha_dropout(np.ones(3), training=True)
    with pytest.raises(ValueError, match="from 0 to 1, got -1"):
        nn.AlphaDropout(-1)


def test_gumbel_softmax_draws_classes_with_the_probabilities_of_the_logits() -> None:
    probabilities = np.array([0.1, 0.2, 0.7])
    logits = np.broadcast_to(np.log(probabilities), (20_000, 3)).astype("float32")
    with gl.random.key(0):
        hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
        soft = F.gumbel_softmax(logits.T, 2.0, dim=0)
        two = F.gumbel_softmax(np.zeros((2, 3, 4)), hard=True, axis=1)
    assert hard.dtype == soft.dtype == np.float32
    np.testing.assert_allclose(hard.mean(axis=0), probabilities, atol=0.01)
    np.testing.assert_allclose(soft.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose([two.sum(axis=1).min(), two.max(axis=1).min()], 1)

    def drawn(x: Any, hard: bool) -> Any:
        with gl.random.key(5):
            return (F.gumbel_softmax(x, hard=hard) * np.arange(3.0)).sum()

    x = X[:, :3]
    np.testing.assert_array_equal(gl.grad(lambda x: drawn(x, True))(x), gl.grad(lambda x: drawn(x, False))(x))
    with pytest.raises(ValueError, match="tau is above 0, got 0"):
        F.gumbel_softmax(x, 0)
    with pytest.raises(NotImplementedError, match=r"eps=0\.1 has no effect"):
        F.gumbel_softmax(x, eps=0.1)


def test_softmax2d_is_over_channels() -> None:
    np.testing.assert_array_equal(nn.Softmax2d()(IMAGES), F.softmax(IMAGES, axis=1))
    np.testing.assert_array_equal(nn.Softmax2d()(IMAGES[0]), F.softmax(IMAGES[0], axis=0))
    with pytest.raises(ValueError, match=r"Softmax2d: the input is \(N, C, H, W\) or \(C, H, W\), got \(7, 6\)"):
        nn.Softmax2d()(X)


def test_arguments_that_do_not_fit_are_named() -> None:
    for call, message in [
        (lambda: F.glu(np.ones((2, 3))), r"glu: the length along axis -1 is even, got \(2, 3\) float64"),
        (lambda: F.glu(np.ones(())), r"glu: the length along axis -1 is even, got \(\) float64"),
        (lambda: F.softshrink(X, -1), "lambd is 0 or more, got -1"),
        (lambda: nn.Softshrink(-1), "lambd is 0 or more, got -1"),
        (lambda: F.celu(X, 0), "alpha is not 0"),
        (lambda: nn.CELU(0), "alpha is not 0"),
    ]:
        with pytest.raises(ValueError, match=message + r".*, at \S*test_activations\.py:\d+"):
            call()


def test_names_of_before_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="min_value=-2; write min_val"):
        nn.Hardtanh(-1, 1, False, -2)


def test_slopes_noise_and_classes_are_drawn_anew_in_every_step() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.RReLU(), nn.AlphaDropout(0.3), nn.Linear(6, 3))

    def loss_fn(model: Any, batch: Any) -> Any:
        return (F.gumbel_softmax(model(batch["x"]), tau=0.7) ** 2).mean()

    batch = {"x": X[:, :4].astype("float32")}
    steps = [gl.compile_step(model, loss_fn, gl.optim.SGD(0.0), batch, seed=seed) for seed in (0, 0, 1)]
    losses = [[float(step(batch)) for _ in range(3)] for step in steps]
    assert losses[0] == losses[1]
    assert len({*losses[0], *losses[2]}) == 6
