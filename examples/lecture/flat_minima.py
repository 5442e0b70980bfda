"""The loss between the minima of SGD and of gradient descent, and the curvature there."""

from __future__ import annotations

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Flat minima: the loss along (1−α)θ_SGD + αθ_GD, and sharpness by batch size"
CLAIM = """Small batches find flatter minima: along the line from SGD's solution to that of large batches the loss rises
more steeply on the far side, the largest eigenvalue of the Hessian grows with the batch, and flatter ones generalize
better."""

_SIZES = (8, 64, 512)
_GOAL = 0.02


def run(setting: Setting) -> Outcome:
    """Train by batches of several sizes, then look at the loss between and at the Hessian."""
    x, y, x_test, y_test = setting.images()
    x, y = x[:1024], y[:1024]
    data, held_out = {"x": x, "y": y}, {"x": x_test, "y": y_test}
    # To the same loss: the Hessian of a cross entropy shrinks with it.
    stop = gl.callbacks.as_callback(lambda run: run.stop() if run.figures["loss"] < _GOAL else None)
    seeds, found = range(setting.of(3, 10)), {size: [] for size in _SIZES}
    ends, lines = {}, []
    alphas = np.linspace(-0.5, 1.5, 41)
    for seed in seeds:
        for size in _SIZES:
            model = nn.Sequential(nn.Linear(x.shape[1], 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
            rule = gl.optim.SGD(0.05, momentum=0.9)
            step = gl.compile_step(model, classifier_loss, rule, batch_spec(size, x.shape[1]), seed=seed)
            gl.fit(step, data, epochs=2000, seed=seed, callbacks=[stop], progress=False)
            ends[size] = step.parameters()
            accuracy = gl.evaluate(step, held_out, [gl.metrics.accuracy])["accuracy"]
            loss = gl.evaluate(step, data)["loss"]
            found[size].append([step.steps, loss, float(gl.curvature(step, data, k=1)[0]), accuracy])
        lines.append([])
        for given in gl.interpolate(ends[_SIZES[0]], ends[_SIZES[-1]], alphas):
            step.set_parameters(given)
            lines[-1].append(gl.evaluate(step, data)["loss"])
    mean = {size: np.mean(found[size], axis=0).tolist() for size in _SIZES}
    line = np.mean(lines, axis=0)
    sharpness, accuracy = [mean[size][2] for size in _SIZES], [mean[size][3] for size in _SIZES]
    rise = [line[5] - line[10], line[35] - line[30]]
    better = np.array([small[3] - large[3] for small, large in zip(found[_SIZES[0]], found[_SIZES[-1]])])
    generalizes = better.mean() > better.std(ddof=1) / len(seeds) ** 0.5
    seen = f"""The largest eigenvalue of the Hessian is {sharpness[0]:.2f} after batches of {_SIZES[0]} and
    {sharpness[-1]:.2f} after batches of {_SIZES[-1]}. A quarter of the way beyond either end the loss rises by
    {rise[0]:.3f} on the side of small batches, and by {rise[1]:.3f} on that of large ones. The test accuracy is
    {accuracy[0]:.1%} after the small and {accuracy[-1]:.1%} after the large batches (means of {len(seeds)} runs)."""
    panels = [
        Panel("along the line", "α: 0 is SGD, 1 is large batches", "training loss", {"": (alphas, line)}, log_y=True),
        Panel("sharpness", "batch size", "largest eigenvalue", {"": (_SIZES, sharpness)}, log_x=True),
    ]
    columns = ["batch size", "steps", "training loss", "largest eigenvalue", "test accuracy"]
    return Outcome(
        columns,
        [[size, round(mean[size][0]), *mean[size][1:]] for size in _SIZES],
        seen,
        sharpness[0] < sharpness[-1] and rise[0] < rise[1],
        panels,
        "" if generalizes else "that flatter minima generalize better is not seen here, beyond the error of the mean.",
    )
