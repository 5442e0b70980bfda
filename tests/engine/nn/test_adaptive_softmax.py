"""`AdaptiveLogSoftmaxWithLoss` and `LinearCrossEntropyLoss` against torch, and what they refuse."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import ShapeError, nn
from modules_against_torch import assert_module_like_torch

RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 16))
TARGETS = np.array([0, 3, 4, 5, 9, 10, 19, 2, 12])


@pytest.mark.peers
@pytest.mark.parametrize("options", [{}, {"div_value": 2.0, "head_bias": True}], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_log_probabilities_and_gradients_are_torchs(options: dict[str, Any], batched: bool) -> None:
    torch = pytest.importorskip("torch")
    ours = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [4, 10], **options)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [4, 10], **options)
    peer = _Peer(torch, theirs)
    inputs = (X, TARGETS) if batched else (X[1], TARGETS[1])
    for pick in (0, 1):
        assert_module_like_torch(ours, peer, *inputs, pick=pick)
    values = ours.state_dict()
    if batched:
        with torch.no_grad():
            np.testing.assert_allclose(_log_prob(ours, values), theirs.log_prob(torch.tensor(X)), rtol=1e-9)
            np.testing.assert_array_equal(_predict(ours, values), theirs.predict(torch.tensor(X)))


def _Peer(torch: Any, module: Any) -> Any:
    """`module`, whose named tuple is a plain one."""
    module.forward = (lambda forward: lambda *args: tuple(forward(*args)))(module.forward)
    return module


class _Call(nn.Module):
    def __init__(self, inside: nn.Module, name: str) -> None:
        self.inside = inside
        self.name = name

    def forward(self, x: Any) -> Any:
        return getattr(self.inside, self.name)(x)


def _log_prob(model: nn.Module, values: dict[str, Any]) -> Any:
    return nn.functional_call(_Call(model, "log_prob"), {f"inside.{n}": v for n, v in values.items()}, X)


def _predict(model: nn.Module, values: dict[str, Any]) -> Any:
    return nn.functional_call(_Call(model, "predict"), {f"inside.{n}": v for n, v in values.items()}, X)


def test_probabilities_sum_to_one_and_a_class_that_is_none_stops_the_run() -> None:
    model = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [4, 10], dtype="float64")
    values = model.state_dict()
    np.testing.assert_allclose(np.exp(_log_prob(model, values)).sum(1), 1)
    run = gl.compile(lambda t: nn.functional_call(model, values, X, t).loss)
    assert run(TARGETS) > 0
    with pytest.raises(IndexError):
        run(TARGETS + 19)
    with pytest.raises(ShapeError, match=r"the input is \(N, in_features\) and targets \(N,\)"):
        nn.functional_call(model, values, X, TARGETS[1:])
    for cutoffs in ([], [4, 4], [0, 4], [10, 4], [4, 20], [4.5]):
        with pytest.raises(ValueError, match="whole numbers that rise between 1 and n_classes - 1 = 19"):
            nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs)  # pyright: ignore[reportArgumentType]


@pytest.mark.peers
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True, "label_smoothing": 0.1, "ignore_index": 4},
        {"reduction": "sum", "weight": np.linspace(0.5, 1.5, 20)},
        {"reduction": "none", "out_features": (3,), "bias": True},
    ],
    ids=lambda o: ",".join(o),
)
def test_the_loss_of_a_linear_map_is_torchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    peer = {n: torch.tensor(o) if isinstance(o, np.ndarray) else o for n, o in options.items()}
    targets = RNG.integers(0, 20, (9, *options.get("out_features", ())))
    assert_module_like_torch(
        nn.LinearCrossEntropyLoss(16, 20, **options), torch.nn.LinearCrossEntropyLoss(16, 20, **peer), X, targets
    )


def test_how_it_is_computed_is_not_chosen() -> None:
    x, weight, target = X, RNG.standard_normal((20, 16)), RNG.integers(0, 20, 9)
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=2, chunking_method=None, acc_dtype="float32")
    plain = nn.linear_cross_entropy(x, weight, target)
    assert nn.linear_cross_entropy(x, weight, target, options=options) == plain
    with pytest.raises(TypeError, match=r"options are nn\.LinearCrossEntropyOptions"):
        nn.LinearCrossEntropyLoss(2, 3, options=object())
    with pytest.raises(NotImplementedError, match="sums are float32 or float64, got acc_dtype=bfloat16"):
        nn.linear_cross_entropy(x, weight, target, options=nn.LinearCrossEntropyOptions(acc_dtype="bfloat16"))
    for wrong, message in (
        ({"acc_policy": "exact"}, "acc_policy is one of auto, accurate"),
        ({"chunking_method": "aspect_ratio:0"}, "chunking_method is 'auto'"),
        ({"batch_chunk_size": 0}, "batch_chunk_size is a whole number of 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.LinearCrossEntropyOptions(**wrong)
    with pytest.raises(ValueError, match="ignore_index is for labels"):
        nn.linear_cross_entropy(x, weight, np.full((9, 20), 0.05), ignore_index=3)
    with pytest.raises(ShapeError, match=r"linear_bias is \(20,\), as the weight, got \(19,\)"):
        nn.linear_cross_entropy(x, weight, target, linear_bias=np.ones(19))
