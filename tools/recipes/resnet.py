"""A small residual network for MNIST's 28x28 digits."""

from __future__ import annotations

from ...engine import nn, optim
from .classification import batch_of, loss_and_accuracy
from .recipe import Ingredients
from .residual_network import residual_network

_STEPS = 4 * 468


def resnet() -> Ingredients:
    """Three residual blocks of 16, 32 and 64 channels, batches of 128, AdamW; the learning rate rises to 0.01 and falls
    to nothing over the run.
    """
    model = nn.Sequential(nn.Unflatten(1, (1, 28, 28)), residual_network(1, 16, 32, 64))
    rate = optim.OneCycle(1e-2, steps=_STEPS, cycle_momentum=True)
    return Ingredients(model, loss_and_accuracy, optim.AdamW(rate), batch_of(128, 784))
