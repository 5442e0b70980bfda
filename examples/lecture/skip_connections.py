"""Plain, Highway and residual networks of two depths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
from gradloom import nn

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss

TITLE = "Skip connections: plain, Highway and residual networks of 20 and 56 layers"
CLAIM = """A deeper plain network trains worse than a shallower one, though it could be as good. Highway and residual
networks, whose layers add to what comes in, train as well at 56 layers as at 20."""

_WIDTH = 64


class _Block(nn.Module):
    """Two layers, the second of which ends in an activation."""

    def __init__(self) -> None:
        self.first, self.second = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, _WIDTH)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        return nn.relu(self.second(nn.relu(self.first(x))))


def _residual() -> nn.Module:
    block = _Block()
    nn.init.zeros_(block.second.weight)
    return nn.Residual(block)


_KINDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "plain": (_Block, 2),
    "Highway": (lambda: nn.Highway(_WIDTH), 1),
    "residual": (_residual, 2),
}


def run(setting: Setting) -> Outcome:
    """Train each kind at both depths."""
    x, y, x_test, y_test = setting.images()
    rows, curves, losses = [], {}, {}
    for name, (block, layers) in _KINDS.items():
        for depth in (20, 56):
            blocks = [block() for _ in range((depth - 2) // layers)]
            model = nn.Sequential(nn.Linear(x.shape[1], _WIDTH), nn.ReLU(), *blocks, nn.Linear(_WIDTH, 10))
            step = gl.compile_step(
                model,
                classifier_loss,
                gl.optim.Adam(1e-3),
                batch_spec(32, x.shape[1]),
                clip_norm=1.0,
                seed=setting.seed,
            )
            data = {"x": x, "y": y}
            history = gl.fit(step, data, epochs=setting.of(8, 40), seed=setting.seed, progress=False)
            accuracy = gl.evaluate(step, {"x": x_test, "y": y_test}, [gl.metrics.accuracy])["accuracy"]
            losses[name, depth] = history["loss"][-1]
            rows.append([name, depth, losses[name, depth], accuracy])
            curves[f"{name}, {depth}"] = (history["epoch"], history["loss"])
    agrees = (
        losses["plain", 56] > 1.3 * losses["plain", 20]
        and all(losses[name, 56] < 1.5 * losses[name, 20] + 0.05 for name in ("Highway", "residual"))
        and max(losses["Highway", 56], losses["residual", 56]) < losses["plain", 56]
    )
    seen = f"""The training loss of the plain network goes from {losses["plain", 20]:.3f} at 20 layers to
    {losses["plain", 56]:.3f} at 56; that of Highway from {losses["Highway", 20]:.3f} to {losses["Highway", 56]:.3f},
    that of the residual network from {losses["residual", 20]:.3f} to {losses["residual", 56]:.3f}."""
    columns = ["network", "layers", "training loss", "test accuracy"]
    return Outcome(columns, rows, seen, agrees, [Panel("training", "epoch", "loss", curves, log_y=True)])
