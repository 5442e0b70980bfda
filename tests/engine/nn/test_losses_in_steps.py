"""Networks of new activations, trained by losses that are layers, against torch: steps as they are compiled."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("one_thread_for_torch")]

RNG = np.random.default_rng(0)
ROWS, CLASSES = 36, 5
X = RNG.standard_normal((ROWS, 6)).astype("float32")
PROBABILITIES = (RNG.random((ROWS, CLASSES)) * 0.98 + 0.01).astype("float32")
LABELS = RNG.integers(0, CLASSES, ROWS)
WEIGHT = np.array([0.5, 1, 2, 0.1, 1.5], "float32")
CASES: list[tuple[str, dict[str, Any], Any, str, tuple[Any, ...], int]] = [
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": 2}, LABELS, "PReLU", (8,), 3),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, LABELS, "Mish", (), 1),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT}, PROBABILITIES, "RMSNorm", (8,), 1),
    ("PoissonNLLLoss", {"full": True}, PROBABILITIES * 5, "SELU", (), 2),
    ("HingeEmbeddingLoss", {"margin": 0.7}, np.sign(PROBABILITIES - 0.5), "Hardswish", (), 1),
]


@pytest.mark.parametrize(("loss", "options", "target", "layer", "arguments", "accumulate"), CASES)
def test_a_network_trains_as_torchs(
    loss: str, options: dict[str, Any], target: Any, layer: str, arguments: tuple[Any, ...], accumulate: int
) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (
        space.Sequential(space.Linear(6, 8), getattr(space, layer)(*arguments), space.Linear(8, CLASSES))
        for space in (nn, torch.nn)
    )
    criterion = getattr(nn, loss)(**options)
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    torchs = getattr(torch.nn, loss)(**tensors)
    batch = {"x": X, "y": target}
    step = gl.compile_step(
        ours, lambda m, b: criterion(m(b["x"]), b["y"]), gl.optim.SGD(0.3), batch, accumulate=accumulate
    )
    theirs.load_state_dict({name: torch.tensor(value) for name, value in step.parameters().items()})
    optimizer = torch.optim.SGD(theirs.parameters(), 0.3)
    for _ in range(6):
        optimizer.zero_grad()
        expected = torchs(theirs(torch.tensor(X)), torch.tensor(target))
        expected.backward()
        optimizer.step()
        np.testing.assert_allclose(step(batch), expected.item(), rtol=2e-6)
