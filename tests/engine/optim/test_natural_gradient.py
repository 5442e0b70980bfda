"""Natural gradient steps by conjugate gradients: against the Gauss-Newton matrix written out, and to all digits."""

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from second_order import F64, crossed, run, squared

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 3))
Y = X @ RNG.standard_normal((3, 2)) + 0.1 * RNG.standard_normal((24, 2))
LABELS = RNG.integers(0, 3, 24)


def network(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4, **F64), nn.Tanh(), nn.Linear(4, outputs, **F64))


def flat(arrays: Any) -> Any:
    return np.concatenate([np.ravel(a) for a in arrays.values()])


def gauss_newton(model: nn.Module, values: Any) -> tuple[Any, Any]:
    """The gradient of the cross entropy of the batch, and its Gauss-Newton matrix."""
    logits, pullback = gl.vjp(lambda v: nn.functional_call(model, v, X), values)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.stack([flat(pullback(e.reshape(logits.shape))[0]) for e in np.eye(logits.size)])
    rows = rows.reshape(*logits.shape, -1)
    hessians = (p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None, :]) / len(X)
    gradient = np.einsum("nc,ncp->p", (p - np.eye(3)[LABELS]) / len(X), rows)
    return gradient, np.einsum("nap,nab,nbq->pq", rows, hessians, rows)


def test_a_step_solves_for_the_gradient_by_the_gauss_newton_matrix():
    model, damping, decay = network(3), 0.01, 0.1
    begin = nn.init_parameters(model)
    gradient, matrix = gauss_newton(model, begin)
    matrix += (damping + decay) * np.eye(len(gradient))
    expected = flat(begin) - 0.5 * np.linalg.solve(matrix, gradient + decay * flat(begin))
    fixed = optim.NaturalGradient(0.5, damping, len(gradient), 1e-14, decay, adapt_damping=False)
    step, _ = run(fixed, model, crossed, {"x": X, "y": LABELS}, 1)
    np.testing.assert_allclose(flat(step.parameters()), expected, rtol=1e-8, atol=1e-10)
    assert {name.split(".")[0] for name in step.state()} == {"solution", "step"}


def test_linear_regression_is_solved_to_ten_digits():
    step, losses = run(optim.NaturalGradient(), nn.Linear(3, 2, **F64), squared, {"x": X, "y": Y}, 30)
    best, *_ = np.linalg.lstsq(np.c_[X, np.ones(24)], Y, rcond=None)
    np.testing.assert_allclose(step.parameters()["weight"], best[:3].T, rtol=0, atol=1e-10)
    assert np.diff(losses).max() <= 1e-12


def test_a_network_is_fitted_to_ten_digits():
    target = np.tanh(X @ RNG.standard_normal((3, 3))) @ RNG.standard_normal((3, 2))
    _, losses = run(optim.NaturalGradient(iterations=30), network(2), squared, {"x": X, "y": target}, 80)
    assert losses[-1] < 1e-10
    assert np.diff(losses).max() <= 0


def test_a_classifier_with_a_penalty_comes_to_where_its_gradient_is_zero():
    model = nn.Linear(3, 3, **F64)
    optimizer = optim.NaturalGradient(weight_decay=0.1, iterations=20)
    step, _ = run(optimizer, model, crossed, {"x": X, "y": LABELS}, 20)
    values = step.parameters()
    gradient, _ = gauss_newton(model, values)
    assert np.abs(gradient + 0.1 * flat(values)).max() < 1e-10


def test_the_model_may_give_several_arrays():
    class Heads(nn.Module):
        def __init__(self):
            self.one, self.two = nn.Linear(3, 1, **F64), nn.Linear(3, 1, **F64)

        def forward(self, x):
            return {"one": self.one(x), "two": self.two(x), "length": len(x)}

    def loss_fn(model, batch):
        found = model(batch["x"])
        return np.mean((found["one"] - batch["y"][:, :1]) ** 2 + (found["two"] - batch["y"][:, 1:]) ** 2)

    step, _ = run(optim.NaturalGradient(), Heads(), loss_fn, {"x": X, "y": Y}, 30)
    best, *_ = np.linalg.lstsq(np.c_[X, np.ones(24)], Y, rcond=None)
    np.testing.assert_allclose(step.parameters()["two.weight"], best[:3, 1:].T, rtol=0, atol=1e-10)


def test_recurrent_layers_train_and_training_resumes_to_the_same_bits(tmp_path: Any):
    class Last(nn.Module):
        def __init__(self):
            self.cell = nn.GRU(3, 4, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.cell(x)[0][:, -1])

    sequences = RNG.standard_normal((12, 5, 3)).astype("float32")
    batch = {"x": sequences, "y": np.tanh(sequences.sum(axis=1)[:, :2])}
    optimizer = optim.NaturalGradient(iterations=5)
    step, losses = run(optimizer, Last(), squared, batch, 5, threads=1)
    step.save(tmp_path / "step.safetensors")
    more = [float(step(batch)) for _ in range(5)]
    assert more[-1] < losses[-1] < 0.8 * losses[0]
    again = gl.compile_step(Last(), squared, optimizer, batch, threads=2)
    again.load(tmp_path / "step.safetensors")
    assert [float(again(batch)) for _ in range(5)] == more


def test_parts_of_a_batch_give_the_same_step():
    _, losses = run(optim.NaturalGradient(), network(3), crossed, {"x": X, "y": LABELS}, 3)
    _, parts = run(optim.NaturalGradient(), network(3), crossed, {"x": X, "y": LABELS}, 3, accumulate=2)
    np.testing.assert_allclose(parts, losses, rtol=1e-9)


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        (lambda: optim.NaturalGradient(damping=-1), ValueError, "NaturalGradient: damping is above 0, got -1"),
        (lambda: optim.NaturalGradient(iterations=0), ValueError, "iterations is a whole number of 1 or more, got 0"),
        (lambda: optim.NaturalGradient(tolerance=-1), ValueError, "tolerance is 0 or more, got -1"),
        (lambda: optim.NaturalGradient(lr=-1), ValueError, "lr is a number of 0 or more or a schedule, got -1"),
        (
            lambda: gl.plan_step(
                network(2), lambda m, b: np.mean(m[0](b) ** 2), optim.NaturalGradient(), gl.spec((4, 3), "float64")
            ),
            ValueError,
            r"NaturalGradient: .*loss_fn calls it once, and not in a loop; here loss_fn called the model 0 times",
        ),
        (
            lambda: gl.plan_step(
                network(2),
                lambda m, b: np.sum(m[0].weight ** 2) + 0 * np.sum(np.sign(m(b)) > 0),
                optim.NaturalGradient(),
                gl.spec((4, 3), "float64"),
            ),
            ValueError,
            "here the loss reads none of it",
        ),
    ],
)
def test_what_it_cannot_train_is_said(case: Callable[[], Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        case()
