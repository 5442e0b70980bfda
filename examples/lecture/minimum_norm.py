"""Gradient descent from small initial values finds the solution of least norm."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting

TITLE = "Implicit regularization: gradient descent finds the minimum-norm solution"
CLAIM = """Of the many solutions of an underdetermined least-squares problem, gradient descent from zero finds that
of least norm, the pseudo-inverse's; from other initial values it keeps their part in the null space."""


def _loss(model: Any, batch: Any) -> Any:
    error = model(batch["x"])[:, 0] - batch["y"]
    return (error * error).sum() / 2


def run(setting: Setting) -> Outcome:
    """Solve 30 equations in 100 unknowns from initial values of several sizes."""
    rng = np.random.default_rng(setting.seed)
    rows_, columns, steps = 30, 100, setting.of(3000, 20000)
    x = rng.standard_normal((rows_, columns))
    batch = {"x": x, "y": rng.standard_normal(rows_)}
    least = np.linalg.pinv(x) @ batch["y"]
    rate = 1 / np.linalg.norm(x, 2) ** 2
    start = rng.standard_normal(columns)
    model = gl.nn.Linear(columns, 1, bias=False, dtype="float64")
    table, curves = [], {}
    for size in (0.0, 1e-3, 1e-2, 1e-1, 1.0):
        step = gl.compile_step(model, _loss, gl.optim.SGD(rate), batch, threads=1)
        step.set_parameters({"weight": size * start[None]})
        distances = []
        for i in range(steps):
            loss = step(batch)
            if i % 50 == 0:
                distances.append(float(np.linalg.norm(step.parameters()["weight"][0] - least)))
        weight = step.parameters()["weight"][0]
        kept = size * (start - np.linalg.pinv(x) @ (x @ start))
        distance = float(np.linalg.norm(weight - least))
        table.append([size, float(loss), float(np.linalg.norm(weight)), distance, float(np.linalg.norm(kept))])
        curves[f"initial size {size:g}"] = (np.arange(0, steps, 50), np.maximum(distances, 1e-16))
    agrees = all(row[1] < 1e-12 and abs(row[3] - row[4]) < 1e-6 for row in table)
    seen = f"""All reach a loss below 1e-12. From zero the distance to the pseudo-inverse's solution, whose norm is
    {np.linalg.norm(least):.3f}, is {table[0][3]:.0e}; from other initial values it is the norm of their part in the
    null space, to 1e-6."""
    columns_ = ["initial size", "loss", "norm", "distance to the least", "initial part in the null space"]
    panel = Panel("distance to the minimum-norm solution", "step", "distance", curves, log_y=True)
    return Outcome(columns_, table, seen, agrees, [panel])
