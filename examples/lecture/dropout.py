"""Dropout at test time: the average over masks, and the network with mean activations."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Dropout: Monte Carlo average against mean field"
CLAIM = """At test time one averages the network over m random masks, or runs it once with every unit scaled by the
probability p that it is kept. The gap between both falls as p → 1, where they are the same network."""


def _network(pixels: int, dropped: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(pixels, 128), nn.ReLU(), nn.Dropout(dropped), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(dropped),
        nn.Linear(128, 10),
    )  # fmt: skip


def _probabilities(model: Any, x: Any) -> Any:
    return nn.softmax(model(x), axis=1)


def run(setting: Setting) -> Outcome:
    """Train with several rates of dropout; then compare the two averages on the test images."""
    x, y, x_test, y_test = setting.images()
    samples, x_test, y_test = setting.of(300, 2000), x_test[:200], y_test[:200]
    rows, gaps, kept_values = [], [], (0.5, 0.7, 0.9, 0.98)
    for kept in kept_values:
        model = _network(x.shape[1], 1 - kept)
        step = gl.compile_step(
            model, classifier_loss, gl.optim.AdamW(2e-3), batch_spec(32, x.shape[1]), seed=setting.seed
        )
        gl.fit(step, {"x": x, "y": y}, epochs=setting.of(15, 40), seed=setting.seed, progress=False)
        field = step.bind(_probabilities)(x_test)
        draw = step.bind(_probabilities, training=True)
        mean = np.mean([draw(x_test) for _ in range(samples)], axis=0)
        gaps.append(float(np.abs(mean - field).mean()))
        right = [float((p.argmax(1) == y_test).mean()) for p in (mean, field)]
        rows.append([kept, gaps[-1], *right])
    agrees = all(a > b for a, b in pairwise(gaps))
    seen = f"""The mean difference of probabilities falls from {gaps[0]:.4f} at p = {kept_values[0]} to
    {gaps[-1]:.4f} at p = {kept_values[-1]}, with {samples} masks."""
    panel = Panel(
        "the gap", "p, the probability that a unit is kept", "mean |MC - mean field|", {"": (kept_values, gaps)}
    )
    return Outcome(["p", "gap", "accuracy of the average", "accuracy of mean field"], rows, seen, agrees, [panel])
