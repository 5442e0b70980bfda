"""Modules of torch as models: values, names, modes and updates as torch has them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gradloom as gl
import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def classified(model: Any, batch: Any) -> Any:
    return gl.nn.cross_entropy(model(batch["x"]), batch["y"])


def a_batch(rows: int = 6, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, dtype=torch.float64, generator=generator)
    return {"x": x, "y": torch.randint(0, 3, (rows,), generator=generator)}


def a_net(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3)).double()


def test_steps_are_those_of_torch_and_the_module_takes_their_state() -> None:
    net, batch = a_net(), a_batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = gl.from_torch(net, batch["x"])
    step = gl.compile_step(model, classified, gl.optim.AdamW(1e-2), batch)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(10):
        ours = step(batch)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"])
        loss.backward()
        optimizer.step()
        assert ours == pytest.approx(loss.item(), rel=1e-12)
    trained = {name: value.clone() for name, value in net.state_dict().items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert net.load_state_dict(step.state_dict(), strict=True)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, trained[name])


def test_one_export_takes_batches_of_any_size() -> None:
    net = a_net()
    model = gl.from_torch(net, a_batch()["x"])
    step = gl.compile_step(model, classified, gl.optim.SGD(0.0), a_batch())
    for rows in (1, 2, 9):
        batch = a_batch(rows, rows)
        expected = torch.nn.functional.cross_entropy(net(batch["x"]), batch["y"]).item()
        assert step(batch) == pytest.approx(expected, rel=1e-12)


def test_torch_is_imported_by_nothing_else() -> None:
    code = "import sys, gradloom; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"from_torch takes a torch\.nn\.Module, got ndarray"):
        gl.from_torch(np.zeros(3))
