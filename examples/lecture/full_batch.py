"""Full batch against SGD: what it takes to match the noise of mini-batches."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Full batch against SGD, with more steps, clipping and regularization"
CLAIM = """Training on the whole batch for as many epochs is far worse than SGD. With a larger rate, clipping, many
more steps, and a penalty of the gradient's norm, which the noise of mini-batches gives for nothing, it comes to
match."""

_COUNT = 512


def _network(pixels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(pixels, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def run(setting: Setting) -> Outcome:
    """The rows of the lecture's table, at our scale."""
    x, y, x_test, y_test = setting.images()
    epochs, seeds = setting.of(20, 40), range(setting.of(3, 10))
    many, clipped = epochs * 20, {"clip_norm": 0.5}
    penalized = nn.gradient_penalty(classifier_loss, 0.02)
    ways: list[tuple[str, int, float, int, Any, dict[str, Any]]] = [
        ("SGD, batches of 16", 16, 0.05, epochs, classifier_loss, {}),
        ("full batch, as many epochs", _COUNT, 0.05, epochs, classifier_loss, {}),
        ("and a larger rate", _COUNT, 0.4, epochs, classifier_loss, {}),
        ("and clipped", _COUNT, 0.4, epochs, classifier_loss, clipped),
        ("and 20 times the steps", _COUNT, 0.4, many, classifier_loss, clipped),
        ("and a penalty of the gradient", _COUNT, 0.4, many, penalized, clipped),
    ]
    rows, mean, curves = [], [], {}
    held_out = {"x": x_test, "y": y_test}
    for name, size, rate, length, loss, options in ways:
        rule, accuracies, losses = gl.optim.SGD(rate, momentum=0.9), [], []
        for seed in seeds:
            data = gl.data.split({"x": x, "y": y}, [_COUNT, -1], seed=seed)[0]
            batch = batch_spec(size, x.shape[1])
            step = gl.compile_step(_network(x.shape[1]), loss, rule, batch, seed=seed, **options)
            history = gl.fit(step, data, epochs=length, seed=seed, progress=False)
            losses.append(history["loss"][-1])
            curves.setdefault(name, (np.array(history["epoch"]) * (_COUNT // size), history["loss"]))
            accuracies.append(gl.evaluate(step, held_out, [gl.metrics.accuracy])["accuracy"])
        mean.append(float(np.mean(accuracies)))
        rows.append([name, length * (_COUNT // size), float(np.mean(losses)), mean[-1]])
    agrees = mean[1] < mean[0] - 0.1 and mean[5] > mean[0] - 0.015 and mean[5] >= mean[4] - 0.005
    seen = f"""SGD tells {mean[0]:.1%} of the test images right, the full batch for as many epochs {mean[1]:.1%};
    with a larger rate, clipping and 20 times the steps {mean[4]:.1%}, and with the penalty {mean[5]:.1%} (means of
    {len(seeds)} runs)."""
    panel = Panel("training, the first run", "step", "loss", curves, log_x=True, log_y=True)
    return Outcome(["", "steps", "training loss", "test accuracy"], rows, seen, agrees, [panel])
