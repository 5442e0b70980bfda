"""Steps of bfloat16 beside torch.autocast(bfloat16): both stay as near to float32 as bfloat16 allows."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = pytest.mark.peers


def test_losses_follow_autocast():
    torch = pytest.importorskip("torch")
    sizes = (48, 64, 64, 10)
    layers = [nn.Linear(48, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    tn = torch.nn
    theirs = tn.Sequential(
        tn.Linear(*sizes[:2]), tn.LayerNorm(64), tn.GELU(), tn.Linear(64, 64), tn.ReLU(), tn.Linear(64, 10)
    )
    batch = {"x": gl.spec((32, 48)), "y": gl.spec((32,), "int64")}
    loss_fn = lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"])  # noqa: E731
    step = gl.compile_step(model, loss_fn, gl.optim.SGD(0.1), batch, precision="bf16")
    theirs.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in step.parameters().items()})
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 10))
    mine, others = [], []
    for _ in range(30):
        x = rng.standard_normal((32, 48), np.float32)
        y = (x @ weight).argmax(1)
        mine.append(float(step({"x": x, "y": y})))
        with torch.autocast("cpu", torch.bfloat16):
            loss = tn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        others.append(loss.item())
    np.testing.assert_allclose(mine, others, rtol=0.01, atol=0.01)
    for name, value in step.parameters().items():
        np.testing.assert_allclose(value, theirs.state_dict()[name].numpy(), atol=0.01)
