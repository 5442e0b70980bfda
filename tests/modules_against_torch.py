"""Modules against torch's of the same name: state dicts that go both ways, values, and gradients, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn


def assert_module_like_torch(
    ours: nn.Module,
    theirs: Any,
    *inputs: Any,
    options: Mapping[str, Any] | None = None,
    pick: int = 0,
    training: bool = True,
    tolerance: float = 1e-9,
) -> None:
    """Compare the result, number `pick` of several, and the gradients of a weighted sum of it by all parameters and all
    inputs of floats. Dropout must be 0.
    """
    torch = pytest.importorskip("torch")
    options = options or {}
    ours, theirs = ours.to("float64"), theirs.double().train(training)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict().items()}, strict=True)
    parameters = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    assert list(parameters) == [name for name, _ in ours.named_parameters()]
    names, count = list(parameters), len(parameters)
    floats = [i for i, a in enumerate(inputs) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    tensors = [torch.tensor(a, requires_grad=i in floats) if a is not None else None for i, a in enumerate(inputs)]
    peer_options = {name: torch.tensor(o) if isinstance(o, np.ndarray) else o for name, o in options.items()}
    expected = theirs(*tensors, **peer_options)
    expected = expected[pick] if isinstance(expected, tuple) else expected
    weight = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    wanted = torch.autograd.grad(
        (expected * torch.tensor(weight)).sum(),
        [*parameters.values(), *(tensors[i] for i in floats)],
        allow_unused=True,
    )

    def loss(*values: Any) -> Any:
        given = list(inputs)
        for i, value in zip(floats, values[count:], strict=True):
            given[i] = value
        result = nn.functional_call(
            ours, ours.state_dict() | dict(zip(names, values)), *given, training=training, **options
        )
        result = result[pick] if isinstance(result, tuple) else result
        return (result * weight).sum(), result

    values = [*(ours.state_dict()[name] for name in names), *(inputs[i] for i in floats)]
    (_, value), gradients = gl.value_and_grad(loss, tuple(range(len(values))), has_aux=True)(*values)
    close = {"rtol": tolerance, "atol": tolerance}
    assert value.shape == tuple(expected.shape)
    np.testing.assert_allclose(value, expected.detach().numpy(), **close)
    for gradient, tensor, name in zip(gradients, wanted, [*names, *floats], strict=True):
        like = np.zeros(gradient.shape) if tensor is None else tensor.numpy()
        np.testing.assert_allclose(gradient, like, **close, err_msg=str(name))
