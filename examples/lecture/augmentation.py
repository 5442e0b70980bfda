"""Augmentation inside of the compiled step."""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Data augmentation"
CLAIM = """Images that are shifted, turned and resized a little at random are as good as more data: with few images
the network generalizes better, though its training loss is larger."""


class _Network(nn.Module):
    """Two convolutions; in training each image is changed at random first."""

    def __init__(self, side: int, augmented: bool) -> None:
        self.side, self.augmented = side, augmented
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.out = nn.Linear(32 * (side // 2) ** 2, 10)
        self.change = nn.augment.RandomAffine(degrees=12, translate=(0.1, 0.1), scale=(0.9, 1.1))

    def forward(self, x: Any) -> Any:
        x = x.reshape(-1, 1, self.side, self.side)
        if self.augmented:
            x = self.change(x)
        x = nn.max_pool2d(nn.relu(self.second(nn.relu(self.first(x)))), 2)
        return self.out(x.reshape(x.shape[0], -1))


def run(setting: Setting) -> Outcome:
    """Train on few digits, with and without."""
    x, y, x_test, y_test = setting.images()
    side, count, seeds = round(x.shape[1] ** 0.5), 150, range(setting.of(3, 10))
    rows, curves, mean = [], {}, {}
    for augmented in (False, True):
        accuracies, losses = [], []
        for seed in seeds:
            step = gl.compile_step(
                _Network(side, augmented), classifier_loss, gl.optim.Adam(2e-3), batch_spec(30, x.shape[1]), seed=seed
            )
            data, held_out = gl.data.split({"x": x, "y": y}, [count, -1], seed=seed)[0], {"x": x_test, "y": y_test}
            epochs = setting.of(60, 200)
            history = gl.fit(step, data, epochs=epochs, seed=seed, progress=False)
            losses.append(history["loss"][-1])
            accuracies.append(gl.evaluate(step, held_out, [gl.metrics.accuracy])["accuracy"])
        name = "with augmentation" if augmented else "without"
        mean[augmented] = sum(accuracies) / len(accuracies)
        rows.append([name, sum(losses) / len(losses), mean[augmented], min(accuracies), max(accuracies)])
        curves[name] = (history["epoch"], history["loss"])
    agrees = mean[True] > mean[False] and rows[1][1] > rows[0][1]
    seen = f"""With {count} images to train with, {mean[False]:.1%} of the test images are told right without
    augmentation, {mean[True]:.1%} with it (means of {len(seeds)} runs); the training loss is larger with it."""
    columns = ["", "training loss", "test accuracy", "least", "most"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "epoch", "loss", curves, log_y=True)])
