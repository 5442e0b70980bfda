"""The medium word model of Zaremba, Sutskever and Vinyals 2014, "Recurrent neural network regularization", 19.8 million
parameters, over 500 steps.
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn

VOCABULARY, WIDTH, STEPS = 10_000, 650, 500


class WordModel(nn.Module):
    """Logits (N, T, vocabulary) of the words that follow on each of `words` (N, T)."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, dropout=0.5, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.out = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, words: Any) -> Any:
        outputs, _ = self.lstm(self.dropout(self.embedding(words)))
        return self.out(self.dropout(outputs))


def loss_fn(model: Any, batch: Any) -> Any:
    logits = model(batch["words"])
    return nn.cross_entropy(logits.reshape(-1, VOCABULARY), batch["next"].reshape(-1))


def recipe() -> tuple[Any, ...]:
    """20 texts of 500 words."""
    batch = {name: gl.spec((20, STEPS), "int64") for name in ("words", "next")}
    return WordModel(), loss_fn, gl.optim.SGD(1.0), batch
