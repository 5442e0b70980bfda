"""JAX's side of the benchmark: the whole step under one `jit`, with donated buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import optree

from ...engine.nn.binding import init_parameters
from ...engine.optim import SGD, AdamW
from ...ir import Array
from ..command_error import CommandError
from ..recipes import bench_gpt
from .side import Place, Side
from .workloads import Task

# A model is a function of Gradloom's initial parameters, in their order, that returns a loss and JAX's parameters.
Model = Callable[[Sequence[Array]], tuple[Callable[[Any, Any], Any], Any]]


def _cross_entropy(logits: Any, y: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y.reshape(-1, 1), 1))


def _mlp(values: Sequence[Array]) -> tuple[Callable[[Any, Any], Any], Any]:
    def loss(params: Any, batch: Any) -> Any:
        x = batch["x"]
        for i, (weight, bias) in enumerate(params):
            x = x @ weight + bias
            if i < len(params) - 1:
                x = jax.nn.relu(x)
        return _cross_entropy(x, batch["y"])

    return loss, [(w.T, b) for w, b in zip(values[::2], values[1::2])]


def _norm(x: Any, gain: Any, bias: Any, axis: Any = -1) -> Any:
    mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * gain + bias


_GPT_BLOCK = 12
"""Parameters of a block: two norms and four layers, each with a bias."""


def _gpt(values: Sequence[Array]) -> tuple[Callable[[Any, Any], Any], Any]:
    tokens, positions, *inner, gain, bias, head = values
    heads = bench_gpt.HEADS
    blocks = [inner[i : i + _GPT_BLOCK] for i in range(0, len(inner), _GPT_BLOCK)]
    blocks = [[v.T if v.ndim == 2 else v for v in block] for block in blocks]

    def run(block: Any, x: Any, mask: Any) -> Any:
        rows, length, width = x.shape
        gain1, bias1, qkv, qkv_bias, proj, proj_bias, gain2, bias2, fc1, fc1_bias, fc2, fc2_bias = block
        parts = jnp.split(_norm(x, gain1, bias1) @ qkv + qkv_bias, 3, -1)
        q, k, v = (t.reshape(rows, length, heads, width // heads).transpose(0, 2, 1, 3) for t in parts)
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // heads))
        attended = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)) @ v
        x = x + attended.transpose(0, 2, 1, 3).reshape(rows, length, width) @ proj + proj_bias
        return x + jax.nn.gelu(_norm(x, gain2, bias2) @ fc1 + fc1_bias) @ fc2 + fc2_bias

    def loss(params: Any, batch: Any) -> Any:
        length = batch["x"].shape[1]
        mask = jnp.tril(jnp.ones((length, length), bool))
        x = params["tokens"][batch["x"]] + params["positions"]
        for block in params["blocks"]:
            x = run(block, x, mask)
        logits = _norm(x, *params["norm"]) @ params["head"]
        return _cross_entropy(logits.reshape(-1, logits.shape[-1]), batch["y"])

    named = {"tokens": tokens, "positions": positions, "blocks": blocks, "norm": (gain, bias), "head": head.T}
    return loss, named


def _cnn(values: Sequence[Array]) -> tuple[Callable[[Any, Any], Any], Any]:
    # Channels last, as XLA likes them on a CPU.
    params = [v.transpose(2, 3, 1, 0) if v.ndim == 4 else v.T for v in values]

    def conv(x: Any, weight: Any, stride: int) -> Any:
        size = weight.shape[0]
        padding = [(size // 2, size // 2)] * 2
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, weight, (stride, stride), padding, dimension_numbers=names)

    def norm(x: Any, gain: Any, bias: Any) -> Any:
        return _norm(x, gain, bias, (0, 1, 2))

    def block(x: Any, params: Sequence[Any], stride: int) -> Any:
        first, gain1, bias1, second, gain2, bias2, *shortcut = params
        inner = jax.nn.relu(norm(conv(x, first, stride), gain1, bias1))
        inner = norm(conv(inner, second, 1), gain2, bias2)
        return jax.nn.relu(inner + (conv(x, shortcut[0], stride) if shortcut else x))

    def loss(params: Any, batch: Any) -> Any:
        first, gain, bias, *blocks, weight, offset = params
        x = jax.nn.relu(norm(conv(batch["x"].transpose(0, 2, 3, 1), first, 1), gain, bias))
        x = block(block(block(x, blocks[:6], 1), blocks[6:13], 2), blocks[13:], 2)
        return _cross_entropy(x.mean((1, 2)) @ weight + offset, batch["y"])

    return loss, params


def _lstm(values: Sequence[Array]) -> tuple[Callable[[Any, Any], Any], Any]:
    def loss(params: Any, batch: Any) -> Any:
        inner, recurrent, inner_bias, recurrent_bias, weight, bias = params
        x = batch["x"]
        projected = x @ inner + (inner_bias + recurrent_bias)
        zeros = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)

        def cell(carry: Any, z: Any) -> Any:
            hidden, state = carry
            i, f, g, o = jnp.split(z + hidden @ recurrent, 4, -1)
            state = jax.nn.sigmoid(f) * state + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(state), state), None

        (hidden, _), _ = jax.lax.scan(cell, (zeros, zeros), projected)
        return _cross_entropy(hidden @ weight + bias, batch["y"])

    return loss, [v.T for v in values]


MODELS: Mapping[str, Model] = {"mlp_s": _mlp, "mlp_m": _mlp, "mlp_l": _mlp, "gpt": _gpt, "cnn": _cnn, "lstm": _lstm}
"""The model of each workload."""


_PRECISIONS = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
"""What JAX calls the precision of products."""


def build(task: Task, place: Place) -> Side:
    """The step, from Gradloom's initial parameters."""
    if place.on_gpu and jax.default_backend() != "gpu":
        raise CommandError(f"JAX {jax.__version__} sees no GPU here; pip install 'jax[cuda13]' gets what it needs")
    if place.on_gpu:
        jax.config.update("jax_default_matmul_precision", _PRECISIONS[place.precision])
    initial = init_parameters(task.ingredients.model, 0)
    if task.name in MODELS:
        loss_fn, params = MODELS[task.name](list(initial.values()))
    else:
        peer = task.peer("jax")
        if peer is None:
            raise CommandError(f"beside {task.name} there is no function of its name and _jax")
        loss_fn, params = peer(initial)
    tree_map = jax.tree_util.tree_map
    params = tree_map(jnp.asarray, params)
    batch = optree.tree_map(jnp.asarray, task.batch)
    if task.is_inference:
        state, run = [params], jax.jit(lambda params, batch: (params, loss_fn(params, batch)))
    else:
        state, run = _training(task, loss_fn, params)

    def step() -> Any:
        *state[:], result = run(*state, batch)
        return result if place.on_gpu else result.block_until_ready()

    def bytes_beyond() -> int:
        analysis: Any = run.lower(*state, batch).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    return Side(step, bytes_beyond)


