"""BERT base with the heads it is pre-trained with, 110 million parameters: Devlin et al. 2019, "BERT: pre-training of
deep bidirectional transformers for language understanding".
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.nn import functional as F

VOCABULARY, WIDTH, CONTEXT = 30_522, 768, 512
MASKED = 80


class Bert(nn.Module):
    """Logits of the tokens at masked places (N, K, vocabulary), and of whether sentences follow each other (N, 2)."""

    def __init__(self, layers: int = 12, heads: int = 12, dropout: float = 0.1) -> None:
        self.words = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.sentences = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            WIDTH, heads, 4 * WIDTH, dropout, "gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.transform = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH, eps=1e-12))
        self.decoder = nn.Linear(WIDTH, VOCABULARY)
        self.decoder.weight = self.words.weight
        self.follows = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Any, sentences: Any, places: Any) -> tuple[Any, Any]:
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.sentences(sentences)
        x = self.encoder(self.dropout(self.norm(x)))
        masked = x[np.arange(len(tokens))[:, None], places]
        return self.decoder(self.transform(masked)), self.follows(F.tanh(self.pooler(x[:, 0])))


def loss_fn(model: Any, batch: Any) -> Any:
    logits, follows = model(batch["tokens"], batch["sentences"], batch["places"])
    words = F.cross_entropy(logits.reshape(-1, VOCABULARY), batch["words"].reshape(-1))
    return words + F.cross_entropy(follows, batch["follows"])


def recipe() -> tuple[Any, ...]:
    """12 layers of width 768, 16 sequences of 512 tokens, 80 of them masked."""
    rows = 16
    shapes = {"tokens": (rows, CONTEXT), "sentences": (rows, CONTEXT), "places": (rows, MASKED)}
    shapes |= {"words": (rows, MASKED), "follows": (rows,)}
    batch = {name: gl.spec(shape, "int64") for name, shape in shapes.items()}
    return Bert(), loss_fn, gl.optim.AdamW(1e-4, weight_decay=0.01), batch
