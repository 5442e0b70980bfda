"""Second-order methods on a small problem."""

from __future__ import annotations

import gradloom as gl
import numpy as np
from gradloom import nn

from .harness import Outcome, Panel, Setting

TITLE = "Second order: L-BFGS and natural gradient against Adam, in steps"
CLAIM = """On small problems methods that know the curvature need far fewer steps than first-order ones: L-BFGS solves
a quadratic to rounding, K-FAC and the natural gradient lower a network's loss in a fraction of Adam's steps."""


def _loss(model, batch):  # type: ignore[no-untyped-def]
    error = model(batch["x"]) - batch["y"]
    return (error * error).mean()


def run(setting: Setting) -> Outcome:
    """A quadratic to 1e-10 by L-BFGS; a small network by all of them, on the whole batch in float64."""
    rng = np.random.default_rng(setting.seed)
    x = rng.standard_normal((128, 4))
    hidden = rng.standard_normal((4, 6))
    target = np.tanh(x @ hidden) @ rng.standard_normal((6, 2))
    linear = {"x": x, "y": x @ rng.standard_normal((4, 2))}
    rules = {
        "Adam": gl.optim.Adam(0.03),
        "L-BFGS": gl.optim.LBFGS(line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0),
        "K-FAC": gl.optim.KFAC(),
        "natural gradient": gl.optim.NaturalGradient(iterations=30),
    }
    rows, curves, reached = [], {}, {}
    quadratic = gl.compile_step(nn.Linear(4, 2, dtype="float64"), _loss, rules["L-BFGS"], linear, threads=1)
    for _ in range(5):
        quadratic(linear)
    least = float(_value(quadratic, linear))
    steps = setting.of(300, 2000)
    for name, rule in rules.items():
        model = nn.Sequential(nn.Linear(4, 16, dtype="float64"), nn.Tanh(), nn.Linear(16, 2, dtype="float64"))
        batch = {"x": x, "y": target}
        step = gl.compile_step(model, _loss, rule, batch, threads=1, seed=setting.seed)
        losses = [float(step(batch)) for _ in range(steps)]
        counts = [next((i for i, loss in enumerate(losses) if loss < goal), None) for goal in (1e-2, 1e-4)]
        reached[name] = counts[1]
        rows.append([name, *["-" if count is None else count for count in counts], losses[-1]])
        curves[name] = (np.arange(steps), losses)
    others = [reached[name] for name in rules if name != "Adam"]
    adam = steps if reached["Adam"] is None else reached["Adam"]
    agrees = least < 1e-10 and all(count is not None and count < adam / 2 for count in others)
    seen = f"""After 5 steps of L-BFGS the loss of the quadratic is {least:.0e}. The network is at 1e-4 after
    {", ".join(f"{count or f'more than {steps}'} ({name})" for name, count in reached.items())} steps."""
    columns = ["optimizer", "steps to 1e-2", "steps to 1e-4", f"loss after {steps}"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "step", "loss", curves, log_x=True, log_y=True)])


def _value(step: gl.Step, batch: dict[str, np.ndarray]) -> np.ndarray:
    return step.bind(_loss)(batch)
