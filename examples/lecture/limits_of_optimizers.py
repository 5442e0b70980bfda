"""Adam and RMSProp at the ends of their settings are sign descent and Rprop."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting

TITLE = "Limits: Adam without memory is sign descent, and so is RMSProp with β = 0"
CLAIM = """With β₁ = β₂ = 0 Adam moves each parameter by the sign of its gradient, as does RMSProp with β = 0,
g/√(g²): the rule of Rprop. With initial moments m₀ = g₀, v₀ = g₀² Adam's first step is sign descent for any β."""

_RATE = 0.01


def _loss(model: Any, batch: Any) -> Any:
    error = model(batch["x"])[:, 0] - batch["y"]
    return (error * error).mean()


def run(setting: Setting) -> Outcome:
    """Compare ten steps of each with sign descent, in float64."""
    rng = np.random.default_rng(setting.seed)
    x = rng.standard_normal((64, 8))
    batch = {"x": x, "y": x @ rng.standard_normal(8) + 3}
    tiny = {"eps": 1e-300}
    optimizers = {
        "Adam, β₁ = β₂ = 0": (gl.optim.Adam(_RATE, betas=(0.0, 0.0), **tiny), 10),
        "RMSProp, β = 0": (gl.optim.RMSProp(_RATE, alpha=0.0, **tiny), 10),
        "Adam, m₀ = g₀, v₀ = g₀²: first step": (gl.optim.Adam(_RATE, init_moments="gradient", **tiny), 1),
        "Adam, β₂ = 0.9 (no limit)": (gl.optim.Adam(_RATE, betas=(0.0, 0.9), **tiny), 10),
    }
    rows, curves = [], {}
    for name, (optimizer, steps) in optimizers.items():
        model = gl.nn.Linear(8, 1, dtype="float64")
        step = gl.compile_step(model, _loss, optimizer, batch, threads=1, seed=setting.seed)
        values = step.parameters()
        largest, differences = 0.0, []
        for _ in range(steps):
            gradients = step.gradients(batch)
            step(batch)
            wanted = {key: value - _RATE * np.sign(gradients[key]) for key, value in values.items()}
            values = step.parameters()
            largest = max(largest, *(float(np.abs(values[key] - wanted[key]).max()) for key in values))
            differences.append(max(largest, 1e-18))
        rows.append([name, steps, largest])
        curves[name] = (np.arange(1, steps + 1), differences)
    agrees = all(row[2] < 1e-12 for row in rows[:3]) and rows[3][2] > 1e-4
    seen = f"""In the limits every step differs from sign descent by {max(row[2] for row in rows[:3]):.0e} at most,
    of a step of {_RATE}; with β₂ = 0.9 by {rows[3][2]:.0e}."""
    panel = Panel("from sign descent", "step", "largest difference so far", curves, log_y=True)
    return Outcome(["optimizer", "steps", "largest difference"], rows, seen, agrees, [panel])
