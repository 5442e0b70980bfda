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
    data = {"x": x, "y": y}
    rows, parameters, sharpness, accuracy = [], {}, {}, {}
    for size in _SIZES:
        model = nn.Sequential(nn.Linear(x.shape[1], 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
        rule = gl.optim.SGD(0.05, momentum=0.9)
        step = gl.compile_step(model, classifier_loss, rule, batch_spec(size, x.shape[1]), seed=setting.seed)
        # To the same loss: the Hessian of a cross entropy shrinks with it.
        stop = gl.callbacks.as_callback(lambda run: run.stop() if run.figures["loss"] < _GOAL else None)
        gl.fit(step, data, epochs=2000, seed=setting.seed, callbacks=[stop], progress=False)
        parameters[size] = step.parameters()
        sharpness[size] = float(gl.curvature(step, data, k=1)[0])
        accuracy[size] = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
        rows.append([size, step.steps, gl.evaluate(step, data)["loss"], sharpness[size], accuracy[size]])
    alphas = np.linspace(-0.5, 1.5, 41)
    line: list[float] = []
    for given in gl.interpolate(parameters[_SIZES[0]], parameters[_SIZES[-1]], alphas):
        step.set_parameters(given)
        line.append(gl.evaluate(step, data)["loss"])
    small, large = line[10], line[30]
    rise = [line[5] - small, line[35] - large]
    agrees = sharpness[_SIZES[0]] < sharpness[_SIZES[-1]] and rise[0] < rise[1]
    seen = f"""The largest eigenvalue of the Hessian is {sharpness[_SIZES[0]]:.2f} after batches of {_SIZES[0]} and
    {sharpness[_SIZES[-1]]:.2f} after batches of {_SIZES[-1]}. A quarter of the way beyond either end the loss rises by
    {rise[0]:.3f} on the side of small batches, and by {rise[1]:.3f} on that of large ones.
    The test accuracy is {accuracy[_SIZES[0]]:.1%} after the
    small and {accuracy[_SIZES[-1]]:.1%} after the large batches: here the flatter one generalizes
    {"better" if accuracy[_SIZES[0]] > accuracy[_SIZES[-1]] else "no better"}."""
    panels = [
        Panel("along the line", "α: 0 is SGD, 1 is large batches", "training loss", {"": (alphas, line)}, log_y=True),
        Panel("sharpness", "batch size", "largest eigenvalue", {"": (_SIZES, list(sharpness.values()))}, log_x=True),
    ]
    columns = ["batch size", "steps", "training loss", "largest eigenvalue", "test accuracy"]
    return Outcome(columns, rows, seen, agrees, panels)
