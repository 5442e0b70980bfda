"""Torch's names of arguments: every one of its functions and layers that there are here is taken, or refused with what
to write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.nn.spelling import INSTEAD

F = nn.functional
OWN = {"rotary_embedding", "conv_tbc"}
"""Functions that torch has not, or whose arguments its text does not name."""
X = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)


def test_dim_keepdim_and_input_are_taken() -> None:
    for function in (F.softmax, F.log_softmax):
        np.testing.assert_array_equal(function(X, dim=0), function(X, axis=0))
        np.testing.assert_array_equal(function(input=X, dim=1), function(X))
        assert function(X, dim=-1, dtype="float64").dtype == np.float64
    assert F.logsumexp(X, dim=1, keepdim=True).shape == (2, 1)
    assert F.logsumexp(input=X, dim=[0, 1]).shape == ()
    np.testing.assert_array_equal(F.normalize(X, dim=0), F.normalize(X, axis=0))
    np.testing.assert_array_equal(nn.Softmax(dim=0)(X), F.softmax(X, axis=0))
    np.testing.assert_array_equal(nn.LogSoftmax(dim=0)(input=X), F.log_softmax(X, axis=0))
    with pytest.raises(TypeError, match="axis=0 and dim=1 say the same"):
        F.softmax(X, axis=0, dim=1)
    weight = np.ones((4, 3), "float32")
    np.testing.assert_array_equal(F.linear(input=X, weight=weight), X @ weight.T)


def test_norms_without_a_bias() -> None:
    for norm in (
        nn.BatchNorm1d(3, bias=False),
        nn.GroupNorm(1, 3, bias=False),
        nn.LayerNorm(3, bias=False),
        nn.InstanceNorm1d(3, affine=True, bias=False),
    ):
        assert [name for name, _ in norm.named_parameters()] == ["weight"]
        nn.functional_call(
            norm, nn.init_parameters(norm), np.ones((2, 3, 4) if norm.weight.shape != (3,) else (2, 3, 3))
        )


def test_what_changes_nothing_is_taken() -> None:
    np.testing.assert_array_equal(F.relu(X, inplace=False), F.relu(X))  # pyright: ignore[reportCallIssue]
    np.testing.assert_array_equal(F.softmax(X, dim=1, _stacklevel=5), F.softmax(X))  # pyright: ignore[reportCallIssue]
    for layer in (
        nn.ReLU(inplace=False),
        nn.Linear(3, 4, device=None, dtype=None),  # pyright: ignore[reportCallIssue, reportArgumentType]
        nn.Conv2d(3, 4, 1, device=None),  # pyright: ignore[reportCallIssue]
        nn.LSTM(3, 4, device=None),  # pyright: ignore[reportCallIssue]
        nn.Dropout(0.5, inplace=False),  # pyright: ignore[reportCallIssue]
    ):
        assert all(p.dtype == np.float32 for p in layer.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(3, 4, device="cuda"), r"device='cuda'; leave it away.*target="),  # pyright: ignore
        (lambda: nn.Conv2d(3, 4, 3, device="cuda"), r"nn\.Conv2d does not take torch's device='cuda'"),  # pyright: ignore
        (lambda: nn.Conv2d(3, 4), "cannot be made: Conv2d missing 1 required .*'kernel_size'"),  # pyright: ignore
        (lambda: F.mse_loss(X, X, size_average=True), r"write reduction='mean'"),  # pyright: ignore
        (lambda: F.mse_loss(X, X, reduce=False), r"reduce=False; write reduction='mean', 'sum' or 'none'"),  # pyright: ignore
        (lambda: nn.Embedding(4, 2, max_norm=1.0), "scale the weight"),  # pyright: ignore
        (lambda: nn.Tanh(3), "Tanh takes no arguments, got 3"),
        (lambda: nn.Sigmoid(beta=2), "Sigmoid takes no arguments, got beta=2"),
    ],
)
def test_what_means_something_else_says_what_to_write(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message + r".*, at \S*test_spelling\.py:\d+"):
        make()


def _parameters_of_torch(name: str, torch: Any) -> list[str]:
    """The arguments of one of torch's functions: by its signature, or by the first line of its docstring."""
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    with_indices = getattr(torch.nn.functional, f"{name}_with_indices", None)
    try:
        names = list(inspect.signature(with_indices or function).parameters)
    except ValueError:
        names = []
    if names and names != ["args", "kwargs"]:
        return names
    line = re.search(r"\((.*?)\)", (function.__doc__ or "").replace("\n", " "))
    assert line, name
    return [part.partition("=")[0].strip().strip("*") for part in line[1].split(",") if part.strip().strip("*")]


