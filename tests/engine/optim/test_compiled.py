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
    ("Adafactor", {"weight_decay": 0.1}),
    ("Muon", {}),
    ("Adam8bit", {"lr": 0.01, "min_8bit_size": 8, "block_size": 6}),
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
    "Muon": ["momentum_buffer"],
}
SHARED = {"NAdam": ["mu_product"], "ASGD": ["eta"]}


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def model_of(bias):
    return nn.Sequential(nn.Linear(4, 4, bias), nn.Tanh(), nn.Linear(4, 4, bias))


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
    step = gl.compile_step(model_of(name != "Muon"), loss_fn, getattr(optim, name)(**options), BATCH, threads=1)
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
    found = {name: array.shape for name, array in state.items() if "." in name}
    if run.name == "Adafactor":
        assert found == {
            **{f"row_var.{i}.weight": (4, 1) for i in (0, 2)},
            **{f"col_var.{i}.weight": (1, 4) for i in (0, 2)},
            **{f"variance.{i}.bias": (4,) for i in (0, 2)},
        }
    elif run.name == "Adam8bit":
        names = ("exp_avg", "exp_avg_sq")
        assert found == {
            **{f"{name}.{i}.weight": (3, 6) for name in names for i in (0, 2)},
            **{f"{name}_scale.{i}.weight": (3,) for name in names for i in (0, 2)},
            **{f"{name}.{i}.bias": (4,) for name in names for i in (0, 2)},
        }
    else:
        assert found == {f"{kind}.{name}": a.shape for kind in STATE[run.name] for name, a in run.begin.items()}
    assert state.keys() - found.keys() == {*SHARED.get(run.name, ()), "step"}
    report = run.step.report
    scalars = {"lr": 8, "key": 8}
    assert report.state_bytes == sum(array.nbytes for array in state.values()) + sum(scalars.values())
    report.check()


@pytest.mark.peers
def test_forty_steps_are_torchs(run: Run, monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())  # Muon's precision is the parameter's
    peer = getattr(torch.optim, run.name, None)
    if peer is None or run.name == "SparseAdam":
        pytest.skip("torch has none for dense gradients")
    bias = run.name != "Muon"
    model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias), torch.nn.Tanh(), torch.nn.Linear(4, 4, bias))
    model.load_state_dict({name: torch.tensor(array) for name, array in run.begin.items()})
    optimizer, x, y = peer(model.parameters(), **run.options), torch.tensor(BATCH["x"]), torch.tensor(BATCH["y"])
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(run.end[name], parameter.detach().numpy(), rtol=3e-4, atol=3e-5)


def test_a_parameter_that_muon_is_not_for_is_named_before_anything_runs():
    message = r"0\.bias: Muon is for matrices, this parameter has shape \(4,\); freeze it .*test_compiled\.py"
    with pytest.raises(ValueError, match=message):
        gl.plan_step(model_of(True), loss_fn, optim.Muon(), BATCH)
    model = model_of(True)
    for name, parameter in model.stored_parameters():
        parameter.requires_grad = name.endswith("weight")
    state = gl.plan_step(model, loss_fn, optim.Muon(), BATCH).report.state_bytes
    assert state == 2 * 64 + 8 + 16


class Normalized(optim.Optimizer):
    """Descent along the gradient of length 1, at a rate of lr / n in step n: neither is element by element."""

    def __init__(self, lr: float) -> None:
        object.__setattr__(self, "lr", lr)

    def init_parameter(self, type: Any) -> dict[str, Any]:
        return {"norm": optim.StateSpec(gl.spec((), type.dtype))} if len(type.shape) == 2 else {}

    def init_shared(self) -> dict[str, Any]:
        return {"count": optim.StateSpec(gl.spec((), "float64"), 1.0)}

    def scalars(self, step: Any, lr: Any, dtype: Any) -> Any:
        return {}

    def advance(self, step: Any, lr: Any, shared: Any) -> Any:
        return {"rate": lr / shared["count"]}, {"count": shared["count"] + 1}

    def update_parameter(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        norm = gl.numpy.sqrt((gradient * gradient).sum())
        return parameter - gradient * (scalars["rate"] / norm), {"norm": norm} if state else {}


def test_a_rule_of_the_users_may_be_of_whole_arrays_and_share_state():
    step = gl.compile_step(model_of(True), loss_fn, Normalized(0.5), BATCH, threads=1)
    assert step.state().keys() == {"norm.0.weight", "norm.2.weight", "count", "step"}
    for i in range(3):
        before = step.parameters()
        step(BATCH)
        for name, array in step.parameters().items():
            np.testing.assert_allclose(np.linalg.norm(array - before[name]), 0.5 / (i + 1), rtol=1e-5)
    assert step.state()["count"] == 4
