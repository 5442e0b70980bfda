"""A model that is trained beside its like in torch, from the same initial values, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

Loss = Callable[[Any, Any], Any]


def assert_trains_like_torch(
    ours: nn.Module,
    loss_fn: Loss,
    optimizer: optim.Optimizer,
    theirs: Any,
    their_loss_fn: Loss,
    make_their_optimizer: Callable[[Any], Any],
    batches: Sequence[Any],
    tolerance: float = 1e-9,
    **options: Any,
) -> gl.Step:
    """One step with each of the batches: losses and parameters agree. `theirs` takes up the state dict of `ours`,
    strictly; `options` are those of `gl.compile_step`. Floats of the batches are float64.
    """
    torch = pytest.importorskip("torch")
    ours, theirs = ours.to("float64"), theirs.double()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()}, strict=True)
    step = gl.compile_step(ours, loss_fn, optimizer, batches[0], threads=1, **options)
    their_optimizer = make_their_optimizer(theirs.parameters())
    for batch in batches:
        their_optimizer.zero_grad()
        expected = their_loss_fn(theirs, gl.tree.map(torch.tensor, batch))
        expected.backward()
        their_optimizer.step()
        result = step(batch)
        loss = result[0] if isinstance(result, tuple) else result
        np.testing.assert_allclose(loss, expected.item(), rtol=tolerance, atol=tolerance)
    parameters = dict(theirs.named_parameters())
    for name, array in step.parameters().items():
        np.testing.assert_allclose(array, parameters[name].detach().numpy(), rtol=tolerance, atol=tolerance)
    return step
