"""A model trained beside its twin in torch, from the same parameters, by the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

LossFunction = Callable[[Any, Any], Any]


def assert_trains_like_torch(
    ours: nn.Module,
    theirs: Any,
    loss_fn: LossFunction,
    their_loss_fn: LossFunction,
    batches: Sequence[Any],
    optimizer: gl.optim.Optimizer,
    their_optimizer: Callable[[Any], Any],
    tolerance: float = 1e-9,
    **options: Any,
) -> gl.Step:
    """Compare losses and parameters over an update by each of `batches` in float64, and return our step.

    The twin takes our initial parameters by their names. Its loss function gets tensors for arrays, its optimizer is
    made of its parameters. Both are in training: dropout must be 0. `options` are those of `gl.compile_step`.
    """
    torch = pytest.importorskip("torch")
    ours, theirs = ours.to("float64"), theirs.double()
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict(3).items()}, strict=True)
    step = gl.compile_step(ours, loss_fn, optimizer, batches[0], threads=1, seed=3, **options)
    update = their_optimizer([p for p in theirs.parameters() if p.requires_grad])
    for batch in batches:
        update.zero_grad()
        loss = their_loss_fn(theirs, gl.tree.map(torch.tensor, batch))
        loss.backward()
        update.step()
        result = step(batch)
        np.testing.assert_allclose(result[0] if isinstance(result, tuple) else result, loss.item(), rtol=tolerance)
    names = dict(theirs.named_parameters())
    assert list(names) == list(step.parameters())
    for name, array in step.parameters().items():
        peer = names[name].detach().numpy()
        np.testing.assert_allclose(array, peer, rtol=tolerance, atol=tolerance, err_msg=name)
    return step
