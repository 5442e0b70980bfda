"""Networks of linear layers, and of tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..frameworks import Framework


def perceptron(f: Framework, *widths: int, activation: str = "ReLU", norm: bool = False) -> Any:
    """Linear layers of `widths`, and between them batch norm where asked, and an activation."""
    nn = f.nn
    layers: list[Any] = []
    for inner, outer in pairwise(widths[:-1]):
        layers += [nn.Linear(inner, outer), *([nn.BatchNorm1d(outer)] if norm else []), getattr(nn, activation)()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def autoencoder(f: Framework, pixels: int, hidden: int, latent: int) -> Any:
    """Logits of the pixels (N, pixels), mean and log variance of the numbers between, for standard normal `noise`.

    Kingma and Welling 2014, "Auto-encoding variational Bayes".
    """
    nn = f.nn

    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
            self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
            self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

        def forward(self, x: Any, noise: Any) -> Any:
            h = self.encoder(x)
            mean, log_variance = self.mean(h), self.log_variance(h)
            return self.decoder(mean + f.numpy.exp(log_variance / 2) * noise), mean, log_variance

    return Autoencoder()


def recommender(f: Framework, tables: int, rows: int, width: int, numbers: int, hidden: Sequence[int]) -> Any:
    """A logit for each example of `numbers` numbers and a row of each table: products of all pairs of vectors.

    Naumov et al. 2019, "Deep learning recommendation model for personalization and recommendation systems". The tables
    have sparse gradients.
    """
    nn = f.nn
    vectors = tables + 1

    class Recommender(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList([nn.Embedding(rows, width, sparse=True) for _ in range(tables)])
            self.bottom = perceptron(f, numbers, *hidden, width)
            self.top = perceptron(f, width + vectors**2, *hidden, 1)

        def forward(self, dense: Any, places: Any) -> Any:
            x = self.bottom(dense)
            read = [table(places[:, i]) for i, table in enumerate(self.tables)]
            stacked = f.numpy.stack([x, *read], axis=1)
            pairs = stacked @ stacked.swapaxes(1, 2)
            return self.top(f.numpy.concat([x, pairs.reshape(len(x), vectors**2)], axis=1))[:, 0]

    return Recommender()
