"""What is marked with `checkpoint` in or around a loop over time takes no more memory than what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.step.step_graph import trace_step
from gradloom.passes.memory.plan import Plan
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.remat.from_plan import recompute_flops


class Cell(nn.Module):
    """A step of a recurrent network: `elman`, `lstm`, `gru`, or `residual`, of which only the last state is wanted."""

    def __init__(self, kind: str, width: int) -> None:
        gates = {"lstm": 4, "gru": 3}.get(kind, 1)
        self.of_input, self.of_state = nn.Linear(width, gates * width), nn.Linear(width, gates * width)
        self.kind, self.width = kind, width

    def forward(self, carry: Any, x: Any) -> tuple[Any, Any]:
        h, c = carry
        sigmoid, width = nn.functional.sigmoid, self.width
        if self.kind == "elman":
            h = np.tanh(self.of_input(x) + self.of_state(h))
        elif self.kind == "residual":
            h = h + self.of_state(nn.functional.gelu(self.of_input(h) + x))
        elif self.kind == "lstm":
            z = self.of_input(x) + self.of_state(h)
            i, f, g, o = (z[:, k * width : (k + 1) * width] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            a, b = self.of_input(x), self.of_state(h)
            r, u = (sigmoid(a[:, k * width : (k + 1) * width] + b[:, k * width : (k + 1) * width]) for k in range(2))
            h = (1 - u) * np.tanh(a[:, 2 * width :] + r * b[:, 2 * width :]) + u * h
        return (h, c), None if self.kind == "residual" else h


class Network(nn.Module):
    def __init__(self, kind: str, width: int, step: Callable[[Any], Any], around: Callable[[Any], Any]) -> None:
        self.cell = Cell(kind, width)
        self.step, self.around = step, around

    def forward(self, xs: Any) -> Any:
        zeros = np.zeros(xs.shape[1:], "float32")

        def run(xs: Any) -> Any:
            (h, _), ys = gl.scan(self.step(self.cell), (zeros, zeros), xs)
            return h if ys is None else ys

        return self.around(run)(xs)


def planned(kind: str, shape: tuple[int, int, int], step: Any = lambda f: f, around: Any = lambda f: f) -> Plan:
    target = gl.spec(shape[1:] if kind == "residual" else shape)
    model = Network(kind, shape[-1], step, around)
    batch = {"x": gl.spec(shape), "y": target}
    graph = trace_step(model, lambda m, b: nn.mse_loss(m(b["x"]), b["y"]), gl.optim.SGD(0.1), batch).graph
    return plan_graph(graph, 2, outputs_in_arena=True)


@pytest.mark.parametrize("shape", [(40, 4, 16), (64, 32, 256), (131, 16, 256)])
@pytest.mark.parametrize("kind", ["elman", "residual", "lstm", "gru"])
def test_a_checkpoint_of_a_step_or_of_a_loop_enlarges_nothing(kind: str, shape: tuple[int, int, int]):
    plain = planned(kind, shape)
    inside, around = planned(kind, shape, step=gl.checkpoint), planned(kind, shape, around=gl.checkpoint)
    assert recompute_flops(plain.graph) == 0
    assert recompute_flops(inside.graph) > 0
    assert recompute_flops(around.graph) > 0
    assert inside.arena_bytes < 0.9 * plain.arena_bytes
    # Its forward runs twice, so its segments may have more steps than those of the plain loop.
    assert around.arena_bytes < 1.04 * plain.arena_bytes
