"""How compute and memory of a step grow with batch, width and depth."""

from __future__ import annotations

import gradloom as gl
import numpy as np

from .harness import Outcome, Panel, Setting, batch_spec, classifier_loss, perceptron

TITLE = "The cost of a training step: O(B m² L) operations, O(B m L + m² L) bytes"
CLAIM = """Backpropagation through L layers of width m costs O(B m² L) operations for a batch of B; what is kept for it
takes O(B m L) bytes, and parameters, gradients and optimizer state O(m² L)."""

_BASE = {"B": 384, "m": 512, "L": 16}
_SWEEPS = {"B": (384, 768, 1536, 3072), "m": (512, 1024, 2048, 4096), "L": (16, 32, 64, 128)}
_EXPECTED = {("flops", "B"): 1, ("flops", "m"): 2, ("flops", "L"): 1, ("kept", "B"): 1, ("kept", "m"): 1}
_EXPECTED |= {("kept", "L"): 1, ("held", "B"): 0, ("held", "m"): 2, ("held", "L"): 1}
_NAMES = {"flops": "operations", "kept": "bytes kept for the backward", "held": "parameters and state"}


def _figures(sizes: dict[str, int]) -> dict[str, float]:
    """Of a step, as it is traced: nothing is allocated or run."""
    batch, width, depth = sizes["B"], sizes["m"], sizes["L"]
    model = perceptron([width] * (depth + 1), gl.nn.Tanh)
    plan = gl.plan_step(model, classifier_loss, gl.optim.Adam(), batch_spec(batch, width), threads=1)
    report = plan.report
    held = report.parameter_bytes + report.state_bytes
    return {"flops": report.flops, "kept": _kept_bytes(plan.graph, batch), "held": held}


def _kept_bytes(graph: gl.Graph, batch: int) -> int:
    """Bytes of the activations that the forward makes and the backward reads."""
    read = {value for node in graph.nodes if node.origin.role == "backward" for value in node.inputs}
    made = [node for node in graph.nodes if node.origin.role == "forward"]
    values = [value for node in made for value in node.outputs if value in read]
    return sum(value.type.nbytes for value in values if value.type.shape[:1] == (batch,))


def run(setting: Setting) -> Outcome:
    """Fit the exponents over sweeps of each size, from planned operations and bytes."""
    rows, panels, fits = [], [], True
    for size, values in _SWEEPS.items():
        found = [_figures({**_BASE, size: value}) for value in values]
        curves = {}
        for what, name in _NAMES.items():
            series = np.array([figures[what] for figures in found], float)
            slope = np.polyfit(np.log(values), np.log(series), 1)[0]
            expected = _EXPECTED[what, size]
            fits = fits and abs(slope - expected) < 0.1
            rows.append([name, size, round(float(slope), 3) + 0.0, expected])
            curves[name] = (values, series / series[0])
        panels.append(Panel(f"over {size}", size, "relative to the first", curves, log_x=True, log_y=True))
    seen = "The exponents that are fitted to planned operations and bytes are within 0.1 of these."
    if not fits:
        seen = "Some exponent that is fitted to planned operations and bytes is further than 0.1 from these."
    return Outcome(["quantity", "over", "exponent", "lecture"], rows, seen, fits, panels)
