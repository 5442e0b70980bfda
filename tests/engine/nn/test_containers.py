"""`ParameterDict` and `SyncBatchNorm.convert_sync_batchnorm` beside torch's."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


class Model(nn.Module):
    def __init__(self) -> None:
        self.weights = nn.ParameterDict({"left": nn.Parameter((3, 2)), "right": np.ones((2, 3), "float32")})

    def forward(self, x: Any) -> Any:
        return x @ self.weights["left"] @ self.weights["right"]


def test_parameters_by_name_train_under_torchs_names() -> None:
    model = Model()
    x = np.ones((4, 3), "float32")
    step = gl.compile_step(model, lambda m, b: (m(b) ** 2).mean() + m.weights["right"].sum(), gl.optim.SGD(0.1), x)
    step(x)
    assert list(step.parameters()) == ["weights.left", "weights.right"]
    assert (step.parameters()["weights.right"] < 1).all()


def test_it_is_a_dict() -> None:
    d = nn.ParameterDict({"a": nn.Parameter(2)})
    d["b"] = np.zeros((3, 4))
    d.update({"keys": nn.Parameter(1)})
    assert list(d) == list(d.keys()) == ["a", "b", "keys"]
    assert list(reversed(d)) == ["keys", "b", "a"]
    assert (len(d), "b" in d, "c" in d, d["b"].shape, d.get("c"), d.get("c", 3)) == (3, True, False, (3, 4), None, 3)
    assert d.popitem()[0] == "keys"
    assert d.pop("a").shape == (2,)
    assert d.setdefault("b").shape == (3, 4)
    assert [p.shape for p in nn.ParameterDict.fromkeys(["x", "y"], np.ones(5)).values()] == [(5,), (5,)]
    both = d | nn.ParameterDict({"c": nn.Parameter(1)})
    assert [(n, p.shape) for n, p in both.items()] == [("b", (3, 4)), ("c", (1,))]
    assert len(d) == 1
    d |= both
    assert len(d.copy()) == len(d) == 2
    del d["c"]
    d.clear()
    assert not len(d)
    with pytest.raises(TypeError, match="names in a ParameterDict are strings, got 3"):
        d[3] = nn.Parameter(1)  # pyright: ignore[reportArgumentType]


def test_batch_normalization_becomes_that_of_all_processes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(4)))
    before = model.state_dict()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert converted is model
    assert [type(m).__name__ for m in model.modules()].count("SyncBatchNorm") == 2
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(4))
    assert isinstance(alone, nn.SyncBatchNorm)
    with pytest.raises(NotImplementedError, match="a step runs in one process"):
        nn.SyncBatchNorm(3, process_group=object())  # pyright: ignore[reportArgumentType]


@pytest.mark.peers
def test_one_process_normalizes_as_batch_normalization_does() -> None:
    torch = pytest.importorskip("torch")
    from modules_against_torch import assert_module_like_torch

    x = np.random.default_rng(0).standard_normal((4, 3, 5, 2))
    assert_module_like_torch(nn.SyncBatchNorm(3, 1e-3, 0.2), torch.nn.BatchNorm2d(3, 1e-3, 0.2), x)
    assert_module_like_torch(nn.CrossMapLRN2d(2, 0.1, 0.7, 2), torch.nn.LocalResponseNorm(2, 0.1, 0.7, 2), x)
    assert_module_like_torch(nn.NLLLoss2d(), torch.nn.NLLLoss(), x, np.ones((4, 5, 2), "int64"))


def _names(module: Any) -> list[str]:
    return [name for name, _ in module.named_parameters()]


@pytest.mark.peers
def test_lists_change_as_torchs() -> None:
    torch = pytest.importorskip("torch")

    def made(n: Any) -> Any:
        listed = n.ModuleList([n.Linear(i, 1, bias=False) for i in range(1, 6)])
        listed += [n.Linear(6, 1)]
        popped = listed.pop(1)
        del listed[-2:]
        sequence = n.Sequential(n.Linear(2, 2), n.ReLU()) * 2 + n.Sequential(popped)
        sequence *= 2
        del sequence[0]
        named = n.ModuleDict({"a": n.Linear(1, 2), "b": popped})
        assert named.pop("b") is popped
        parameters = n.ParameterList(values=[n.Parameter(listed[0].weight if n is torch.nn else np.ones(3, "float32"))])
        parameters += [n.Parameter(torch.ones(2) if n is torch.nn else 2)]
        parameters.extend([parameters[0]])
        parameters[1] = n.Parameter(torch.ones(4) if n is torch.nn else 4)
        return n.ModuleDict({"l": listed, "s": sequence, "n": named, "p": parameters, "q": parameters[1:]})

    ours, theirs = made(nn), made(torch.nn)
    assert _names(ours) == _names(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours["n"].clear()
    assert not len(ours["n"])
    for wrong, error in (
        (lambda: ours["l"].pop(7), IndexError),
        (lambda: ours["n"].pop("b"), KeyError),
        (lambda: ours["s"] * 0, ValueError),
        (lambda: ours["p"].append("x"), TypeError),
    ):
        with pytest.raises(error):
            wrong()
