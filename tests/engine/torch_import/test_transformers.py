"""Architectures of `transformers`: loss and gradients are torch's, and stay so over ten steps of AdamW."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gradloom.examples.torch_models.architectures import ALL, batch_of, built  # noqa: E402

SAMPLE = ("GPT2LMHeadModel", "LlamaForCausalLM", "BertForMaskedLM", "T5ForConditionalGeneration")
BOUND = {torch.float64: 1e-6, torch.float32: 1e-4}


def converted(batch: dict[str, Any], dtype: Any) -> dict[str, Any]:
    floats = {name: value for name, value in batch.items() if hasattr(value, "dtype") and value.is_floating_point()}
    return {**batch, **{name: value.to(dtype) for name, value in floats.items()}}


def assert_trains_as_torch(name: str, dtype: Any, steps: int, **more: Any) -> None:
    module, arguments = built(name, **more).to(dtype), converted(batch_of(name), dtype)
    batch = {key: value for key, value in arguments.items() if isinstance(value, torch.Tensor)}
    model, loss_fn = gl.from_torch_loss(module, **arguments)
    step = gl.compile_step(model, loss_fn, gl.optim.AdamW(1e-3), batch)
    gradients = step.gradients(batch)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3)
    module.train()
    for i in range(steps):
        optimizer.zero_grad()
        loss = module(**arguments).loss
        loss.backward()
        if i == 0:
            for key, gradient in gradients.items():
                expected = module.get_parameter(key).grad
                expected = np.zeros(gradient.shape) if expected is None else expected.numpy()
                scale = np.abs(expected).max(initial=0) + 1e-3
                np.testing.assert_allclose(gradient / scale, expected / scale, rtol=0, atol=BOUND[dtype], err_msg=key)
        optimizer.step()
        assert step(batch) == pytest.approx(loss.item(), rel=BOUND[dtype], abs=BOUND[dtype])
    module.load_state_dict(step.state_dict(), strict=True)


@pytest.mark.peers
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_trains_as_torch_does(name: str) -> None:
    assert_trains_as_torch(name, torch.float64, 2)


@pytest.mark.peers
def test_experts_of_a_mixture_take_rows_in_groups() -> None:
    assert_trains_as_torch("MixtralForCausalLM", torch.float32, 2, experts_implementation="grouped_mm")


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_all_train_as_torch_does(name: str, dtype: Any) -> None:
    assert_trains_as_torch(name, dtype, 10)
