"""JAX's side of the benchmark: the whole step under one `jit`, with donated buffers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

from .workloads import Mlp

_LR, _BETA1, _BETA2, _EPS, _DECAY = 1e-3, 0.9, 0.999, 1e-8, 1e-2


def build(workload: Mlp) -> Callable[[], Any]:
    """A function that does one training step and returns its loss, computed to the end."""
    named = workload.parameters()
    places = range(0, 2 * (len(workload.widths) - 1), 2)
    params = [(jnp.asarray(named[f"{i}.weight"].T), jnp.asarray(named[f"{i}.bias"])) for i in places]
    x, y = map(jnp.asarray, workload.batch())
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    state: list[Any] = [params, zeros, jax.tree_util.tree_map(jnp.zeros_like, params), jnp.float32(0)]

    def step() -> Any:
        params, mean, square, count = state
        *state[:], loss = _step(params, mean, square, count, x, y)
        return loss.block_until_ready()

    return step


def _loss(params: Any, x: Any, y: Any) -> Any:
    for i, (weight, bias) in enumerate(params):
        x = x @ weight + bias
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))


@partial(jax.jit, donate_argnums=(0, 1, 2, 3))
def _step(params: Any, mean: Any, square: Any, count: Any, x: Any, y: Any) -> Any:
    tree_map = jax.tree_util.tree_map
    loss, gradient = jax.value_and_grad(_loss)(params, x, y)
    count = count + 1
    mean = tree_map(lambda m, g: _BETA1 * m + (1 - _BETA1) * g, mean, gradient)
    square = tree_map(lambda v, g: _BETA2 * v + (1 - _BETA2) * g * g, square, gradient)
    step_size, correction = _LR / (1 - _BETA1**count), jnp.sqrt(1 - _BETA2**count)
    params = tree_map(
        lambda p, m, v: p * (1 - _LR * _DECAY) - step_size * m / (jnp.sqrt(v) / correction + _EPS), params, mean, square
    )
    return params, mean, square, count, loss