def _training(task: Task, loss_fn: Any, params: Any) -> tuple[list[Any], Any]:
    """What a step reads and makes anew, its parameters first, and the step."""
    optimizer, tree_map = task.ingredients.optimizer, jax.tree_util.tree_map
    if isinstance(optimizer, SGD) and optimizer == SGD(optimizer.lr) and not callable(optimizer.lr):
        return [params], jax.jit(partial(_descend, loss_fn, float(optimizer.lr)), donate_argnums=0)
    if not isinstance(optimizer, AdamW) or callable(optimizer.lr) or optimizer.amsgrad or optimizer.maximize:
        plain = "plain AdamW or SGD at a constant rate"
        raise CommandError(f"JAX's side trains with {plain}, {task.name} with {optimizer}")
    state: list[Any] = [params, tree_map(jnp.zeros_like, params), tree_map(jnp.zeros_like, params), jnp.float32(0)]
    return state, jax.jit(partial(_update, loss_fn, optimizer), donate_argnums=(0, 1, 2, 3))


def _descend(loss_fn: Any, rate: float, params: Any, batch: Any) -> tuple[Any, ...]:
    loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
    return jax.tree_util.tree_map(lambda p, g: p - rate * g, params, gradient), loss


def _update(
    loss_fn: Any, optimizer: AdamW, params: Any, mean: Any, square: Any, count: Any, batch: Any
) -> tuple[Any, ...]:
    tree_map = jax.tree_util.tree_map
    rate, (beta1, beta2), decay = float(optimizer.learning_rate(0)), optimizer.betas, optimizer.weight_decay
    loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
    count = count + 1
    mean = tree_map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, gradient)
    square = tree_map(lambda v, g: beta2 * v + (1 - beta2) * g * g, square, gradient)
    step_size, correction = rate / (1 - beta1**count), jnp.sqrt(1 - beta2**count)
    params = tree_map(
        lambda p, m, v: p * (1 - rate * decay) - step_size * m / (jnp.sqrt(v) / correction + optimizer.eps),
        params,
        mean,
        square,
    )
    return params, mean, square, count, loss
