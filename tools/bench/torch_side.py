"""PyTorch's side of the benchmark: eager, or with the loss under `torch.compile`; AdamW is the fused one in both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from .workloads import Mlp


def build(workload: Mlp, compiled: bool = False) -> Callable[[], Any]:
    """A function that does one training step and returns its loss."""
    layers: list[Any] = []
    for inner, outer in pairwise(workload.widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    model.load_state_dict({name: torch.from_numpy(array) for name, array in workload.parameters().items()})
    x, y = map(torch.from_numpy, workload.batch())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def loss_of_batch() -> Any:
        return nn.functional.cross_entropy(model(x), y)

    loss_fn = torch.compile(loss_of_batch) if compiled else loss_of_batch

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def build_compiled(workload: Mlp) -> Callable[[], Any]:
    """As `build`, with `torch.compile`."""
    return build(workload, compiled=True)
