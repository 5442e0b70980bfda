"""Fifty steps against PyTorch from the same parameters: the same losses, and the same parameters at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
tnn: Any = torch.nn
torch.set_num_threads(1)

STEPS = 50
ROWS, FEATURES, HIDDEN, CLASSES = 12, 6, 10, 4


def classification(dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "x": rng.standard_normal((ROWS, FEATURES)).astype(dtype),
        "y": rng.integers(0, CLASSES, ROWS),
        "t": rng.standard_normal((ROWS, CLASSES)).astype(dtype),
        "i": rng.integers(0, 7, (ROWS, 3)),
    }


def same_run(
    dtype: str,
    model: nn.Module,
    peer: Any,
    loss: Callable[[Any, Any], Any],
    peer_loss: Callable[[Any, Any], Any],
    optimizer: optim.Optimizer,
    peer_optimizer: Callable[[Any], Any],
    before_update: Callable[[Any], None] = lambda parameters: None,
    **options: Any,
) -> None:
    """Train both on one batch; `before_update` may clip the peer's gradients."""
    peer = peer.to(getattr(torch, dtype))
    batch = classification(dtype)
    step = gl.compile_step(model, loss, optimizer, batch, **options)
    initial = step.parameters()
    names = dict(peer.named_parameters())
    assert initial.keys() == names.keys()
    with torch.no_grad():
        for name, parameter in names.items():
            parameter.copy_(torch.from_numpy(initial[name]))
    peer_batch = {name: torch.from_numpy(array) for name, array in batch.items()}
    trainer = peer_optimizer(peer.parameters())
    losses, peer_losses = [], []
    for _ in range(STEPS):
        losses.append(step(batch))
        trainer.zero_grad()
        value = peer_loss(peer, peer_batch)
        value.backward()
        before_update(list(peer.parameters()))
        trainer.step()
        peer_losses.append(value.item())
    relative = 1e-4 if dtype == "float32" else 1e-9
    assert losses[0].dtype == dtype
    np.testing.assert_allclose(losses, peer_losses, rtol=relative, atol=relative / 100)
    for name, array in step.parameters().items():
        np.testing.assert_allclose(array, names[name].detach().numpy(), rtol=20 * relative, atol=2 * relative)
    assert losses[-1] < losses[0]
    assert step.steps == STEPS


def mlp(dtype: str, activation: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, HIDDEN, dtype=dtype), activation or nn.Tanh(), nn.Linear(HIDDEN, CLASSES, dtype=dtype)
    )


def peer_mlp(activation: Any = None) -> Any:
    return tnn.Sequential(tnn.Linear(FEATURES, HIDDEN), activation or tnn.Tanh(), tnn.Linear(HIDDEN, CLASSES))


