"""The convolutional network of the benchmark."""

from __future__ import annotations

from ...engine import optim
from ...ir import spec
from .classification import loss
from .recipe import Ingredients
from .residual_network import residual_network

BATCH_SIZE = 32


def cnn() -> Ingredients:
    """Three residual blocks of 16, 32 and 64 channels with batch norm, images 3x32x32, batches of 32, AdamW."""
    batch = {"x": spec((BATCH_SIZE, 3, 32, 32), "float32"), "y": spec((BATCH_SIZE,), "int64")}
    return Ingredients(residual_network(3, 16, 32, 64), loss, optim.AdamW(1e-3), batch)
