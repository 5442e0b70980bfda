"""Every optimizer in a compiled step: torch's trajectory, the report's bytes, and training that is resumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

STEPS = 40
BATCH = {"x": np.random.default_rng(0).standard_normal((8, 4)).astype("float32"), "y": np.arange(8) % 4}
KINDS = [
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Adamax", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"betas": (0.8, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "lr": 1e-3}),
    ("Rprop", {}),
    ("ASGD", {"t0": 5, "lambd": 0.1}),
    ("Lion", {"weight_decay": 0.1}),
    ("SparseAdam", {}),
]
STATE = {
    "Adagrad": ["sum"],
    "Adadelta": ["square_avg", "acc_delta"],
    "Adamax": ["exp_avg", "exp_inf"],
    "NAdam": ["exp_avg", "exp_avg_sq"],
    "RAdam": ["exp_avg", "exp_avg_sq"],
    "RMSprop": ["square_avg", "momentum_buffer", "grad_avg"],
    "Rprop": ["prev", "step_size"],
    "ASGD": ["ax"],
    "Lion": ["exp_avg"],
    "SparseAdam": ["exp_avg", "exp_avg_sq"],
}
SHARED = {"NAdam": ["mu_product"], "ASGD": ["eta"]}


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def model_of():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))


@dataclass(frozen=True)
class Run:
    """One compiled step, which all tests of an optimizer share: what `STEPS` updates made of it."""

    name: str
    options: dict[str, Any]
    step: gl.Step
    begin: dict[str, np.ndarray]
    end: dict[str, np.ndarray]
    after_3: Path


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[0])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name, options = request.param
    step = gl.compile_step(model_of(), loss_fn, getattr(optim, name)(**options), BATCH, threads=1)
    begin, path = step.parameters(), tmp_path_factory.mktemp(name) / "after_3.safetensors"
    for i in range(STEPS):
        if i == 3:
            step.save(path)
        loss = step(BATCH)
    assert np.isfinite(loss)
    return Run(name, options, step, begin, step.parameters() | step.state(), path)


def test_training_resumes_to_the_same_bits(run: Run):
    run.step.load(run.after_3)
    assert run.step.steps == 3
    for _ in range(STEPS - 3):
        run.step(BATCH)
    for name, array in (run.step.parameters() | run.step.state()).items():
        assert array.tobytes() == run.end[name].tobytes(), name


def test_every_state_array_is_named_and_counted(run: Run):
    state = run.step.state()
    expected = {f"{kind}.{name}" for kind in STATE[run.name] for name in run.begin}
    assert set(state) == expected | set(SHARED.get(run.name, ())) | {"step"}
    assert all(state[f"{kind}.{name}"].shape == a.shape for kind in STATE[run.name] for name, a in run.begin.items())
    report = run.step.report
    scalars = {"lr": 8, "key": 8}
    assert report.state_bytes == sum(array.nbytes for array in state.values()) + sum(scalars.values())
    report.check()


@pytest.mark.peers
def test_forty_steps_are_torchs(run: Run):
    torch = pytest.importorskip("torch")
    peer = getattr(torch.optim, run.name, None)
    if peer is None or run.name == "SparseAdam":
        pytest.skip("torch has none for dense gradients")
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4))
    model.load_state_dict({name: torch.tensor(array) for name, array in run.begin.items()})
    optimizer, x, y = peer(model.parameters(), **run.options), torch.tensor(BATCH["x"]), torch.tensor(BATCH["y"])
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(run.end[name], parameter.detach().numpy(), rtol=3e-4, atol=3e-5)
