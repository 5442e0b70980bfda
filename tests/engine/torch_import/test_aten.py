"""Each op of torch gives torch's values and gradients. All cases of a family are one exported module."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradloom as gl
import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from aten_cases import FAMILIES, Case  # noqa: E402

FLOATS = {"x": (2, 3, 4), "y": (2, 3, 4), "p": (2, 3, 4), "m": (4, 5), "s": (), "im": (2, 4, 6, 6), "seq": (2, 4, 7)}


class Cases(torch.nn.Module):
    """All cases of a family, each with float inputs of its own, so that each gradient is of one case."""

    def __init__(self, cases: dict[str, Case]) -> None:
        super().__init__()
        self.cases = list(cases.values())
        generator = torch.Generator().manual_seed(0)
        for name, shape in FLOATS.items():
            drawn = torch.randn(shape, dtype=torch.float64, generator=generator)
            first = drawn.abs() + 0.2 if name == "p" else drawn
            setattr(self, name, torch.nn.Parameter(first.repeat(len(cases), *(1,) * len(shape))))
        integers = torch.randint(0, 3, (2, 3, 4), generator=generator)
        signed = torch.randint(-3, 4, (2, 3, 4), generator=generator)
        whole = {"i": integers, "n": signed, "b": signed > 0, "j": torch.tensor([2, 0, 1])}
        for name, tensor in whole.items():
            self.register_buffer(name, tensor)

    def forward(self, one: Any) -> Any:
        results, total = [], one.sum() * 0
        for k, case in enumerate(self.cases):
            floats = {name: getattr(self, name)[k] for name in FLOATS}
            tensors = SimpleNamespace(**floats, i=self.i, j=self.j, n=self.n, b=self.b)
            result = case(tensors)
            parts = list(result) if isinstance(result, (list, tuple)) else [result]
            results.append(parts)
            for part in parts:
                if part.is_floating_point():
                    weights = torch.cos(torch.arange(part.numel(), dtype=torch.float64)).reshape(part.shape)
                    total = total + (part * weights).sum()
        return total, results


@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_torchs(family: str) -> None:
    cases = FAMILIES[family]
    module = Cases(cases)
    one = torch.ones(2, dtype=torch.float64)
    total, expected = module(one)
    total.backward()
    model = gl.from_torch(module, one)
    names = [name for name, _ in model.stored_parameters()]

    def values_and_gradients(parameters: dict[str, Any], one: Any) -> Any:
        def loss(parameters: dict[str, Any]) -> Any:
            return gl.nn.functional_call(model, parameters, one, training=True)

        (_, results), gradients = gl.value_and_grad(loss, has_aux=True)(parameters)
        return [gradients[name] for name in names], [part for parts in results for part in parts]

    parameters = {name: p.detach().numpy() for name, p in module.named_parameters()}
    graph = gl.trace(values_and_gradients, parameters, one.numpy())
    outputs = gl.interpret(graph, *[parameters[name] for name in sorted(parameters)], one.numpy())
    got = iter(outputs[len(names) :])
    for name, parts in zip(cases, expected):
        for part in parts:
            mine = next(got)
            assert mine.dtype == part.detach().numpy().dtype, name
            bound = 1e-6 if part.dtype == torch.float32 else 1e-9
            np.testing.assert_allclose(mine, part.detach().numpy(), rtol=bound, atol=bound / 100, err_msg=name)
    for parameter, mine in zip(names, outputs):
        gradient = module.get_parameter(parameter).grad
        for k, name in enumerate(cases):
            wanted = np.zeros(mine[k].shape) if gradient is None else gradient[k].numpy()
            np.testing.assert_allclose(mine[k], wanted, rtol=1e-7, atol=1e-9, err_msg=f"{name}, by {parameter}")
