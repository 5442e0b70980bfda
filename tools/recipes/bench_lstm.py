"""The LSTM of the benchmark."""

from __future__ import annotations

from typing import Any

from ...engine import nn, optim
from ...ir import spec
from .classification import loss
from .recipe import Ingredients

INPUT, HIDDEN, STEPS, BATCH_SIZE, CLASSES = 64, 256, 64, 32, 10


class LastState(nn.Module):
    """Logits of a class by the last state of an LSTM over x (steps, batch, input)."""

    def __init__(self, inputs: int = INPUT, hidden: int = HIDDEN, classes: int = CLASSES) -> None:
        self.lstm = nn.LSTM(inputs, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][-1])


def lstm_bench() -> Ingredients:
    """64 steps of 64 numbers through an LSTM of 256, batches of 32, AdamW."""
    batch = {"x": spec((STEPS, BATCH_SIZE, INPUT)), "y": spec(BATCH_SIZE, "int64")}
    return Ingredients(LastState(), loss, optim.AdamW(1e-3), batch)