@pytest.mark.peers
def test_every_argument_of_torchs_functions_is_taken_or_refused() -> None:
    torch: Any = pytest.importorskip("torch")
    checked = 0
    for name in sorted(set(F.__all__) - OWN):
        ours = inspect.signature(getattr(F, name)).parameters
        for argument in _parameters_of_torch(name, torch):
            checked += 1
            if argument in ours or argument == "_stacklevel":
                continue
            assert argument in INSTEAD, f"F.{name} has torch's {argument!r} neither taken nor refused"
            with pytest.raises(NotImplementedError, match=f"nn.{name} does not take torch's {argument}"):
                getattr(F, name)(**{argument: "anything"})
    assert checked > 200


@pytest.mark.peers
def test_every_argument_of_torchs_layers_is_taken_or_refused() -> None:
    torch: Any = pytest.importorskip("torch")
    checked = 0
    for name in nn.__all__:
        ours, theirs = getattr(nn, name), getattr(torch.nn, name, None)
        if not isinstance(ours, type) or not issubclass(ours, nn.Module) or theirs is None or name == "Module":
            continue
        own = inspect.signature(ours).parameters if ours.__init__ is not object.__init__ else {}
        for argument in list(inspect.signature(theirs).parameters):
            checked += 1
            if argument in ("args", "kwargs", "modules", "parameters", "values"):
                continue
            assert argument in own or argument in INSTEAD, (
                f"nn.{name} has torch's {argument!r} neither taken nor refused"
            )
        if ours.forward is nn.Module.forward:
            continue  # it only holds others
        forward = list(inspect.signature(ours.forward).parameters)[1:]
        for argument in list(inspect.signature(theirs.forward).parameters)[1:]:
            assert argument in forward or argument in ("args", "kwargs"), f"nn.{name}.forward lacks {argument!r}"
    assert checked > 200


PLACELESS = {"device", "dtype", "out", "_stacklevel", "enable_nested_tensor", "mask_check"}
"""Arguments of torch's that are taken or refused by name alone."""


def _places(names: list[str]) -> list[str]:
    arrays = {"dim": "axis", "keepdim": "keepdims"}
    return [arrays.get(name, name) for name in names if name not in PLACELESS]


@pytest.mark.peers
def test_arguments_stand_in_torchs_places() -> None:
    torch: Any = pytest.importorskip("torch")
    checked = 0
    kinds = [(name, getattr(nn, name), getattr(torch.nn, name, None)) for name in nn.__all__]
    pairs = [
        (name, ours, list(inspect.signature(theirs).parameters))
        for name, ours, theirs in kinds
        if theirs is not None and isinstance(ours, type) and issubclass(ours, nn.Module) and hasattr(theirs, "forward")
    ]
    pairs += [(name, getattr(F, name), _parameters_of_torch(name, torch)) for name in sorted(set(F.__all__) - OWN)]
    for name, ours, theirs in pairs:
        if {"args", "kwargs", "values", "modules"} & set(theirs):
            continue
        places = [p.name for p in inspect.signature(ours).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        mine, other = _places(places), _places(theirs)
        count = min(len(mine), len(other))
        assert mine[:count] == other[:count], name
        checked += count
    assert checked > 500


def test_gradients_follow_the_spelling() -> None:
    one = gl.grad(lambda x: (F.softmax(x, dim=0) * X).sum())(X)
    other = gl.grad(lambda x: (F.softmax(x, axis=0) * X).sum())(X)
    np.testing.assert_array_equal(one, other)
