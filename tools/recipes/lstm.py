"""A character-level LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...engine import nn
from . import characters
from .recipe import Ingredients


@dataclass(frozen=True)
class Settings(characters.Settings):
    """An LSTM and how it is trained."""

    name = "lstm"

    batch_size: int = 32
    lr: float = 4e-3
    weight_decay: float = 0.01
    width: int = 64
    """Of the embedding of a character."""
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.0
    """Of what goes into each layer but the first, and into the head."""

    def model(self, vocabulary: int) -> nn.Module:
        return CharacterLSTM(vocabulary, self)


class CharacterLSTM(nn.Module):
    """Logits (N, T, vocabulary) of the characters that follow on each of `tokens` (N, T); a window begins with zeros.

    Graves 2013, "Generating sequences with recurrent neural networks".
    """

    def __init__(self, vocabulary: int, settings: Settings) -> None:
        self.embedding = nn.Embedding(vocabulary, settings.width)
        between = settings.dropout if settings.layers > 1 else 0.0
        self.lstm = nn.LSTM(settings.width, settings.hidden, settings.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.hidden, vocabulary)

    def forward(self, tokens: Any) -> Any:
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(self.dropout(states))


def lstm() -> Ingredients:
    """An LSTM of 256 over 128 characters of Python's documentation, batches of 32, AdamW."""
    return Settings().ingredients()
