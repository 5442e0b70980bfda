"""PyTorch's side of the benchmark: eager, or with the loss under `torch.compile`; AdamW is the fused one in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import optree
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from ...engine.nn.binding import init_parameters
from ..command_error import CommandError
from ..recipes import bench_gpt
from ..recipes.bench_mlps import WIDTHS
from .side import Side
from .workloads import Task

F = nn.functional


def _mlp(*widths: int) -> Any:
    layers: list[Any] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        rows, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, -1)
        q, k, v = (t.view(rows, length, self.heads, -1).transpose(1, 2) for t in parts)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.proj(attended.reshape(rows, length, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class _Transformer(nn.Module):
    def __init__(self, vocabulary: int, context: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[_Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        logits = self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))
        return logits.flatten(0, 1)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        changes = channels != out_channels or stride != 1
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Any) -> Any:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.shortcut(x))


def _cnn() -> Any:
    first = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [_ResidualBlock(16, 16), _ResidualBlock(16, 32, 2), _ResidualBlock(32, 64, 2)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(64, 256), nn.Linear(256, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][-1])


MODELS: Mapping[str, Callable[[], Any]] = {
    **{name: lambda widths=widths: _mlp(*widths) for name, widths in WIDTHS.items()},
    "gpt": lambda: _Transformer(
        bench_gpt.VOCABULARY, bench_gpt.CONTEXT, bench_gpt.WIDTH, bench_gpt.HEADS, bench_gpt.LAYERS
    ),
    "cnn": _cnn,
    "lstm": _Lstm,
}
"""The model of each workload; its parameters come in the order of Gradloom's."""


def _ingredients(task: Task) -> tuple[Any, Any, Any]:
    """Model, loss function and optimizer."""
    if task.name in MODELS:
        model = MODELS[task.name]()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        return model, lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"].flatten()), optimizer
    peer = task.peer("torch")
    if peer is None:
        raise CommandError(f"beside {task.name} there is no function of its name and _torch")
    return peer()


def build(task: Task, compiled: bool = False) -> Side:
    """The step, from Gradloom's initial parameters."""
    model, loss_fn, optimizer = _ingredients(task)
    values = list(init_parameters(task.ingredients.model, 0).values())
    places = list(model.parameters())
    if [tuple(p.shape) for p in places] != [v.shape for v in values]:
        raise CommandError(f"{task.name}: the parameters in PyTorch have other shapes, or another order")
    with torch.no_grad():
        for place, value in zip(places, values):
            place.copy_(torch.from_numpy(value))
    batch = optree.tree_map(torch.from_numpy, task.batch)

    def loss_of_batch() -> Any:
        return loss_fn(model, batch)

    run_loss = torch.compile(loss_of_batch) if compiled else loss_of_batch

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = run_loss()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def bytes_beyond() -> int:
        optimizer.zero_grad(set_to_none=True)
        return _peak_bytes(step)

    return Side(step, bytes_beyond)


def build_compiled(task: Task) -> Side:
    """As `build`, with `torch.compile`."""
    return build(task, compiled=True)


def _peak_bytes(step: Callable[[], Any]) -> int:
    """The most bytes that a call holds at once of what it allocates, gradients included, by PyTorch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    profiler: Any = profile.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
