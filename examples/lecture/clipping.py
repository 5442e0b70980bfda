"""Clipping the gradient of a recurrent network."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Clipping an LSTM's gradient"
CLAIM = """The gradient of a recurrent network sometimes is very large: one step then undoes what was learned.
Clipping by norm, min(1, γ/|g|) g, or by element keeps it bounded, and a learning rate can be used that diverges
without."""

_WIDTH, _RATE = 64, 1.5


class _Reader(nn.Module):
    """Reads an image row by row."""

    def __init__(self, side: int) -> None:
        self.lstm = nn.LSTM(side, _WIDTH, batch_first=True)
        self.out = nn.Linear(_WIDTH, 10)
        self.side = side

    def forward(self, x: Any) -> Any:
        return self.out(self.lstm(x.reshape(-1, self.side, self.side))[0][:, -1])


def run(setting: Setting) -> Outcome:
    """Train at a learning rate that is too large without clipping."""
    x, y, x_test, y_test = setting.images()
    batch, side = batch_spec(64, x.shape[1]), round(x.shape[1] ** 0.5)
    ways: dict[str, dict[str, float]] = {
        "without": {},
        "by norm, 0.25": {"clip_norm": 0.25},
        "by element, 0.01": {"clip_value": 0.01},
    }
    rows, curves, accuracy = [], {}, {}
    for name, options in ways.items():
        rule = gl.optim.SGD(_RATE, momentum=0.9)
        step = gl.compile_step(
            _Reader(side), classifier_loss, rule, batch, seed=setting.seed, outputs=("gradient_norm",), **options
        )
        losses, norms = [], []
        for epoch in range(setting.of(15, 60)):
            for given in gl.data.batches({"x": x, "y": y}, 64, seed=setting.seed, epoch=epoch, drop_last=True):
                loss, metrics = step(given)
                losses.append(float(loss) if np.isfinite(loss) else np.nan)
                norms.append(float(metrics["gradient_norm"]))
        accuracy[name] = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
        rows.append([name, np.nanmax(norms), float(np.mean(losses[-32:])), accuracy[name]])
        curves[name] = (np.arange(len(losses)), losses)
    clipped = [accuracy[name] for name in ways if name != "without"]
    agrees = min(clipped) > 0.85 and accuracy["without"] < min(clipped) - 0.1
    seen = f"""At a learning rate of {_RATE} the test accuracy is {accuracy["without"]:.1%} without clipping, and
    {clipped[0]:.1%} and {clipped[1]:.1%} with it, by norm and by element."""
    columns = ["clipping", "largest |g|", "loss of the last steps", "test accuracy"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "step", "loss", curves, log_y=True)])