def cross_entropy(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def peer_cross_entropy(model: Any, batch: Any) -> Any:
    return tnn.functional.cross_entropy(model(batch["x"]), batch["y"])


def mse(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["t"])


def peer_mse(model: Any, batch: Any) -> Any:
    return tnn.functional.mse_loss(model(batch["x"]), batch["t"])


OPTIMIZERS = {
    "sgd": (optim.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "weight decay": (optim.SGD(0.1, weight_decay=0.01), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01)),
    "momentum": (
        optim.SGD(0.05, momentum=0.9, dampening=0.1),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, dampening=0.1),
    ),
    "nesterov": (
        optim.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": (optim.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "adam, L2, amsgrad": (
        optim.Adam(0.01, betas=(0.8, 0.95), weight_decay=0.01, amsgrad=True),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95), weight_decay=0.01, amsgrad=True),
    ),
    "adamw": (optim.AdamW(0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, dtype: str):
    same_run(dtype, mlp(dtype), peer_mlp(), cross_entropy, peer_cross_entropy, *OPTIMIZERS[name])


ACTIVATIONS = {
    "relu": (nn.ReLU(), lambda: tnn.ReLU()),
    "gelu": (nn.GELU(), lambda: tnn.GELU()),
    "gelu by tanh": (nn.GELU("tanh"), lambda: tnn.GELU("tanh")),
    "silu": (nn.SiLU(), lambda: tnn.SiLU()),
    "softplus": (nn.Softplus(), lambda: tnn.Softplus()),
    "sigmoid": (nn.Sigmoid(), lambda: tnn.Sigmoid()),
    "softmax": (nn.Softmax(), lambda: tnn.Softmax(-1)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str):
    activation, peer_activation = ACTIVATIONS[name]
    same_run(dtype, mlp(dtype, activation), peer_mlp(peer_activation()), mse, peer_mse, *OPTIMIZERS["sgd"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_by_value_and_norm(dtype: str):
    def clip(parameters: Any) -> None:
        torch.nn.utils.clip_grad_value_(parameters, 0.02)
        torch.nn.utils.clip_grad_norm_(parameters, 0.05)

    sgd = optim.SGD(0.5), lambda p: torch.optim.SGD(p, 0.5)
    same_run(dtype, mlp(dtype), peer_mlp(), mse, peer_mse, *sgd, clip, clip_value=0.02, clip_norm=0.05)


def test_a_norm_below_the_limit_changes_nothing():
    same_run("float64", mlp("float64"), peer_mlp(), mse, peer_mse, *OPTIMIZERS["sgd"], clip_norm=1e6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accumulation_in_parts(dtype: str):
    same_run(dtype, mlp(dtype), peer_mlp(), cross_entropy, peer_cross_entropy, *OPTIMIZERS["adam"], accumulate=4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding_layer_norm_and_dropout_of_nothing(dtype: str):
    model = nn.Sequential(
        nn.Embedding(7, 8, dtype=dtype),
        nn.Flatten(),
        nn.LayerNorm(24, dtype=dtype),
        nn.Dropout(0.0),
        nn.Linear(24, CLASSES, bias=False, dtype=dtype),
    )
    peer = tnn.Sequential(
        tnn.Embedding(7, 8), tnn.Flatten(), tnn.LayerNorm(24), tnn.Dropout(0.0), tnn.Linear(24, CLASSES, bias=False)
    )
    same_run(
        dtype,
        model,
        peer,
        lambda model, batch: nn.cross_entropy(model(batch["i"]), batch["y"]),
        lambda model, batch: tnn.functional.cross_entropy(model(batch["i"]), batch["y"]),
        *OPTIMIZERS["momentum"],
    )


class Tied(nn.Module):
    """Embeds, and scores with the same matrix."""

    def __init__(self, dtype: str) -> None:
        self.embed = nn.Embedding(7, 8, dtype=dtype)
        self.inner = nn.Linear(8, 8, dtype=dtype)
        self.score = nn.Linear(8, 7, dtype=dtype)
        self.score.weight = self.embed.weight

    def forward(self, index: Any) -> Any:
        return self.score(nn.relu(self.inner(self.embed(index))))


class PeerTied(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.score = tnn.Embedding(7, 8), tnn.Linear(8, 8), tnn.Linear(8, 7)
        self.score.weight = self.embed.weight

    def forward(self, index: Any) -> Any:
        return self.score(torch.relu(self.inner(self.embed(index))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tied_weights(dtype: str):
    same_run(
        dtype,
        Tied(dtype),
        PeerTied(),
        lambda model, batch: nn.cross_entropy(model(batch["i"][:, 0]), batch["i"][:, 1]),
        lambda model, batch: tnn.functional.cross_entropy(model(batch["i"][:, 0]), batch["i"][:, 1]),
        *OPTIMIZERS["adam"],
    )


def test_a_batch_without_rows_gives_nan_and_leaves_parameters():
    model, peer = mlp("float32"), peer_mlp()
    step = gl.compile_step(model, cross_entropy, optim.SGD(0.1), classification("float32"))
    before = step.parameters()
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            parameter.copy_(torch.from_numpy(before[name]))
    loss = step({name: array[:0] for name, array in classification("float32").items()})
    peer_loss = tnn.functional.cross_entropy(peer(torch.zeros(0, FEATURES)), torch.zeros(0, dtype=torch.int64))
    peer_loss.backward()
    assert np.isnan(loss)
    assert np.isnan(peer_loss.item())
    for name, array in step.parameters().items():
        assert dict(peer.named_parameters())[name].grad.abs().sum() == 0
        np.testing.assert_array_equal(array, before[name])


class Reader(nn.Module):
    """Classes by the last outputs of a recurrent network over embeddings."""

    def __init__(self, kind: str, dtype: str, **options: Any) -> None:
        self.embedding = nn.Embedding(7, FEATURES, dtype=dtype)
        self.network = getattr(nn, kind)(FEATURES, HIDDEN, batch_first=True, dtype=dtype, **options)
        self.head = nn.Linear(HIDDEN * (1 + options.get("bidirectional", False)), CLASSES, dtype=dtype)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.network(self.embedding(tokens))[0][:, -1])


class PeerReader(tnn.Module):
    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.embedding = tnn.Embedding(7, FEATURES)
        self.network = getattr(tnn, kind)(FEATURES, HIDDEN, batch_first=True, **options)
        self.head = tnn.Linear(HIDDEN * (1 + options.get("bidirectional", False)), CLASSES)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.network(self.embedding(tokens))[0][:, -1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("kind", "options"), [("LSTM", {}), ("LSTM", {"num_layers": 2, "bidirectional": True}), ("GRU", {}), ("RNN", {})]
)
def test_recurrent_networks_train_alike(dtype: str, kind: str, options: dict[str, Any]):
    same_run(
        dtype,
        Reader(kind, dtype, **options),
        PeerReader(kind, **options),
        lambda model, batch: nn.cross_entropy(model(batch["i"]), batch["y"]),
        lambda model, batch: tnn.functional.cross_entropy(model(batch["i"]), batch["y"]),
        optim.AdamW(0.01),
        lambda p: torch.optim.AdamW(p, 0.01),
        clip_norm=1.0,
        before_update=lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0),
    )
