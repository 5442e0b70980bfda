"""Gradient penalties and sharpness-aware minimization inside steps, against the same by hand in torch."""

from __future__ import annotations

import copy
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

RNG = np.random.default_rng(0)
BATCH = {"x": RNG.normal(size=(8, 5)), "y": RNG.normal(size=(8, 2))}


def model_of(dtype: str = "float64") -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["y"]), {"size": np.mean(batch["x"] ** 2)}


def torch_step(torch: Any, values: dict[str, np.ndarray], gradients: Any) -> dict[str, np.ndarray]:
    """The parameters after a step of gradient descent by hand."""
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).double()
    net.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    x, y = torch.tensor(BATCH["x"]), torch.tensor(BATCH["y"])
    found = gradients(net, lambda net: torch.nn.functional.mse_loss(net(x), y))
    return {name: (p - 0.1 * g).detach().numpy() for (name, p), g in zip(net.named_parameters(), found)}


def penalty(torch: Any, squared: bool) -> Any:
    def gradients(net: Any, loss: Any) -> Any:
        value = loss(net)
        first = torch.autograd.grad(value, list(net.parameters()), create_graph=True)
        total = sum((g**2).sum() for g in first)
        return torch.autograd.grad(value + 0.3 * (total if squared else total.sqrt()), list(net.parameters()))

    return gradients


def sharpness(torch: Any, adaptive: bool) -> Any:
    def gradients(net: Any, loss: Any) -> Any:
        first = torch.autograd.grad(loss(net), list(net.parameters()))
        there = copy.deepcopy(net)
        with torch.no_grad():
            scaled = [p.abs() * g if adaptive else g for p, g in zip(net.parameters(), first)]
            norm = sum((s**2).sum() for s in scaled).sqrt() + 1e-12
            for p, q, g in zip(there.parameters(), net.parameters(), first):
                p += 0.2 * (q**2 if adaptive else 1) * g / norm
        return torch.autograd.grad(loss(there), list(there.parameters()))

    return gradients


@pytest.mark.peers
@pytest.mark.parametrize("option", [False, True])
def test_a_step_is_that_of_torch_by_hand(option: bool) -> None:
    torch = pytest.importorskip("torch")
    plain, _ = gl.compile_step(model_of(), loss_fn, gl.optim.SGD(0.1), BATCH)(BATCH)
    for transformed, gradients, adds in (
        (nn.gradient_penalty(loss_fn, 0.3, squared=option), penalty(torch, option), True),
        (nn.sharpness_aware(loss_fn, 0.2, adaptive=option), sharpness(torch, option), False),
    ):
        step = gl.compile_step(model_of(), transformed, gl.optim.SGD(0.1), BATCH)
        values = {name: value.copy() for name, value in step.parameters().items()}
        loss, metrics = step(BATCH)
        expected = torch_step(torch, values, gradients)
        for name, value in step.parameters().items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(metrics["size"], np.mean(BATCH["x"] ** 2))
        assert (loss > plain + 1e-3) if adds else (loss == pytest.approx(plain, rel=1e-12))
        step.report.check()


def test_they_compose_with_each_other_and_with_parts_of_the_batch() -> None:
    both = nn.sharpness_aware(nn.gradient_penalty(loss_fn, 0.1), 0.05)
    steps = [gl.compile_step(model_of(), both, gl.optim.SGD(0.1), BATCH, memory=m) for m in (None, "20KB")]
    losses = [[float(step(BATCH)[0]) for _ in range(5)] for step in steps]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


class Normalized(nn.Module):
    def __init__(self) -> None:
        self.linear = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.Linear(4, 2)
        self.frozen.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.frozen(self.norm(self.linear(x)))


def test_statistics_count_once_and_what_is_frozen_does_not_move() -> None:
    batch = {name: value.astype("float32") for name, value in BATCH.items()}
    plain, sharp = (
        gl.compile_step(Normalized(), f, gl.optim.SGD(0.0), batch) for f in (loss_fn, nn.sharpness_aware(loss_fn, 1.0))
    )
    for step in (plain, sharp):
        step(batch)
    for name, value in plain.state_dict().items():
        np.testing.assert_allclose(sharp.state_dict()[name], value, rtol=1e-6, err_msg=name)


def test_a_gradient_of_zero_has_no_direction() -> None:
    for transformed in (nn.gradient_penalty(flat, 1.0, squared=False), nn.sharpness_aware(flat)):
        step = gl.compile_step(model_of(), transformed, gl.optim.SGD(0.1), BATCH)
        before = {name: value.copy() for name, value in step.parameters().items()}
        assert step(BATCH) == 0
        for name, value in step.parameters().items():
            np.testing.assert_array_equal(value, before[name])


def flat(model: Any, batch: Any) -> Any:
    return np.sum(model(batch["x"])) * 0.0


def test_what_is_wrong_is_told() -> None:
    for transform in (nn.gradient_penalty, nn.sharpness_aware):
        for wrong in (-1.0, np.nan, np.inf, "a"):
            with pytest.raises(ValueError, match="is 0 or more, got"):
                transform(loss_fn, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="needs a model whose parameters have values"):
            transform(loss_fn, 0.1)(model_of(), BATCH)
        with pytest.raises(gl.ShapeError, match="the function returned shape"):
            gl.plan_step(model_of(), transform(lambda m, b: m(b["x"]), 0.1), gl.optim.SGD(0.1), BATCH)
